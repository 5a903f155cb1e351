//! Images of the user's own: prepared, inspected, verified, trained on.

use crate::util::{expect, golden, root, scratch};
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> String {
    let path: PathBuf = root().join("crates/cm-datasets/tests/fixtures").join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn images_are_prepared_inspected_and_verified() {
    let folder = scratch("");
    let cifar = fixture("cifar-10-python.tar.gz");
    let (told, _) = expect(folder.path(), &["dataset", "prepare", &cifar, "--out", "data/cifar10"], 0);
    assert!(told.contains("15 images to train on and 3 to test, 32x32x3, 10 classes"), "{told}");
    let (told, _) = expect(folder.path(), &["dataset", "inspect", "data/cifar10", "--sheet", "sheet.png"], 0);
    for part in [
        "train: 15 images of 32x32x3",
        "class 3 cat: 2",
        "sigma_data 0.5",
        "from cifar-10-python.tar.gz, BLAKE3",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(fs::read(folder.path().join("sheet.png")).unwrap().starts_with(b"\x89PNG"));
    // The source itself says the same of its images.
    let (of_source, _) = expect(folder.path(), &["dataset", "inspect", &cifar], 0);
    let numbers =
        |text: &str| text.lines().filter(|line| line.contains("sigma_data")).map(str::to_owned).collect();
    let (ours, theirs): (Vec<String>, Vec<String>) = (numbers(&told), numbers(&of_source));
    assert_eq!((ours.len(), &ours), (2, &theirs));
    let (told, _) = expect(folder.path(), &["dataset", "verify", "data/cifar10"], 0);
    assert!(told.contains("4 files are as they were written"), "{told}");

    let shard = folder.path().join("data/cifar10/train-00000.u8");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[7] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let (_, error) = expect(folder.path(), &["dataset", "verify", "data/cifar10"], 2);
    assert!(error.contains("error: data/cifar10/train-00000.u8: its BLAKE3 hash"), "{error}");
}

#[test]
fn what_cannot_be_prepared_is_wrong_input_and_leaves_nothing() {
    let folder = scratch("");
    let idx = fixture("idx");
    for (arguments, part) in [
        (&["missing.zip", "--out", "made"][..], "missing.zip: No such file"),
        (&[&idx, "--out", "made", "--resolution", "8"], "resolution: "),
        (&[&idx, "--out", "made", "--format", "npz"], "no NumPy archive"),
        (&[&idx, "--out", "."], "out: "),
        (&[&idx, "--out", "made", "--shard-mib", "0"], "--shard-mib"),
        (&[&idx, "--out", "study.ron/made"], "cannot write"),
    ] {
        let code = if part == "cannot write" { 1 } else { 2 };
        let (_, error) = expect(folder.path(), &[&["dataset", "prepare"], arguments].concat(), code);
        assert!(error.contains(part), "{part}: {error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "study.ron alone: {part}");
    }
    let (_, error) = expect(folder.path(), &["dataset", "inspect", "missing"], 2);
    assert!(error.contains("missing: No such file"), "{error}");
    let (_, error) = expect(folder.path(), &["dataset", "verify", "."], 2);
    assert!(error.contains("./index.json") && error.contains("cm dataset prepare"), "{error}");
}

/// A study of a second on seven images of 4x4 in four classes.
fn study(dataset: &str) -> String {
    format!(
        "(
    question: \"does it run?\",
    base: (
        dataset: {dataset},
        class_conditional: true,
        network: UNet(channels: 4, multipliers: [1], blocks: 1, attention: []),
        teacher: None,
        method: Training,
        consistency: (
            train: (total_images: 320, batch: 32, ema: [PerStep(0.9)], horizontal_flips: true),
            init: Random,
            curriculum: Fixed(num_levels: 6),
        ),
        evaluation: (samples: 64, metrics: [Recognised]),
        logging: (grid: 4, residual_images: None),
    ),
)
"
    )
}

#[test]
fn a_study_reads_prepared_images_as_it_reads_their_source_on_any_number_of_threads() {
    let source = fixture("keras.npz");
    let folder = scratch(&study(&format!("Source(path: {source:?})")));
    expect(folder.path(), &["dataset", "prepare", &source, "--out", "set", "--shard-mib", "1"], 0);
    fs::write(folder.path().join("prepared.ron"), study("Prepared(path: \"set\")")).unwrap();
    expect(folder.path(), &["run", "study.ron", "--threads", "1"], 0);
    expect(folder.path(), &["run", "prepared.ron", "--threads", "2"], 0);
    let rows = |name: &str, file: &str| {
        fs::read_to_string(folder.path().join("runs").join(name).join("base/seed-0").join(file)).unwrap()
    };
    assert_eq!(rows("study", "curves.csv"), rows("prepared", "curves.csv"));
    assert_eq!(rows("study", "scores.csv"), rows("prepared", "scores.csv"));
    // Their judge was trained once and is kept.
    let shared: Vec<PathBuf> = fs::read_dir(folder.path().join("runs/prepared/shared"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("classifier.safetensors"))
        .collect();
    assert!(shared.len() == 1 && shared[0].is_file(), "{shared:?}");
}

#[test]
fn a_study_whose_images_are_not_there_says_so() {
    for (dataset, part) in [
        ("Prepared(path: \"data/none\")", "data/none/index.json: No such file"),
        ("Prepared()", "path: none is given"),
        ("Source(path: \"none.zip\")", "none.zip: No such file"),
    ] {
        let folder = scratch(&study(dataset));
        let (_, error) = expect(folder.path(), &["plan", "study.ron"], 2);
        assert!(error.contains("study.ron:4:") && error.contains(part), "{error}");
    }
}

/// A file of MNIST's format with 200 images in ten classes; colour has a dimension more.
fn stand_in(folder: &Path, side: u32, channels: u32) {
    let dimensions: &[u32] = if channels == 1 { &[200, side, side] } else { &[200, side, side, channels] };
    let mut images = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|length| images.extend(length.to_be_bytes()));
    images.extend((0..200 * side * side * channels).map(|i| (i * 7 % 251) as u8));
    fs::write(folder.join("a-images-idx3-ubyte"), images).unwrap();
    let labels: Vec<u8> = [0, 0, 8, 1, 0, 0, 0, 200].into_iter().chain((0..200).map(|i| i % 10)).collect();
    fs::write(folder.join("a-labels-idx1-ubyte"), labels).unwrap();
}

/// The studies whose images are downloaded, planned with others of their shape in their place.
#[test]
fn every_study_of_downloaded_images_is_planned() {
    for (name, side, channels) in [("mnist", 28, 1), ("emoji64", 64, 3)] {
        let text = fs::read_to_string(root().join(format!("experiments/{name}.ron"))).unwrap();
        assert!(text.contains(&format!("Prepared(path: \"data/{name}\")")) && text.starts_with("//"));
        assert!(text.contains(&format!("scripts/data/{name} ")), "how to fetch the images");
        let folder = scratch(&text);
        stand_in(folder.path(), side, channels);
        let data = format!("data/{name}");
        let source = "a-images-idx3-ubyte";
        expect(folder.path(), &["dataset", "prepare", source, "--held-out", "100", "--out", &data], 0);
        let (plan, _) = expect(folder.path(), &["plan", "study.ron"], 0);
        let comments = plan.lines().take_while(|line| line.starts_with("//"));
        let printed: String = comments.map(|line| format!("{line}\n")).collect();
        golden(&format!("printed/{name}.txt"), &printed);
        golden(&format!("plans/{name}.ron"), &plan[printed.len()..]);
    }
}

/// The paper's own studies, planned with others of its data's shape in their place, and with empty files where weights
/// are downloaded.
#[test]
fn the_papers_studies_are_planned() {
    let folder = scratch("");
    for (data, side) in [("cifar10", 32), ("imagenet64", 64), ("lsun-bedroom", 256), ("lsun-cat", 256)] {
        stand_in(folder.path(), side, 3);
        let arguments = ["--held-out", "100", "--out", &format!("data/{data}")];
        expect(folder.path(), &[&["dataset", "prepare", "a-images-idx3-ubyte"], &arguments[..]].concat(), 0);
    }
    fs::create_dir(folder.path().join("weights")).unwrap();
    for name in ["vgg16.pth", "vgg_lin.pth"] {
        fs::write(folder.path().join("weights").join(name), "").unwrap();
    }
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("experiments/paper")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 9, "the tables and figures");
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let (plan, _) = expect(folder.path(), &["plan", file.to_str().unwrap()], 0);
        let comments = plan.lines().take_while(|line| line.starts_with("//"));
        let printed: String = comments.map(|line| format!("{line}\n")).collect();
        golden(&format!("printed/paper-{name}.txt"), &printed);
        // Training starts from random weights (Song et al. 2023, Algorithm 3), distillation from the teacher's.
        let count = |text: &str| plan.matches(text).count();
        assert_eq!(count("method: Training,"), count("init: Random,"), "{name}");
    }
}
