//! The files inside the crates: none imports itself by way of others, and none is too long to be read at once.

use crate::util::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Lines of a file, tests included, and of a crate without them.
const LONGEST_FILE: usize = 400;
const LARGEST_CRATE: usize = 9_000;

/// A module's path inside its crate; the crate's root is the empty one.
type Module = Vec<String>;

/// The files of a crate: what stands in each, but its tests.
struct Files(BTreeMap<Module, String>);

impl Files {
    fn read(source: &Path) -> Self {
        let mut files = BTreeMap::new();
        for path in super::sources(source) {
            let inside = path.strip_prefix(source).unwrap().with_extension("");
            let mut module: Module = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if ["mod", "lib", "main"].contains(&module.last().unwrap().as_str()) {
                module.pop();
            }
            if module.iter().any(|part| part == "tests" || part == "testing") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            files.insert(module, text[..end].to_owned());
        }
        Self(files)
    }

    /// The file that a path from a module leads to, through what the modules on the way hand on with `pub use`.
    fn find(&self, from: &[String], path: &[&str]) -> Module {
        let mut at = from.to_vec();
        for (index, name) in path.iter().enumerate() {
            at.push((*name).to_owned());
            if self.0.contains_key(&at) {
                continue;
            }
            at.pop();
            for handed_on in
                uses(&self.0[&at]).into_iter().filter(|(public, _)| *public).map(|(_, path)| path)
            {
                let parts: Vec<&str> = handed_on.split("::").collect();
                let child = [at.clone(), vec![parts[0].to_owned()]].concat();
                if parts.last() == Some(name) && self.0.contains_key(&child) {
                    let rest = [&parts[..], &path[index + 1..]].concat();
                    return self.find(&at, &rest);
                }
            }
            return at;
        }
        at
    }

    /// The files that each imports. A folder's `mod.rs` holds what its files have in common, so that a file uses its own
    /// folder's is no edge.
    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of = |module: &Module, text: &str| {
            let own = uses(text).into_iter().filter(|(public, _)| !public).map(|(_, path)| path);
            let mut found = BTreeSet::new();
            for path in own.chain(inline(text)) {
                let mut parts: Vec<&str> = path.split("::").collect();
                let mut from = module.clone();
                match parts[0] {
                    "crate" => from.clear(),
                    "super" => {}
                    "self" => drop(parts.remove(0)),
                    name => {
                        from.push(name.to_owned());
                        if !self.0.contains_key(&from) {
                            continue;
                        }
                        from.pop();
                    }
                }
                if parts.first() == Some(&"crate") {
                    parts.remove(0);
                }
                while parts.first() == Some(&"super") {
                    parts.remove(0);
                    from.pop();
                }
                let target = self.find(&from, &parts);
                if &target != module && (target.is_empty() || !module.starts_with(&target)) {
                    found.insert(target);
                }
            }
            found
        };
        self.0.iter().map(|(module, text)| (module, of(module, text))).collect()
    }

    /// The files of the first circle, in their order; empty if there is none.
    fn circle(&self) -> Vec<Module> {
        let edges = self.edges();
        for start in edges.keys() {
            // The shortest way from a file back to itself.
            let mut before: BTreeMap<Module, Module> = BTreeMap::new();
            let mut queue = vec![(*start).clone()];
            while let Some(at) = (!queue.is_empty()).then(|| queue.remove(0)) {
                for next in edges.get(&at).into_iter().flatten() {
                    if next == *start {
                        let mut way = vec![at];
                        while let Some(earlier) = before.get(way.last().unwrap()) {
                            way.push(earlier.clone());
                        }
                        way.reverse();
                        return way;
                    }
                    if !before.contains_key(next) {
                        before.insert(next.clone(), at.clone());
                        queue.push(next.clone());
                    }
                }
            }
        }
        Vec::new()
    }
}

/// The `use` statements of a text, each with whether it hands on, and the rest, both without comments.
fn statements(text: &str) -> (Vec<(bool, String)>, String) {
    let (mut found, mut rest, mut open): (Vec<(bool, String)>, _, _) = (Vec::new(), String::new(), false);
    for line in text.lines().map(|line| line.split("//").next().unwrap().trim()) {
        if !open {
            let (before, after) = line.split_once("use ").unwrap_or((line, ""));
            let before = before.trim();
            let is_use = !after.is_empty() && (before.is_empty() || before == "pub" || before.ends_with(')'));
            if !(is_use && (before.is_empty() || before.starts_with("pub"))) {
                rest += line;
                rest.push('\n');
                continue;
            }
            found.push((!before.is_empty(), after.to_owned()));
        } else {
            found.last_mut().unwrap().1 += line;
        }
        open = !line.ends_with(';');
    }
    (found, rest)
}

