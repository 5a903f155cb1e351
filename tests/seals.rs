//! Files of a study that are cut, changed, exchanged or put elsewhere: an error that names the file, or the same bits,
//! and never other numbers. Each test is of a kind of fault that was once believed.

/// What a study is made from, exchanged under it.
mod inputs;

use crate::reproducibility::{assert_same, results};
use crate::util::{expect, scratch};
use cm_experiment::{RunError, RunOutcome, Verified, resume, run, verify};
use cm_host::{Progress, Silent, StopFlag};
use cm_study::load;
use std::fs;
use std::path::{Path, PathBuf};

/// A trained teacher and two arms, with snapshots; half a second.
pub(crate) const STUDY: &str = "(
    question: \"are its results its own?\",
    base: (
        dataset: GaussianMixture(train_len: 256, test_len: 128),
        network: Mlp(width: 16, blocks: 1),
        teacher: Trained(train: (total_images: 128, batch: 32, ema: [PerStep(0.9)])),
        consistency: (
            train: (total_images: 320, batch: 32, ema: [PerStep(0.9), Power(0.1)], snapshots: (count: 2)),
            curriculum: Fixed(num_levels: 6),
        ),
        evaluation: (samples: 64, metrics: [SlicedWasserstein], teacher: (levels: 4)),
        logging: (record_images: 32, picture_images: 96, checkpoint_images: 96, grid: 4),
    ),
    arms: Star([(name: \"cd\", changes: []), (name: \"ct\", changes: [Method(Training)])]),
)
";
/// Its steps: of the teacher and of a student.
const STEPS: (u32, u32) = (4, 10);

/// Asks to stop after so many steps of training, and keeps what it is told.
#[derive(Default)]
struct Listener {
    left: u32,
    stop: StopFlag,
    notes: Vec<String>,
}

impl Progress for Listener {
    fn phase(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64, loss: Option<f64>) {
        if loss.is_some() {
            self.left = self.left.wrapping_sub(1);
            if self.left == 0 {
                self.stop.request();
            }
        }
    }
    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
    fn finish_phase(&mut self) {}
}

/// The study finished in `whole/study`, and stopped in the seventh step of its second arm in `half/study`.
struct Studies(tempfile::TempDir);

impl Studies {
    fn new() -> Self {
        let folder = scratch(STUDY);
        let study = load(&folder.path().join("study.ron")).unwrap();
        run(&study, &folder.path().join("whole"), &StopFlag::new(), &mut Silent).unwrap();
        let mut listener = Listener { left: STEPS.0 + STEPS.1 + 7, ..Listener::default() };
        let stop = listener.stop.clone();
        let stopped = run(&study, &folder.path().join("half"), &stop, &mut listener).unwrap();
        assert!(matches!(stopped, RunOutcome::Stopped { .. }), "{stopped:?}");
        Self(folder)
    }

    fn whole(&self) -> PathBuf {
        self.0.path().join("whole/study")
    }

    /// A copy of the half one.
    fn half(&self, name: &str) -> PathBuf {
        copy(&self.0.path().join("half"), &self.0.path().join(name));
        self.0.path().join(name).join("study")
    }

    /// The folder of the teacher below that of the study.
    fn teacher(&self) -> String {
        let mut all = fs::read_dir(self.whole().join("teachers")).unwrap();
        format!("teachers/{}", all.next().unwrap().unwrap().file_name().to_str().unwrap())
    }

    /// That resuming a folder gives the results of the whole study.
    fn goes_on(&self, study: &Path, what: &str) -> Vec<String> {
        let mut listener = Listener::default();
        let outcome = resume(study, &StopFlag::new(), &mut listener).unwrap();
        assert!(matches!(outcome, RunOutcome::Finished { .. }), "{what}: {outcome:?}");
        assert_same(&results(&self.whole()), &results(study), what);
        listener.notes
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).unwrap();
        }
    }
}

/// That resuming is refused as wrong input, with this file's name.
fn refused(study: &Path, file: &str) -> String {
    let error: RunError = resume(study, &StopFlag::new(), &mut Silent).err().unwrap();
    let told = error.to_string();
    assert!(error.is_input() && told.contains(file), "{file}: {told}");
    assert!(!study.join("report.csv").exists(), "{told}");
    told
}

fn cut(path: &Path, rows: usize) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.split_inclusive('\n').take(rows).collect::<String>()).unwrap();
}

#[test]
fn scores_that_were_emptied_do_not_make_a_report_without_an_arm() {
    let studies = Studies::new();
    let half = studies.half("cut");
    cut(&half.join("cd/seed-0/scores.csv"), 0);
    let told = refused(&half, "cd/seed-0/scores.csv");
    assert!(told.contains("0 bytes in 0 rows") && told.contains("cm resume"), "{told}");
    // What it says to do does it.
    fs::remove_dir_all(half.join("cd/seed-0")).unwrap();
    studies.goes_on(&half, "the folder removed");
    let half = studies.half("gone");
    fs::remove_file(half.join("cd/seed-0/scores.csv")).unwrap();
    studies.goes_on(&half, "the scores removed");
}

