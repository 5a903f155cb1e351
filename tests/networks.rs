//! Studies whose samples are scored by an Inception network too: a small one of the same structure, with random weights,
//! so nothing is called FID.

use crate::reproducibility::{StopAfter, assert_same, results};
use crate::util::{expect, root, scratch};
use cm_experiment::{RunOutcome, resume, run};
use cm_host::{Silent, StopFlag};
use cm_import::Archive;
use cm_study::load;
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::Path;

/// Writes the network of `scripts/parity/inception.py`, without its answers, to `path`.
fn small_inception(path: &Path) {
    let mut archive = Archive::open(&root().join("tests/fixtures/parity/inception.safetensors")).unwrap();
    let names: Vec<(String, Vec<usize>)> = (archive.tensors().iter())
        .filter(|tensor| tensor.name.starts_with("net/"))
        .map(|tensor| (tensor.name.clone(), tensor.shape.clone()))
        .collect();
    let arrays: Vec<(String, Vec<usize>, Vec<u8>)> = (names.into_iter())
        .map(|(name, shape)| {
            let values = archive.read(&name).unwrap();
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name.trim_start_matches("net/").to_owned(), shape, bytes)
        })
        .collect();
    let views = arrays
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A study on the digits with that network, its weights in `weights.safetensors` of `folder`.
fn study(folder: &Path, more: &str) -> String {
    let weights = folder.join("weights.safetensors");
    format!(
        "(
    question: \"what does another network say?\",
    base: (
        dataset: Digits(),
        network: Mlp(width: 16, blocks: 1),
        teacher: Trained(train: (total_images: 128, batch: 32, ema: [PerStep(0.9)])),
        consistency: (
            train: (total_images: 256, batch: 32, ema: [PerStep(0.9)]),
            curriculum: Fixed(num_levels: 6),
        ),
        evaluation: (
            samples: 6,
            every_images: 128,
            every_samples: 5,
            metrics: [Frechet],
            teacher: (levels: 3),
            networks: [Inception(
                weights: {weights:?},
                reference: Training(most: 8),
                metrics: [Frechet, ClassScore, Precision, Recall],
                rows: 5,
            )],
        ),
        logging: (record_images: 64, checkpoint_images: 64, residual_images: None, grid: 4),
    ),
    {more}
)
"
    )
}

