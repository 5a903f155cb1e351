//! The walls between the crates, held by tests: a new edge is a line to be reviewed here.

/// Files inside the crates: no circles, and none too long.
mod rooms;

use crate::util::root;
use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate and the crates of this workspace that it may depend on, floor by floor.
const ALLOWED: [(&str, &[&str]); 26] = [
    ("cm-kernels", &[]),
    ("cm-format", &[]),
    ("cm-gpu", &[]),
    ("cm-image", &[]),
    ("cm-import", &[]),
    ("cm-jpeg", &[]),
    ("cm-host", &["cm-kernels"]),
    ("cm-diffusion", &["cm-image"]),
    ("cm-tensor", &["cm-kernels", "cm-gpu", "cm-image"]),
    ("cm-network", &["cm-tensor", "cm-image", "cm-import"]),
    ("cm-training", &["cm-tensor", "cm-kernels", "cm-image"]),
    ("cm-datasets", &["cm-diffusion", "cm-host", "cm-image", "cm-import", "cm-jpeg"]),
    ("cm-teacher", &["cm-diffusion", "cm-network", "cm-training", "cm-tensor", "cm-image"]),
    ("cm-consistency", &["cm-diffusion", "cm-network", "cm-training", "cm-tensor", "cm-image"]),
    (
        "cm-flow-map",
        &["cm-consistency", "cm-diffusion", "cm-network", "cm-training", "cm-tensor", "cm-image"],
    ),
    ("cm-web", &["cm-consistency", "cm-diffusion", "cm-network", "cm-image"]),
    ("cm-evaluator", &["cm-diffusion", "cm-network", "cm-image"]),
    (
        "cm-bench",
        &[
            "cm-consistency",
            "cm-diffusion",
            "cm-evaluator",
            "cm-gpu",
            "cm-host",
            "cm-image",
            "cm-kernels",
            "cm-network",
            "cm-teacher",
            "cm-tensor",
            "cm-training",
        ],
    ),
    (
        "cm-study",
        &[
            "cm-consistency",
            "cm-datasets",
            "cm-diffusion",
            "cm-evaluator",
            "cm-format",
            "cm-flow-map",
            "cm-host",
            "cm-image",
            "cm-import",
            "cm-network",
            "cm-teacher",
            "cm-training",
        ],
    ),
    ("cm-onnx", &["cm-diffusion", "cm-network", "cm-study", "cm-tensor"]),
    ("cm-scoring", &["cm-datasets", "cm-evaluator", "cm-host", "cm-image", "cm-network", "cm-study"]),
    (
        "cm-experiment",
        &[
            "cm-consistency",
            "cm-datasets",
            "cm-diffusion",
            "cm-evaluator",
            "cm-flow-map",
            "cm-host",
            "cm-image",
            "cm-import",
            "cm-network",
            "cm-scoring",
            "cm-study",
            "cm-teacher",
            "cm-tensor",
            "cm-training",
        ],
    ),
    (
        "cm-workbench",
        &[
            "cm-consistency",
            "cm-datasets",
            "cm-diffusion",
            "cm-evaluator",
            "cm-experiment",
            "cm-host",
            "cm-image",
            "cm-import",
            "cm-network",
            "cm-onnx",
            "cm-study",
            "cm-tensor",
            "cm-training",
            "cm-web",
        ],
    ),
    ("cm-sweep", &["cm-experiment", "cm-host", "cm-study"]),
    ("cm-report", &["cm-evaluator", "cm-experiment", "cm-host", "cm-scoring", "cm-study"]),
    (
        "cm-cli",
        &[
            "cm-bench",
            "cm-datasets",
            "cm-evaluator",
            "cm-experiment",
            "cm-host",
            "cm-image",
            "cm-network",
            "cm-report",
            "cm-scoring",
            "cm-study",
            "cm-sweep",
            "cm-tensor",
            "cm-workbench",
        ],
    ),
];

/// External crates that only these may name directly.
const RESERVED: [(&str, &[&str]); 8] = [
    ("cudarc", &["cm-gpu"]),
    ("dfdx", &["cm-tensor"]),
    ("ron", &["cm-study"]),
    ("clap", &["cm-cli"]),
    ("indicatif", &["cm-cli"]),
    ("libloading", &["cm-gpu"]),
    ("prost", &["cm-onnx"]),
    ("signal-hook", &["cm-cli"]),
];

fn packages() -> Vec<Package> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps().other_options(vec!["--offline".to_owned()]);
    command.exec().unwrap().packages
}

