use super::*;
use crate::event_file::reader;
use cm_image::ImageShape;
use std::fs;

fn steps(journal: &mut Journal, steps: std::ops::Range<u64>) {
    for step in steps {
        let loss = 1.0 / (step as f64 + 3.0);
        journal.record(step, step * 8, &[("student/loss", loss), ("levels", 2.0)]).unwrap();
        if step % 4 == 0 {
            journal.picture(step, "samples", &ImageBatch::zeros(ImageShape::new(2, 3, 1), 1)).unwrap();
        }
    }
}

fn contents(folder: &Path) -> (String, String) {
    let read = |name| fs::read_to_string(folder.join(name)).unwrap();
    (read("metrics.jsonl"), read("curves.csv"))
}

#[test]
fn rows_say_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), None).unwrap();
    journal.record(1, 128, &[("student/loss", 0.1), ("norm", f64::INFINITY)]).unwrap();
    journal.sync().unwrap();
    let (metrics, curves) = contents(folder.path());
    assert_eq!(metrics, "{\"step\":1,\"images\":128,\"student/loss\":0.1,\"norm\":\"inf\"}\n");
    assert_eq!(curves, "step,images,name,value\n1,128,student/loss,0.1\n1,128,norm,inf\n");
}

#[test]
fn a_stopped_and_resumed_run_leaves_the_files_of_an_uninterrupted_one() {
    let (whole, resumed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut journal = Journal::open(whole.path(), None).unwrap();
    steps(&mut journal, 0..12);
    journal.sync().unwrap();

    let mut journal = Journal::open(resumed.path(), None).unwrap();
    steps(&mut journal, 0..6);
    let seals = journal.seals();
    steps(&mut journal, 6..9);
    journal.sync().unwrap();
    drop(journal);
    // Killed in the middle of a line, with a checkpoint at step 5.
    let metrics = resumed.path().join("metrics.jsonl");
    let torn = fs::read_to_string(&metrics).unwrap() + "{\"step\":9,\"ima";
    fs::write(&metrics, torn).unwrap();
    let seen = Seen { step: 5, seals: &seals, looking: false };
    let mut journal = Journal::open(resumed.path(), Some(seen)).unwrap();
    steps(&mut journal, 6..12);
    journal.sync().unwrap();

    assert_eq!(contents(whole.path()), contents(resumed.path()));
    assert_eq!(reader::scalars(whole.path()), reader::scalars(resumed.path()));
    assert_eq!(fs::read_dir(resumed.path().join("samples")).unwrap().count(), 3);
}

#[test]
fn what_a_look_left_before_it_was_broken_off_is_there_once() {
    let (whole, resumed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let look = |journal: &mut Journal| {
        journal.record(4, 32, &[("score", 0.5)]).unwrap();
        journal.picture(4, "look", &ImageBatch::zeros(ImageShape::new(2, 3, 1), 1)).unwrap();
    };
    let mut journal = Journal::open(whole.path(), None).unwrap();
    steps(&mut journal, 0..5);
    look(&mut journal);
    steps(&mut journal, 5..7);
    journal.sync().unwrap();

    let mut journal = Journal::open(resumed.path(), None).unwrap();
    steps(&mut journal, 0..5);
    let seals = journal.seals();
    look(&mut journal);
    journal.sync().unwrap();
    let seen = Seen { step: 4, seals: &seals, looking: true };
    let mut journal = Journal::open(resumed.path(), Some(seen)).unwrap();
    look(&mut journal);
    steps(&mut journal, 5..7);
    journal.sync().unwrap();

    assert_eq!(contents(whole.path()), contents(resumed.path()));
    assert_eq!(reader::scalars(whole.path()), reader::scalars(resumed.path()));
}

#[test]
fn a_run_that_begins_again_begins_empty() {
    let folder = tempfile::tempdir().unwrap();
    steps(&mut Journal::open(folder.path(), None).unwrap(), 0..5);
    Journal::open(folder.path(), None).unwrap();
    assert_eq!(contents(folder.path()), (String::new(), CURVES_HEADER.to_owned()));
    assert!(reader::scalars(folder.path()).is_empty());
}

/// Resumed with a journal that is shorter than its checkpoint's step, a run once went from step 2 to step 7.
#[test]
fn a_journal_that_is_shorter_than_its_checkpoint_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), None).unwrap();
    steps(&mut journal, 0..7);
    journal.sync().unwrap();
    let seals = journal.seals();
    drop(journal);
    assert_eq!(seals.iter().map(|seal| seal.file.as_str()).collect::<Vec<_>>()[..2], [METRICS, CURVES]);
    assert!(seals.len() > 2, "the pictures");
    Journal::check(folder.path(), &seals).unwrap();
    let open = |seals| Journal::open(folder.path(), Some(Seen { step: 6, seals, looking: false }));
    for Seal { file, .. } in &seals {
        let path = folder.path().join(file);
        let good = fs::read(&path).unwrap();
        let told = |what: &str| {
            let error = open(&seals).err().unwrap();
            assert!(
                matches!(error, JournalError::Changed(_)) && error.to_string().contains(file),
                "{what}: {error}"
            );
            assert!(Journal::check(folder.path(), &seals).is_err());
        };
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        told("cut");
        fs::write(&path, good.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap();
        told("changed");
        fs::remove_file(&path).unwrap();
        told("missing");
        fs::write(&path, good).unwrap();
    }
    open(&seals).unwrap();
    assert!(open(&seals[1..]).is_err(), "a checkpoint that does not know it");
}