/// The paths of a text's `use` lines, without braces and new names, and whether they hand on.
fn uses(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for (public, tree) in statements(text).0 {
        expand("", tree.trim_end_matches(';'), &mut |path| found.push((public, path)));
    }
    found
}

/// Each path of `a::{b, c::{d, e}}`, behind `before`.
fn expand(before: &str, tree: &str, each: &mut impl FnMut(String)) {
    let Some((head, body)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap().trim().trim_end_matches("::self");
        if !path.is_empty() {
            each(format!("{before}{path}").trim_end_matches("::self").to_owned());
        }
        return;
    };
    let (before, body) = (format!("{before}{}", head.trim()), body.rsplit_once('}').unwrap().0);
    let (mut depth, mut begin) = (0, 0);
    for (at, letter) in body.char_indices().chain([(body.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&before, &body[begin..at], each);
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// The paths that begin with `crate` or `super`, or with a module's name, in what is not a `use` line.
fn inline(text: &str) -> Vec<String> {
    let code = statements(text).1;
    let paths = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let paths = paths.filter(|path| path.contains("::")).map(|path| path.trim_matches(':').to_owned());
    paths.filter(|path| !path.is_empty()).collect()
}

fn crates() -> Vec<(String, Files)> {
    let folders = fs::read_dir(root().join("crates")).unwrap();
    let mut all: Vec<(String, Files)> = folders
        .map(|folder| {
            let folder = folder.unwrap();
            (folder.file_name().to_string_lossy().into_owned(), Files::read(&folder.path().join("src")))
        })
        .collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    let told = |module: &Module| if module.is_empty() { "(the crate)".to_owned() } else { module.join("::") };
    let circles: Vec<String> = crates()
        .iter()
        .map(|(name, files)| (name, files.circle()))
        .filter(|(_, circle)| !circle.is_empty())
        .map(|(name, circle)| {
            let way: Vec<String> = circle.iter().chain(circle.first()).map(told).collect();
            format!("{name}: {}", way.join(" -> "))
        })
        .collect();
    assert!(circles.is_empty(), "files in circles:\n{}", circles.join("\n"));
}

#[test]
fn crates_and_files_can_be_read() {
    let mut long = Vec::new();
    for (name, files) in crates() {
        let lines: usize = files.0.values().map(|text| text.lines().count()).sum();
        if lines > LARGEST_CRATE {
            long.push(format!("{name}: {lines} lines without tests, of at most {LARGEST_CRATE}"));
        }
        for path in super::sources(&root().join("crates").join(&name).join("src")) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > LONGEST_FILE {
                long.push(format!("{}: {lines} lines, of at most {LONGEST_FILE}", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// A crate of files that are written here.
fn toy(files: &[(&str, &str)]) -> Files {
    let module = |path: &str| path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    Files(files.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect())
}

#[test]
fn a_circle_is_found_by_use_lines_by_paths_and_through_what_is_handed_on() {
    let straight = [("", "mod a;\nmod b;\npub use b::B;"), ("a", "use crate::B;\nuse std::fs;"), ("b", "")];
    assert!(toy(&straight).circle().is_empty());
    let closed = |b: &'static str| {
        let mut files = straight;
        files[2].1 = b;
        toy(&files).circle().len()
    };
    assert_eq!(closed("use super::a::{self, A};"), 2);
    assert_eq!(closed("fn f() -> crate::a::A { g() }"), 2);
    assert_eq!(closed("// use crate::a::A;"), 0);
    let folder = [("", "mod f;"), ("f", "mod g;\nuse g::G;\npub struct F;"), ("f::g", "use super::F;")];
    assert!(toy(&folder).circle().is_empty(), "a file may use what its folder's have in common");
    let siblings =
        [("", "mod f;"), ("f", "mod g;\nmod h;"), ("f::g", "use super::h::H;"), ("f::h", "use super::g::G;")];
    assert_eq!(toy(&siblings).circle().len(), 2);
}
