//! `cm export --format web`: what becomes of a model before a browser sees it. What a browser makes of it: `scripts/page`.

use crate::util::{expect, ring, root, scratch};
use std::fs;
use std::path::Path;

/// What `cm` takes for a module: only a browser looks into it.
const MODULE: &[u8] = b"\0asm\x01\0\0\0 cm_web_1_open";

/// A folder with the tiny network of the fixtures in `weights.safetensors`, and a module in `cm_web.wasm`.
fn imported(precondition: &str) -> tempfile::TempDir {
    let folder = scratch("");
    let original = root().join("tests/fixtures/parity/ddpmpp-tiny.pt");
    let arguments = ["import", original.to_str().unwrap(), "--size", "8", "--precondition", precondition];
    expect(folder.path(), &[&arguments[..], &["--out", "weights.safetensors"]].concat(), 0);
    fs::write(folder.path().join("cm_web.wasm"), MODULE).unwrap();
    folder
}

fn export(folder: &Path, more: &[&str], code: i32) -> (String, String) {
    let arguments = ["export", "--format", "web", "weights.safetensors", "--out", "page.html"];
    expect(folder, &[&arguments[..], more].concat(), code)
}

#[test]
fn a_model_becomes_one_page_that_asks_for_nothing() {
    let folder = imported("consistency");
    let (told, _) = export(folder.path(), &["--module", "cm_web.wasm"], 0);
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert_eq!(told, format!("page.html with {} bytes\n", page.len()));
    assert!(page.contains("default-src 'none'") && page.contains("<h1>weights</h1>"));
    for word in ["http://", "https://", "src=", "href="] {
        assert!(!page.contains(word), "{word}");
    }
    // Where cargo puts it, it is found.
    let target = folder.path().join("target/wasm32-unknown-unknown/release");
    fs::create_dir_all(&target).unwrap();
    fs::rename(folder.path().join("cm_web.wasm"), target.join("cm_web.wasm")).unwrap();
    export(folder.path(), &[], 0);
    assert!(fs::read_to_string(folder.path().join("page.html")).unwrap() == page, "the same page each time");
}

#[test]
fn what_makes_no_page_is_told_and_nothing_is_written() {
    let folder = imported("consistency");
    let (_, told) = export(folder.path(), &[], 2);
    for part in [
        "target/wasm32-unknown-unknown/release/cm_web.wasm is not there",
        "rustup target add wasm32-unknown-unknown",
        "cargo build --release --target wasm32-unknown-unknown -p cm-web",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let (_, told) = export(folder.path(), &["--module", "weights.safetensors"], 2);
    assert!(
        told.contains("--module") && told.contains("no WebAssembly module of this version's cm-web"),
        "{told}"
    );
    let plain = ["export", "weights.safetensors", "--out", "page.html", "--module", "cm_web.wasm"];
    let (_, told) = expect(folder.path(), &plain, 2);
    assert!(told.contains("--module: it is of a page") && told.contains("--format web"), "{told}");
    let diffusion = imported("edm");
    let (_, told) = export(diffusion.path(), &["--module", "cm_web.wasm"], 2);
    assert!(told.contains("its weights are a diffusion model's"), "{told}");
    let points = scratch(&ring(64, ""));
    fs::write(points.path().join("cm_web.wasm"), MODULE).unwrap();
    expect(points.path(), &["run", "study.ron"], 0);
    let arguments = ["export", "--format", "web", "runs/study/base/seed-0", "--module", "cm_web.wasm"];
    let (_, told) = expect(points.path(), &[&arguments[..], &["--out", "page.html"]].concat(), 2);
    assert!(told.contains("MODEL: it draws points") && told.contains("allowed: a model of images"), "{told}");
    for folder in [folder, diffusion, points] {
        assert!(!folder.path().join("page.html").exists());
    }
}
