//! Weights of other programs: in, out, used, and a study that starts from them. The files were saved by PyTorch
//! (`scripts/parity/networks.py`).

use crate::util::{expect, root, scratch};
use cm_import::Archive;
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/parity").join(name)
}

/// A folder with the tiny network of the fixtures in `weights.safetensors`.
fn imported(precondition: &str) -> tempfile::TempDir {
    let folder = scratch("");
    let original = fixture("ddpmpp-tiny.pt");
    let arguments = ["import", original.to_str().unwrap(), "--size", "8", "--precondition", precondition];
    let (told, _) = expect(folder.path(), &[&arguments[..], &["--out", "weights.safetensors"]].concat(), 0);
    assert!(told.starts_with("// from PyTorch zip: ") && told.contains("attention: [4]"), "{told}");
    folder
}

fn arrays(path: &Path, names: &[&str]) -> Vec<Vec<f32>> {
    let mut archive = Archive::open(path).unwrap();
    names.iter().map(|name| archive.read(name).unwrap()).collect()
}

#[test]
fn a_file_of_pytorch_denoises_as_pytorch_does() {
    let folder = imported("edm");
    let input = fixture("ddpmpp-tiny-in.npz");
    let arguments = ["denoise", "--weights", "weights.safetensors", "--input", input.to_str().unwrap()];
    expect(folder.path(), &[&arguments[..], &["--out", "out.npz", "--batch", "1"]].concat(), 0);
    let ours = arrays(&folder.path().join("out.npz"), &["raw", "denoised"]);
    let theirs = arrays(&fixture("ddpmpp-tiny-out.npz"), &["raw", "denoised"]);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v * v)).sum::<f64>().sqrt();
        let error =
            norm(&mut ours.iter().zip(theirs).map(|(a, b)| a - b)) / norm(&mut theirs.iter().copied());
        assert!(error <= 1e-5, "{error:.2e}");
    }
    // A consistency model makes something else of the same network.
    let more = ["--out", "other.npz", "--batch", "1", "--precondition", "consistency"];
    let arguments = [&arguments[..], &more].concat();
    expect(folder.path(), &arguments, 0);
    let other = arrays(&folder.path().join("other.npz"), &["raw", "denoised"]);
    assert!(other[0] == ours[0] && other[1] != ours[1]);
}

#[test]
fn what_is_exported_and_imported_again_is_the_same_file() {
    let folder = imported("consistency");
    let bytes = fs::read(folder.path().join("weights.safetensors")).unwrap();
    for out in ["back.pt", "back.safetensors", "back.msgpack"] {
        expect(folder.path(), &["export", "weights.safetensors", "--out", out], 0);
        let arguments =
            ["import", out, "--size", "8", "--precondition", "consistency", "--out", "again.safetensors"];
        expect(folder.path(), &arguments, 0);
        assert!(fs::read(folder.path().join("again.safetensors")).unwrap() == bytes, "{out}");
    }
    let (_, told) = expect(folder.path(), &["export", "weights.safetensors", "--out", "back.bin"], 2);
    assert!(told.contains("allowed: .pt, .pth or .safetensors for PyTorch, .msgpack for Flax"), "{told}");
}

#[test]
fn images_are_drawn_from_imported_weights_whatever_the_batch() {
    let folder = imported("consistency");
    let draw = |out: &str, batch: &str| {
        let arguments = ["sample", "--weights", "weights.safetensors", "--steps", "2", "--count", "5"];
        expect(folder.path(), &[&arguments[..], &["--out", out, "--batch", batch]].concat(), 0);
        assert!(folder.path().join(out).join("grid.png").exists());
        arrays(&folder.path().join(out).join("samples.npz"), &["arr_0"]).remove(0)
    };
    let (one, all) = (draw("one", "1"), draw("all", "5"));
    assert_eq!(one.len(), 5 * 64);
    // Matrix products block differently for different numbers of rows: a pixel may be rounded the other way.
    assert!(one.iter().zip(&all).all(|(a, b)| (a - b).abs() <= 1.0));
    let (_, told) =
        expect(imported("edm").path(), &["sample", "--weights", "weights.safetensors", "--out", "x"], 2);
    assert!(told.contains("a diffusion model's"), "{told}");
}

/// A study of a second on the digits, whose teacher is a file.
fn study(more: &str) -> String {
    format!(
        "(base: (
            dataset: Digits(),
            network: UNet(channels: 8, multipliers: [1, 2], blocks: 1, attention: [4]),
            teacher: File(path: \"weights.safetensors\"),
            consistency: (train: (total_images: 64, batch: 32, ema: [PerStep(0.9)]), curriculum: Fixed(num_levels: 6)),
            evaluation: (samples: 64, metrics: [Recognised], teacher: (levels: 3)),
            logging: (residual_images: None, grid: 4),
            {more}
        ))"
    )
}

