//! Tells the program which commit and which crates it was built from, for `provenance.ron`. Here, at the top, because
//! whatever is built on it is built anew with every change of a source.

use std::path::Path;
use std::process::Command;

/// The crates whose versions may change a number.
const NUMERIC: [&str; 7] = ["dfdx", "faer", "gemm", "libm", "png", "rayon", "safetensors"];

fn main() {
    // Asked when it runs: what is compiled in is that of another checkout where target folders are shared or copied.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the manifest is");
    let root = Path::new(&manifest).join("../..");
    for watched in ["crates", "Cargo.lock", ".git/HEAD", ".git/refs/heads"] {
        let watched = root.join(watched);
        if watched.exists() {
            println!("cargo::rerun-if-changed={}", watched.display());
        }
    }
    println!("cargo::rustc-env=CM_COMMIT={}", git(&root, &["rev-parse", "HEAD"]).unwrap_or("unknown".into()));
    let dirty = git(&root, &["status", "--porcelain"]).map(|status| (!status.is_empty()).to_string());
    println!("cargo::rustc-env=CM_DIRTY={}", dirty.unwrap_or("unknown".into()));
    println!("cargo::rustc-env=CM_CRATES={}", numeric_crates(&root).join(" "));
}

/// The answer of a git command that changes nothing; `None` if there is no git, no repository or no commit.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .current_dir(root)
        .env("GIT_OPTIONAL_LOCKS", "0") // `status` would otherwise rewrite the index
        .args(arguments)
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `name-version` of each entry of the lock file that is listed above.
fn numeric_crates(root: &Path) -> Vec<String> {
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    let mut lines = lock.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"'));
        let Some(name) = name.filter(|name| NUMERIC.contains(name)) else { continue };
        let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
        found.extend(version.map(|version| format!("{name}-{version}")));
    }
    found
}