/// What a crate is built with: what its tests use is no edge.
fn dependencies(package: &Package) -> Vec<&str> {
    let built =
        package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
    built.map(|dependency| dependency.name.as_str()).collect()
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn crates_know_only_whom_they_may() {
    let packages = packages();
    let mut names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut expected = ALLOWED.map(|(name, _)| name);
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected, "a crate without a line in the table");
    for package in &packages {
        let (_, allowed) = ALLOWED.iter().find(|(name, _)| *name == package.name.as_str()).unwrap();
        let found: Vec<&str> =
            dependencies(package).into_iter().filter(|name| name.starts_with("cm-")).collect();
        for dependency in &found {
            assert!(allowed.contains(dependency), "{} must not depend on {dependency}", package.name);
        }
        for edge in *allowed {
            assert!(found.contains(edge), "{} -> {edge} is in the table, but not in the house", package.name);
        }
    }
}

#[test]
fn some_external_crates_belong_to_one_crate() {
    for package in packages() {
        for dependency in dependencies(&package) {
            if let Some((_, owners)) = RESERVED.iter().find(|(name, _)| *name == dependency) {
                assert!(
                    owners.contains(&package.name.as_str()),
                    "{} must not name {dependency}",
                    package.name
                );
            }
        }
    }
}

#[test]
fn every_crate_says_what_it_is_for() {
    for (name, _) in ALLOWED {
        let source = root().join("crates").join(name).join("src");
        let library = source.join("lib.rs");
        let entry = if library.exists() { library } else { source.join("main.rs") };
        let text = fs::read_to_string(&entry).unwrap();
        assert!(text.starts_with("//! "), "{} does not begin with its purpose", entry.display());
        let header = text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join(" ");
        let header = header.to_lowercase();
        let bounded = header.contains("absent") || header.contains("there are no ");
        assert!(bounded, "{} does not say what it does not do", entry.display());
    }
}

#[test]
fn autograd_stops_at_the_trainers() {
    let trainers = ["cm-tensor", "cm-network", "cm-training", "cm-teacher", "cm-consistency", "cm-flow-map"];
    for (name, _) in ALLOWED.iter().filter(|(name, _)| !trainers.contains(name)) {
        for file in sources(&root().join("crates").join(name)) {
            let text = fs::read_to_string(&file).unwrap();
            let tape = text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "Tape");
            assert!(!tape && !text.contains("dfdx::"), "{}", file.display());
        }
    }
}

#[test]
fn unsafe_code_is_where_it_was_allowed() {
    let allowed = |file: &Path| {
        file.starts_with(root().join("crates/cm-kernels"))
            || file.starts_with(root().join("crates/cm-gpu"))
            || file.ends_with("crates/cm-tensor/src/custom_op.rs")
            // Names that a browser's script calls; nothing else in it is unsafe.
            || file.ends_with("crates/cm-web/src/abi.rs")
    };
    for file in sources(&root().join("crates")).into_iter().filter(|file| !allowed(file)) {
        let text = fs::read_to_string(&file).unwrap();
        let has = ["unsafe {", "unsafe fn", "#[unsafe("].iter().any(|word| text.contains(word));
        assert!(!has, "{}", file.display());
    }
}

/// What the default build of `cm` consists of. Asks for nothing that building the tests has not fetched.
fn default_build() -> String {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    let what = ["tree", "--package", "cm-cli", "--edges", "normal,build", "--prefix", "none"];
    let output = cargo.current_dir(root()).args(what).args(["--offline", "--locked"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_default_build_pulls_in_nothing_of_mpi_or_parquet_and_links_nothing_of_cuda() {
    let tree = default_build();
    let has = |name: &str| tree.lines().any(|line| line.starts_with(&format!("{name} v")));
    assert!(has("dfdx"), "{tree}");
    let packages = packages();
    // CUDA's libraries are loaded when they are wanted: the crate that would link them at build time is not asked to.
    let engine = packages.iter().find(|package| package.name.as_str() == "cm-gpu").unwrap();
    let cudarc = engine.dependencies.iter().find(|dependency| dependency.name == "cudarc").unwrap();
    assert!(cudarc.features.contains(&"dynamic-loading".to_owned()) && !cudarc.uses_default_features);
    for (feature, brings, by) in [("mpi", "mpi", "cm-tensor"), ("hub", "parquet", "cm-datasets")] {
        assert!(!has(brings), "{brings}");
        // What a feature brings is read from the manifests: to resolve it would be to download it.
        let package = packages.iter().find(|package| package.name.as_str() == by).unwrap();
        let dependency = package.dependencies.iter().find(|dependency| dependency.name == brings).unwrap();
        assert!(dependency.optional, "{by} takes {brings} along unasked");
        let brought = package.features[feature].contains(&format!("dep:{brings}"));
        assert!(brought, "the feature `{feature}` of {by} is what brings {brings}");
        let cli = packages.iter().find(|package| package.name.as_str() == "cm-cli").unwrap();
        assert_eq!(cli.features[feature], [format!("{by}/{feature}")]);
    }
}