#[test]
fn a_report_that_was_emptied_is_not_printed_as_a_table() {
    let studies = Studies::new();
    let folder = studies.0.path();
    let good = fs::read(studies.whole().join("report.csv")).unwrap();
    fs::write(studies.whole().join("report.csv"), "").unwrap();
    for command in [
        &["table", "whole/study"][..],
        &["report", "whole/study"],
        &["resume", "whole/study"],
        &["run", "study.ron", "--out", "whole"],
    ] {
        let (printed, told) = expect(folder, command, 2);
        assert!(printed.is_empty() && told.contains("report.csv: it has 0 bytes"), "{command:?}: {told}");
    }
    fs::remove_file(studies.whole().join("report.csv")).unwrap();
    expect(folder, &["resume", "whole/study"], 0);
    assert_eq!(fs::read(studies.whole().join("report.csv")).unwrap(), good);
}

#[test]
fn records_that_were_cut_behind_their_checkpoint_are_not_gone_on_with() {
    let studies = Studies::new();
    for file in ["metrics.jsonl", "curves.csv"] {
        let half = studies.half(file);
        cut(&half.join("ct/seed-0").join(file), 3);
        let told = refused(&half, &format!("ct/seed-0/{file}"));
        assert!(told.contains("step 7"), "{told}");
        fs::remove_dir_all(half.join("ct/seed-0")).unwrap();
        studies.goes_on(&half, file);
    }
    // What lies behind the checkpoint is of no checkpoint.
    let half = studies.half("torn");
    let metrics = half.join("ct/seed-0/metrics.jsonl");
    fs::write(&metrics, fs::read_to_string(&metrics).unwrap() + "{\"step\":8,\"im").unwrap();
    studies.goes_on(&half, "a torn line");
}

#[test]
fn a_snapshot_that_was_changed_under_a_stopped_run_is_told() {
    let studies = Studies::new();
    let half = studies.half("snapshot");
    let file = half.join("ct/seed-0/snapshots/00000005.safetensors");
    fs::copy(half.join("cd/seed-0/snapshots/00000005.safetensors"), file).unwrap();
    refused(&half, "ct/seed-0/snapshots/00000005.safetensors");
}

#[test]
fn another_arms_checkpoint_is_not_gone_on_from() {
    let studies = Studies::new();
    let half = studies.half("other");
    let state = |arm: &str| half.join(arm).join("seed-0/checkpoints/state.safetensors");
    fs::copy(state("cd"), state("ct")).unwrap();
    let told = refused(&half, "ct/seed-0/checkpoints/state.safetensors");
    assert!(told.contains("of the student cd/seed-0"), "{told}");
}

#[test]
fn a_student_in_the_teachers_place_is_no_teacher() {
    let studies = Studies::new();
    let half = studies.half("student");
    let model = format!("{}/model.safetensors", studies.teacher());
    fs::copy(half.join("cd/seed-0/model.safetensors"), half.join(&model)).unwrap();
    refused(&half, &model);
}

