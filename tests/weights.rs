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
}

/// As EDM's deterministic sampler does; nothing else is done with a diffusion model.
#[test]
fn images_are_drawn_from_a_diffusion_model_along_its_flow() {
    let folder = imported("edm");
    let arguments = ["sample", "weights.safetensors", "--count", "3", "--out", "drawn"];
    let (told, _) = expect(folder.path(), &arguments, 0);
    assert!(told.contains("evaluations for each image: 35"), "{told}");
    let (told, _) = expect(folder.path(), &[&arguments[..5], &["few", "--steps", "3"]].concat(), 0);
    assert!(told.contains("evaluations for each image: 5"), "{told}");
    let drawn = |out: &str| arrays(&folder.path().join(out).join("samples.npz"), &["arr_0"]).remove(0);
    assert!(drawn("drawn").len() == 3 * 64 && drawn("drawn") != drawn("few"));
    let (_, told) = expect(folder.path(), &[&arguments[..5], &["one", "--steps", "1"]].concat(), 2);
    assert!(told.contains("2 to 1000 levels"), "{told}");
}

/// Networks as EDM's training pickles them, with half precision and a source that ends the program that runs it.
#[test]
fn pickled_networks_of_edm_are_read_as_they_are() {
    for (name, network, inner) in
        [("song", "UNet(", "model"), ("adm", "Adm(", "model"), ("edm2", "Edm2(", "unet")]
    {
        let folder = scratch("");
        let original = fixture(&format!("edm-{name}-tiny.pkl"));
        let (told, _) = expect(folder.path(), &["import", original.to_str().unwrap(), "--out", "model"], 0);
        assert!(told.contains(network) && told.contains("classes: 3"), "{told}");
        assert!(told.contains("Precond around it: diffusion model"), "{told}");
        assert_eq!(told.contains("augmentations is left out"), name == "song", "{told}");
        let expected = fixture(&format!("edm-{name}-tiny.safetensors"));
        fs::copy(&expected, folder.path().join("in.safetensors")).unwrap();
        let arguments = ["denoise", "--weights", "model", "--input", "in.safetensors", "--out", "out.npz"];
        expect(folder.path(), &arguments, 0);
        let ours = arrays(&folder.path().join("out.npz"), &["raw", "denoised"]);
        for (ours, theirs) in ours.iter().zip(arrays(&expected, &["raw", "denoised"])) {
            let most = |values: &mut dyn Iterator<Item = f32>| values.map(f32::abs).fold(0.0, f32::max);
            let error =
                most(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b)) / most(&mut theirs.iter().copied());
            assert!(error <= 3e-6, "{name}: {error:.2e}");
        }
        expect(folder.path(), &["sample", "model", "--count", "2", "--steps", "2", "--out", "drawn"], 0);
        let (_, told) =
            expect(folder.path(), &["import", original.to_str().unwrap(), "--out", "x", "--size", "16"], 2);
        assert!(told.contains("images of 8 pixels, not of 16"), "{told}");
        let (_, told) = expect(
            folder.path(),
            &["import", original.to_str().unwrap(), "--out", "x", "--prefix", "net"],
            2,
        );
        assert!(told.contains(&format!("begin with `ema.{inner}.`")), "{told}");
    }
}

/// What the arrays do not say goes along: heads, sigma_data, noise levels.
#[test]
fn a_model_of_one_s_own_comes_back_as_the_same_function() {
    let folder = scratch("");
    let original = fixture("ddpmpp-tiny.pt");
    let network =
        "UNet(channels: 8, multipliers: [1, 2], blocks: 1, attention: [4], heads: 4, resampling: Fir)";
    let more = ["--size", "8", "--precondition", "consistency", "--sigma-data", "0.752", "--rho", "5"];
    let arguments = ["import", original.to_str().unwrap(), "--network", network, "--out", "own.safetensors"];
    expect(folder.path(), &[&arguments[..], &more].concat(), 0);
    let bytes = fs::read(folder.path().join("own.safetensors")).unwrap();
    for out in ["back.pt", "back.safetensors"] {
        let (told, _) = expect(folder.path(), &["export", "own.safetensors", "--out", out], 0);
        assert!(told.contains("one head of attention, and this model 4"), "{told}");
        expect(folder.path(), &["import", out, "--out", "again.safetensors"], 0);
        assert!(fs::read(folder.path().join("again.safetensors")).unwrap() == bytes, "{out}");
    }
    let (told, _) = expect(folder.path(), &["export", "own.safetensors", "--out", "back.msgpack"], 0);
    let line = told.lines().find_map(|line| line.split_once("cm import back.msgpack ")).unwrap().1;
    let options = line.split(" --network '").collect::<Vec<_>>();
    let mut arguments = vec!["import", "back.msgpack", "--out", "flax.safetensors"];
    arguments.extend(options[0].split(' '));
    arguments.extend(["--network", options[1].trim_end_matches('\'')]);
    expect(folder.path(), &arguments, 0);
    assert!(fs::read(folder.path().join("flax.safetensors")).unwrap() == bytes);
    // Without all that, what is assumed is said, and what cannot be is asked for.
    let (_, told) =
        expect(folder.path(), &["import", original.to_str().unwrap(), "--size", "8", "--out", "x"], 2);
    assert!(told.contains("--precondition"), "{told}");
    let bare = ["import", original.to_str().unwrap(), "--size", "8", "--precondition", "edm", "--out", "x"];
    let (told, _) = expect(folder.path(), &bare, 0);
    for note in ["// one head of attention", "// resolutions change without a filter", "// sigma_data 0.5"] {
        assert!(told.contains(note), "{told}");
    }
}

#[test]
fn a_run_is_exported_whole_and_what_a_form_has_not_is_refused() {
    let folder = imported("edm");
    fs::write(folder.path().join("study.ron"), study("")).unwrap();
    expect(folder.path(), &["run", "study.ron"], 0);
    let run = "runs/study/base/seed-0";
    let export = |format: &str, code| {
        expect(folder.path(), &["export", run, "--format", format, "--out", format], code)
    };
    let (told, _) = export("onnx", 0);
    assert!(told.contains("onnx with generator.onnx, denoiser.onnx, README.md, one-step-"), "{told}");
    let (told, _) = export("torch", 0);
    assert!(told.contains("torch with weights.pt, config.json, model.py, README.md"), "{told}");
    // Its own names, in PyTorch's order of axes.
    let kernel = |file: &Path| {
        let archive = Archive::open(file).unwrap();
        archive.find("down.1.resample.conv0.weight").unwrap().shape.clone()
    };
    assert_eq!(kernel(&folder.path().join("torch/weights.pt")), [8, 8, 3, 3]);
    for place in [run, "onnx"] {
        let card = fs::read_to_string(folder.path().join(place).join("README.md")).unwrap();
        for said in ["# base/seed-0\n", "| licence of the data | CC BY 4.0 |", "| recognised |", "```ron\n"] {
            assert!(card.contains(said), "{place}: {said}");
        }
    }
    let (_, told) = export("diffusers", 2);
    assert!(told.contains("diffusers cannot express it: UNet2DModel sums without"), "{told}");
    assert!(!folder.path().join("diffusers").exists());
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