#[test]
fn a_network_scores_floor_teacher_and_student_on_the_way_too_and_stopping_changes_nothing() {
    let folder = scratch("");
    let path = folder.path();
    small_inception(&path.join("weights.safetensors"));
    fs::write(path.join("study.ron"), study(path, "")).unwrap();
    let study = load(&path.join("study.ron")).unwrap();
    // Training images, held-out ones, the teacher's, the student's, and once those on the way.
    let printed = study.plan.describe();
    assert!(printed.contains(&format!("// scores: {} images pass", 8 + 6 + 6 + 6 + 5)), "{printed}");
    let whole = path.join("whole");
    let outcome = run(&study, &whole, &StopFlag::new(), &mut Silent).unwrap();
    let RunOutcome::Finished { dir, table } = outcome else { panic!("{outcome:?}") };
    for name in ["other-inception-frechet", "other-inception-class-score"] {
        assert!(table.lines().next().unwrap().contains(name), "{table}");
    }
    assert!(!table.contains("fid"), "{table}");
    let report = fs::read_to_string(dir.join("report.csv")).unwrap();
    for line in [
        "-,0,floor,-,0,other-inception-recall-6,",
        "-,0,teacher,heun-3,5,other-inception-frechet-6,",
        "base,0,student,one-step,1,other-inception-precision-6,",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
    let curves = fs::read_to_string(dir.join("base/seed-0/curves.csv")).unwrap();
    assert!(curves.contains(",128,student/one-step/other-inception-frechet-5,"), "{curves}");
    // Told once what the numbers are of.
    let kept: Vec<_> = fs::read_dir(dir.join("shared")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let card: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(kept[0].join("card.json")).unwrap()).unwrap();
    assert_eq!((&card["images"], &card["rows"]), (&8.into(), &5.into()));
    assert_eq!(card["features"]["published"], false);
    assert_eq!(card["features"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(card["quantisation"], "rounded to the nearest of 256 levels");
    let expected = results(&dir);
    // Reports of progress: the teacher's steps, training images, floor, teacher, steps, on the way, steps, the student.
    for left in [5, 13, 19] {
        let stop = StopFlag::new();
        let out = path.join(format!("stopped-{left}"));
        let mut progress = StopAfter { left, stop: stop.clone() };
        let outcome = run(&study, &out, &stop, &mut progress).unwrap();
        let RunOutcome::Stopped { dir } = outcome else { panic!("{left}: {outcome:?}") };
        let outcome = resume(&dir, &StopFlag::new(), &mut Silent).unwrap();
        assert!(matches!(outcome, RunOutcome::Finished { .. }), "{left}: {outcome:?}");
        assert_same(&expected, &results(&dir), &format!("stopped after {left} reports"));
    }
}

#[test]
fn weights_that_were_exchanged_are_told_and_statistics_of_a_file_stand_for_the_images() {
    let folder = scratch("");
    let path = folder.path();
    small_inception(&path.join("weights.safetensors"));
    let text = study(path, "").replace("every_images: 128,\n            every_samples: 5,", "");
    fs::write(path.join("study.ron"), &text).unwrap();
    let (table, notes) = expect(path, &["run", "study.ron"], 0);
    assert!(
        notes.contains("caution: the Inception network has other weights than the published ones"),
        "{notes}"
    );
    let value = |table: &str, metric: &str| -> String {
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let column = cells(table.lines().next().unwrap()).iter().position(|cell| cell == metric).unwrap();
        cells(table.lines().find(|line| line.contains("| one-step ")).unwrap())[column].clone()
    };
    let kept = fs::read_dir(path.join("runs/study/shared")).unwrap().next().unwrap().unwrap().path();
    let of_file = text.replace(
        "reference: Training(most: 8)",
        &format!("reference: Statistics(path: {:?})", kept.join("statistics.npz")),
    );
    fs::write(path.join("file.ron"), &of_file).unwrap();
    let (by_file, _) = expect(path, &["run", "file.ron"], 0);
    let metric = "other-inception-frechet";
    assert_eq!(value(&table, metric), value(&by_file, metric));
    let bytes = fs::read(path.join("weights.safetensors")).unwrap();
    fs::write(path.join("weights.safetensors"), [&bytes[..bytes.len() - 1], &[7]].concat()).unwrap();
    let (_, error) = expect(path, &["run", "study.ron"], 2);
    assert!(error.contains("weights.safetensors has changed since"), "{error}");
    // Before anything is trained.
    let (_, error) = expect(path, &["run", "file.ron", "--out", "anew"], 2);
    assert!(error.contains("statistics.npz") && error.contains("are compared with"), "{error}");
    assert!(!path.join("anew/file/plan.ron").exists());
    fs::remove_file(path.join("weights.safetensors")).unwrap();
    let (_, error) = expect(path, &["run", "study.ron", "--out", "anew"], 2);
    assert!(error.contains("there is no file"), "{error}");
}

#[test]
fn a_shortened_study_says_so_and_what_the_whole_would_take() {
    let folder = scratch("");
    let path = folder.path();
    small_inception(&path.join("weights.safetensors"));
    let published = "arms: Star([(name: \"cd\", changes: [], published: [
        (metric: Frechet, sampler: \"one-step\", value: 3.55, tolerance: 0.07, source: \"Table 1\")])])";
    fs::write(
        path.join("study.ron"),
        study(path, published).replace("total_images: 256", "total_images: 2_560"),
    )
    .unwrap();
    let (plan, _) = expect(path, &["plan", "study.ron", "--set", "shortened_by=10"], 0);
    assert!(plan.contains("// shortened 10 times"), "{plan}");
    assert!(plan.contains("shortened_by: 10,") && plan.contains("total_images: 256,"), "{plan}");
    assert!(plan.contains(" images pass through the Inception network"), "{plan}");
    let (table, _) = expect(path, &["run", "study.ron", "--set", "shortened_by=10"], 0);
    for part in [
        "| fid | fid published | difference |",
        " 3.55 |",
        "shortened 10 times: a rehearsal",
        "the whole study's would take about",
        "not measured by the published Inception network",
    ] {
        assert!(table.contains(part), "{part}\n{table}");
    }
    let (_, error) = expect(path, &["plan", "study.ron", "--set", "shortened_by=0"], 2);
    assert!(error.contains("shortened_by is 0"), "{error}");
}
