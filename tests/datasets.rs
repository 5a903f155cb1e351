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

/// Plans a study of the repository in a folder with nothing in it: what is printed before the plan, and the plan.
fn planned_without_data(file: &Path) -> (String, String) {
    let folder = scratch("");
    let (text, _) = expect(folder.path(), &["plan", file.to_str().unwrap()], 0);
    let printed: String =
        text.lines().take_while(|line| line.starts_with("//")).map(|line| format!("{line}\n")).collect();
    // Without the marks of what is no default.
    let unmarked = |line: &str| format!("{}\n", line.split(" // default: ").next().unwrap_or(line));
    let plan = text[printed.len()..].lines().map(unmarked).collect();
    (printed, plan)
}

#[test]
fn every_study_of_downloaded_images_is_planned_without_them() {
    for (name, data, fetched) in [
        ("mnist", "mnist", "scripts/data/mnist "),
        ("emoji64", "emoji64", "scripts/data/emoji64 "),
        ("lpips", "cifar10", "`cm dataset prepare` as data/cifar10"),
    ] {
        let file = root().join(format!("experiments/{name}.ron"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(&format!("path: \"data/{data}\"")) && text.starts_with("//"));
        assert!(text.contains(fetched), "how to come by the images");
        let (printed, plan) = planned_without_data(&file);
        golden(&format!("printed/{name}.txt"), &printed);
        golden(&format!("plans/{name}.ron"), &plan);
        // It cannot be run without them.
        let folder = scratch(&text);
        let (_, error) = expect(folder.path(), &["run", "study.ron"], 2);
        assert!(error.contains(&format!("there is no folder data/{data}")), "{error}");
        assert!(!folder.path().join("runs").exists(), "nothing is begun");
    }
}

/// The paper's own studies, planned where neither their images nor the weights of LPIPS are.
#[test]
fn the_papers_studies_are_planned() {
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("experiments/paper")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 9, "the tables and figures");
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let (printed, plan) = planned_without_data(&file);
        golden(&format!("printed/paper-{name}.txt"), &printed);
        // What has no teacher starts from random weights (Song et al. 2023, Algorithm 3), distillation from the teacher's.
        let count = |text: &str| plan.matches(text).count();
        let untaught = ["Training,", "TwoTime(", "InductiveMomentMatching("];
        let untaught: usize = untaught.iter().map(|method| count(&format!("method: {method}"))).sum();
        assert_eq!(untaught, count("init: Random,"), "{name}");
    }
}

#[test]
fn images_that_are_not_what_a_study_expects_are_an_error() {
    let folder = scratch("");
    expect(folder.path(), &["dataset", "prepare", &fixture("keras.npz"), "--out", "set"], 0);
    for (expected, part) in [
        ("side: 5, channels: 1, train: 1, test: 1, classes: Some(4)", "the train part has"),
        ("side: 4, channels: 1, train: 999, test: 1, classes: Some(4)", "allowed: at least 999 images"),
        ("side: 4, channels: 1, train: 1, test: 1", "without classes"),
    ] {
        let dataset = format!("Prepared(path: \"set\", expect: Some({expected}))");
        fs::write(folder.path().join("study.ron"), study(&dataset)).unwrap();
        let (_, error) = expect(folder.path(), &["plan", "study.ron"], 2);
        assert!(error.contains("study.ron:4:") && error.contains(part), "{error}");
    }
    // What cannot be met by any folder is an error even where there is none.
    let none =
        "Prepared(path: \"none\", expect: Some(side: 9000000000000000000, channels: 3, train: 1, test: 1))";
    fs::write(folder.path().join("study.ron"), study(none)).unwrap();
    let (_, error) = expect(folder.path(), &["plan", "study.ron"], 2);
    assert!(error.contains("fewer than 2^31"), "{error}");
}