#[test]
fn another_arms_results_are_not_its_own() {
    let studies = Studies::new();
    let half = studies.half("scores");
    fs::copy(half.join("cd/seed-0/scores.csv"), half.join("ct/seed-0/scores.csv")).unwrap();
    refused(&half, "ct/seed-0/scores.csv");
    // A model that no manifest names is written anew.
    let half = studies.half("model");
    fs::copy(half.join("cd/seed-0/model.safetensors"), half.join("ct/seed-0/model.safetensors")).unwrap();
    studies.goes_on(&half, "another arm's model");
    // A finished run whose model was exchanged is not sampled from.
    let whole = studies.whole();
    fs::copy(whole.join("cd/seed-0/model.safetensors"), whole.join("ct/seed-0/model.safetensors")).unwrap();
    let sample = ["sample", "whole/study/ct/seed-0", "--count", "2", "--out", "drawn"];
    let (_, told) = expect(studies.0.path(), &sample, 2);
    assert!(told.contains("ct/seed-0/model.safetensors"), "{told}");
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before_it_and_gives_the_same_bits() {
    let studies = Studies::new();
    let half = studies.half("damaged");
    let state = half.join("ct/seed-0/checkpoints/state.safetensors");
    let bytes = fs::read(&state).unwrap();
    fs::write(&state, &bytes[..bytes.len() / 3]).unwrap();
    let notes = studies.goes_on(&half, "from the checkpoint before");
    let told = |part: &str| notes.iter().any(|note| note.contains(part));
    assert!(told("state.safetensors: not a whole safetensors file"), "{notes:?}");
    assert!(told("ct/seed-0: student: going on after step 6 of 10"), "{notes:?}");
    // Who went on, and from where.
    let log = fs::read_to_string(half.join("ct/seed-0/continuations.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(log.trim_end()).unwrap();
    assert_eq!((&line["step"], &line["version"]), (&6.into(), &env!("CARGO_PKG_VERSION").into()));
    assert!(line["cpu"].is_string() && line["instruction_set"].is_string(), "{line}");
    // Two are kept while it is trained, and one when it is done.
    let half = studies.half("two");
    let older = half.join("ct/seed-0/checkpoints/state-before.safetensors");
    assert!(older.exists());
    fs::remove_file(half.join("ct/seed-0/checkpoints/state.safetensors")).unwrap();
    studies.goes_on(&half, "the newest removed");
    assert!(!older.exists());
}

#[test]
fn what_was_edited_in_a_folder_is_told() {
    let studies = Studies::new();
    for (file, from, to) in [
        ("plan.ron", "total_images: 320", "total_images: 640"),
        ("plan.ron", "name: \"ct\"", "name: \"cx\""),
        ("plan.ron", "are its results", "whose are its results"),
        ("study.ron", "samples: 64", "samples: 65"),
        ("cd/seed-0/provenance.ron", env!("CARGO_PKG_VERSION"), "0.0.9"),
        ("ct/seed-0/plan.ron", "batch: 32", "batch: 16"),
    ] {
        let half = studies.half(&to.replace(|c: char| !c.is_alphanumeric(), "-"));
        let text = fs::read_to_string(half.join(file)).unwrap();
        assert!(text.contains(from), "{file}");
        fs::write(half.join(file), text.replacen(from, to, 1)).unwrap();
        refused(&half, file);
    }
    let half = studies.half("utf8");
    fs::write(half.join("study.ron"), b"(question: \xff)").unwrap();
    refused(&half, "study.ron");
}

#[test]
fn a_folder_of_a_version_without_manifests_is_shown_with_a_word_about_it_and_not_gone_on_with() {
    let studies = Studies::new();
    let folder = studies.0.path();
    let (good, _) = expect(folder, &["table", "whole/study"], 0);
    fn strip(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                strip(&path);
            } else if path.ends_with("manifest.json") {
                fs::remove_file(path).unwrap();
            }
        }
    }
    strip(&studies.whole());
    let (table, told) = expect(folder, &["table", "whole/study"], 0);
    assert!(table == good && told.contains("no manifest.json"), "{told}");
    for command in
        [&["resume", "whole/study"][..], &["run", "study.ron", "--out", "whole"], &["verify", "whole/study"]]
    {
        let (_, told) = expect(folder, command, 2);
        assert!(told.contains("has no manifest.json") && told.contains("--out"), "{command:?}: {told}");
    }
    let half = studies.half("old");
    strip(&half);
    refused(&half, "manifest.json");
}

/// Every file below a folder, by its name.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if !path.ends_with(".lock") {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn verify_finds_every_file_that_was_changed_cut_or_removed() {
    let studies = Studies::new();
    let whole = studies.whole();
    let (table, _) = expect(studies.0.path(), &["verify", "whole/study"], 0);
    assert!(
        table.contains("| cd/seed-0") && table.contains("finished") && !table.contains("problem"),
        "{table}"
    );
    let mut all = files(&whole);
    // The model card is for people to write on.
    all.retain(|file| !file.ends_with("README.md"));
    assert!(all.len() > 40, "{all:?}");
    let problems = |study: &Path| -> Vec<String> {
        let Verified { table, problems } = verify(study).unwrap();
        assert_eq!(table.contains("problem"), !problems.is_empty(), "{table}");
        problems
    };
    for file in &all {
        let path = whole.join(file);
        let good = fs::read(&path).unwrap();
        let mut changed = good.clone();
        changed[good.len() / 2] ^= 1;
        for bytes in [&changed[..], &good[..good.len() - 1], b""] {
            fs::write(&path, bytes).unwrap();
            let found = problems(&whole);
            assert!(found.iter().any(|problem| problem.contains(file)), "{file}: {found:?}");
        }
        fs::remove_file(&path).unwrap();
        // Without its plan it is no study's folder.
        let found = if file == "plan.ron" { vec![file.clone()] } else { problems(&whole) };
        assert!(!found.is_empty(), "{file}");
        fs::write(&path, good).unwrap();
    }
    assert_eq!(problems(&whole), Vec::<String>::new());
    // Of a stopped one, what its checkpoint stands on.
    let half = studies.half("verified");
    assert_eq!(problems(&half), Vec::<String>::new());
    assert!(verify(&half).unwrap().table.contains("step 7"), "{}", verify(&half).unwrap().table);
    cut(&half.join("ct/seed-0/metrics.jsonl"), 2);
    assert!(problems(&half)[0].contains("ct/seed-0/metrics.jsonl"));
    let (_, told) = expect(studies.0.path(), &["verify", "verified/study"], 2);
    assert!(told.starts_with("error: ") && told.contains("metrics.jsonl"), "{told}");
    let (_, told) = expect(studies.0.path(), &["verify", "."], 2);
    assert!(told.contains("not the folder of a study"), "{told}");
}