#[test]
fn a_study_distils_and_starts_from_a_file() {
    let folder = imported("edm");
    fs::write(folder.path().join("study.ron"), study("")).unwrap();
    let (told, _) = expect(folder.path(), &["run", "study.ron"], 0);
    assert!(told.contains("| teacher | heun-3"), "{told}");
    expect(folder.path(), &["export", "runs/study/base/seed-0", "--out", "trained.pt"], 0);
    let start = arrays(&fixture("ddpmpp-tiny.pt"), &["Conv_0.weight"]).remove(0);
    let trained = arrays(&folder.path().join("trained.pt"), &["Conv_0.weight"]).remove(0);
    // Two steps of 4e-4 and less from where it started.
    let moved = start.iter().zip(&trained).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(moved > 0.0 && moved < 2e-3, "{moved}");
}

#[test]
fn a_file_that_does_not_fit_a_study_is_found_before_any_work() {
    let folder = imported("consistency");
    let complaint = |text: &str| {
        fs::write(folder.path().join("study.ron"), text).unwrap();
        expect(folder.path(), &["plan", "study.ron"], 2).1
    };
    assert!(complaint(&study("")).contains("it holds a consistency model, which cannot be distilled"));
    let text = study("class_conditional: true, method: Training");
    assert!(complaint(&text).contains("it knows None classes"), "{}", complaint(&text));
    let text = study("method: Training");
    assert!(complaint(&text.replace("blocks: 1", "blocks: 2")).contains("of another network"));
    // A file that is not there can be planned without, and not be run without.
    fs::write(folder.path().join("study.ron"), text.replace("weights.safe", "other.safe")).unwrap();
    let (_, told) = expect(folder.path(), &["run", "study.ron"], 2);
    assert!(told.contains("there is no file other.safetensors"), "{told}");
    fs::write(folder.path().join("study.ron"), text).unwrap();
    expect(folder.path(), &["plan", "study.ron"], 0);
}

#[test]
fn files_that_are_not_what_they_should_be_are_refused_and_nothing_is_written() {
    let folder = imported("edm");
    let refused = |file: &str, more: &[&str]| {
        let arguments = ["import", file, "--precondition", "edm", "--out", "new.safetensors"];
        let (_, told) = expect(folder.path(), &[&arguments[..], more].concat(), 2);
        assert!(!folder.path().join("new.safetensors").exists());
        told
    };
    fs::write(folder.path().join("hostile.pt"), b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00echo\x85R.").unwrap();
    assert!(refused("hostile.pt", &[]).contains("the pickle asks for `os.system`"));
    let original = fixture("ddpmpp-tiny.pt");
    let bytes = fs::read(&original).unwrap();
    fs::write(folder.path().join("short.pt"), &bytes[..bytes.len() / 2]).unwrap();
    assert!(refused("short.pt", &["--size", "8"]).contains("short.pt: not a well-formed file"));
    assert!(refused("missing.pt", &[]).contains("missing.pt"));
    let original = original.to_str().unwrap();
    assert!(refused(original, &[]).contains("the height of its images must be given"));
    let network = "UNet(channels: 8, multipliers: [1, 4], blocks: 1, attention: [4, 8], film: false)";
    let told = refused(original, &["--size", "8", "--network", network]);
    assert!(told.contains("missing: AttnBlockpp_3."), "{told}");
    assert!(told.contains("misshapen: ResnetBlockBigGANpp_2.Conv_0.weight is [16, 8, 3, 3]"), "{told}");
    let told = refused(original, &["--size", "8", "--sigma-min", "90", "--network", "UNet(chanels: 8)"]);
    assert!(told.contains("chanels"), "{told}");
    assert!(refused(original, &["--size", "8", "--sigma-min", "90"]).contains("--sigma-min"));
    // A changed byte of the values.
    let path = folder.path().join("weights.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let (_, told) = expect(folder.path(), &["sample", "--weights", "weights.safetensors", "--out", "x"], 2);
    assert!(told.contains("checksum"), "{told}");
}

#[test]
fn the_paper_s_networks_have_their_sizes() {
    let folder = scratch("");
    for (preset, parameters) in [
        ("ncsnpp-cifar10", "56395651 parameters"),
        ("ddpmpp-cifar10", "55732739 parameters"),
        ("adm-imagenet64", "295899267 parameters"),
        ("adm-lsun256", "526304771 parameters"),
    ] {
        let (told, _) = expect(folder.path(), &["plan", "--network", preset], 0);
        assert!(told.contains(parameters), "{told}");
    }
}
