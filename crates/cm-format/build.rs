//! Reads what the format of studies is from the sources of its types, in whichever crate of the workspace they stand:
//! fields and variants, their doc comments, and the origin of each default, which is the comment behind it.
//!
//! What it does not understand it refuses: a form of type or an attribute that changes the format and is not known here
//! fails the build by name.

#[path = "build/constants.rs"]
mod constants;
#[path = "build/defaults.rs"]
mod defaults;
#[path = "build/docs.rs"]
mod docs;
#[path = "build/types.rs"]
mod types;

use constants::Constants;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use types::{Shape, Types};

/// The type that a whole file is.
const ROOT: &str = "StudyConfig";

fn main() {
    let crates = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where this is"))
        .join("..")
        .canonicalize()
        .expect("the workspace is there");
    let mut files = Vec::new();
    sources(&crates, &mut files);
    files.sort();
    let texts: Vec<(PathBuf, String)> = (files.into_iter())
        .map(|path| {
            let text = fs::read_to_string(&path).expect("sources can be read");
            (path, text)
        })
        .collect();
    let constants = Constants::read(&texts);
    let types = Types::read(&texts, &constants);
    let reached = types.reached(ROOT);
    // A type that is new is named by a field that is, in one of these; changes elsewhere change nothing here.
    for path in reached.iter().map(|of| &of.file).chain(constants.files()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    for own in ["build.rs", "build"] {
        println!("cargo::rerun-if-changed={own}");
    }
    let out = Path::new(&std::env::var_os("OUT_DIR").expect("cargo says where to")).join("types.rs");
    fs::write(out, written(&reached)).expect("the folder can be written to");
}

/// The Rust files of the crates, without their tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the workspace can be read") {
        let path = entry.expect("the workspace can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["tests", "benches", "examples", "build", "target"].contains(&name.as_str()) {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "build.rs" {
            found.push(path);
        }
    }
}

/// The types as static items.
fn written(types: &[&types::Described]) -> String {
    let mut out = "static TYPES: &[Type] = &[\n".to_owned();
    for of in types {
        let (name, doc) = (&of.name, &of.doc);
        write!(out, "Type {{ name: {name:?}, doc: {doc:?}, shape: ").expect("strings can be written to");
        match &of.shape {
            Shape::Struct(fields) => {
                out += "Shape::Struct(&[\n";
                for types::Member { name, doc, holds, source, plain, required } in fields {
                    writeln!(
                        out,
                        "Field {{ name: {name:?}, doc: {doc:?}, holds: {holds}, source: {source:?}, plain: {plain:?}, required: {required} }},"
                    )
                    .expect("strings can be written to");
                }
            }
            Shape::Enum { variants, default, source } => {
                writeln!(out, "Shape::Enum(Choice {{ default: {default:?}, source: {source:?}, variants: &[")
                    .expect("strings can be written to");
                for types::Case { name, doc, holds } in variants {
                    let holds = holds.as_ref().map_or("None".to_owned(), |holds| format!("Some({holds})"));
                    writeln!(out, "Variant {{ name: {name:?}, doc: {doc:?}, holds: {holds} }},")
                        .expect("strings can be written to");
                }
                out += "]}) },\n";
                continue;
            }
        }
        out += "]) },\n";
    }
    out + "];\n"
}
