//! A study's folder made, left, edited, reopened.

use super::*;
use cm_network::{MlpConfig, NetworkConfig};
use cm_study::{ArmConfig, ArmsConfig, ExperimentConfig, StudyConfig, TeacherSource};

fn study(seeds: &[u64]) -> Study {
    let base = ExperimentConfig { network: NetworkConfig::Mlp(MlpConfig::default()), ..Default::default() };
    let arms = ArmsConfig::Star(vec![ArmConfig { name: "a".into(), changes: vec![], published: vec![] }]);
    let config = StudyConfig { seeds: seeds.to_vec(), base, arms, ..Default::default() };
    let plan = config.build().unwrap().plan;
    Study { path: "s.ron".into(), name: "s".into(), text: "( )".into(), plan, notes: vec![], absent: vec![] }
}

fn new(opened: Opened) -> StudyDir {
    match opened {
        Opened::New(dir) => dir,
        Opened::Finished { path, .. } => panic!("{} is finished", path.display()),
    }
}

fn row(seed: u64) -> ReportRow {
    let text = |text: &str| text.to_owned();
    ReportRow {
        arm: text("a"),
        seed,
        model: text("student"),
        sampler: text("one-step"),
        nfe: 1,
        metric: text("frechet-10"),
        value: 0.5,
        samples: 10,
    }
}

#[test]
fn a_study_is_created_interrupted_reopened_and_finished() {
    let out = tempfile::tempdir().unwrap();
    let study = study(&[0, 1]);
    let dir = new(StudyDir::create(&study, out.path()).unwrap());
    let busy = StudyDir::create(&study, out.path()).err().unwrap();
    assert!(matches!(busy, RunError::File(FileError::Busy { .. })), "{busy}");
    let run = study.plan.runs().next().unwrap();
    let run_dir = dir.run_dir(&run).unwrap();
    assert!(run_dir.scores().unwrap().is_none());
    run_dir.write_scores(&[row(0)]).unwrap();
    drop(dir);

    let unfinished = StudyDir::create(&study, out.path()).err().unwrap();
    assert!(matches!(unfinished, RunError::Folder(FolderError::Unfinished { .. })), "{unfinished}");
    let path = out.path().join("s");
    assert!(report_of(&path).unwrap().contains("0.5000"), "the results so far");
    fs::write(path.join("report.csv"), "").unwrap();
    assert!(report_of(&path).unwrap().contains("0.5000"), "what was not sealed is not finished");
    let (dir, reopened) = StudyDir::reopen(&path).unwrap();
    assert_eq!((&reopened.plan, &reopened.name, &reopened.text), (&study.plan, &study.name, &study.text));
    assert_eq!(dir.run_dir(&run).unwrap().scores().unwrap().unwrap(), [row(0)]);
    let table = dir.write_report("", &[row(0), row(1)]).unwrap();
    drop(dir);
    let finished = StudyDir::create(&study, out.path()).unwrap();
    assert!(matches!(finished, Opened::Finished { table: found, .. } if found == table));
}

#[test]
fn another_plan_is_not_mixed_in() {
    let out = tempfile::tempdir().unwrap();
    drop(StudyDir::create(&study(&[0]), out.path()).unwrap());
    let other = StudyDir::create(&study(&[1]), out.path()).err().unwrap();
    assert!(matches!(other, RunError::Folder(FolderError::OtherPlan { .. })), "{other}");
    assert!(other.is_input());
}

#[test]
fn what_was_edited_in_a_study_is_told_by_name() {
    let out = tempfile::tempdir().unwrap();
    drop(StudyDir::create(&study(&[0]), out.path()).unwrap());
    let path = out.path().join("s");
    for file in ["plan.ron", "study.ron", MANIFEST] {
        let good = fs::read(path.join(file)).unwrap();
        fs::write(path.join(file), [&good[..], b" "].concat()).unwrap();
        let told = StudyDir::reopen(&path).err().unwrap();
        assert!(told.is_input() && told.to_string().contains(file), "{told}");
        fs::write(path.join(file), good).unwrap();
    }
    fs::write(path.join("study.ron"), b"\xff").unwrap();
    let told = StudyDir::reopen(&path).err().unwrap().to_string();
    assert!(told.contains("study.ron"), "{told}");
}

#[test]
fn a_study_without_a_manifest_is_not_gone_on_with() {
    let out = tempfile::tempdir().unwrap();
    drop(StudyDir::create(&study(&[0]), out.path()).unwrap());
    let path = out.path().join("s");
    fs::remove_file(path.join(MANIFEST)).unwrap();
    for told in
        [StudyDir::reopen(&path).err().unwrap(), StudyDir::create(&study(&[0]), out.path()).err().unwrap()]
    {
        assert!(matches!(told, RunError::Folder(FolderError::NoManifest { .. })), "{told}");
        assert!(told.is_input());
    }
}

/// The plan is the last to be written: whoever dies before it leaves what `run` begins with.
#[test]
fn a_process_that_died_before_its_plan_was_written_left_nothing_in_the_way() {
    let out = tempfile::tempdir().unwrap();
    drop(StudyDir::create(&study(&[0]), out.path()).unwrap());
    fs::remove_file(out.path().join("s/plan.ron")).unwrap();
    drop(new(StudyDir::create(&study(&[0]), out.path()).unwrap()));
    fs::remove_file(out.path().join("s/plan.ron")).unwrap();
    fs::remove_file(out.path().join("s").join(MANIFEST)).unwrap();
    drop(new(StudyDir::create(&study(&[0]), out.path()).unwrap()));
}

#[test]
fn runs_with_the_same_teacher_share_its_folder() {
    let mut experiment = study(&[0]).plan.arms.remove(0).experiment;
    let key = TeacherKey::of(&experiment).unwrap();
    experiment.consistency.train.batch += 1;
    assert_eq!(TeacherKey::of(&experiment).unwrap(), key, "the student does not decide the teacher");
    experiment.teacher_seed += 1;
    assert_ne!(TeacherKey::of(&experiment).unwrap().hash, key.hash);
    experiment.teacher = TeacherSource::None;
    assert_eq!(TeacherKey::of(&experiment), None);
}

#[test]
fn a_study_takes_the_place_of_another_whole_or_not_at_all() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("s");
    drop(StudyDir::replace(&study(&[0]), out.path()).unwrap());
    let dir = new(StudyDir::replace(&study(&[1]), out.path()).unwrap());
    assert_eq!(StudyDir::plan_of(&path).unwrap(), study(&[1]).plan);
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "nothing of the old one is left");
    let busy = StudyDir::replace(&study(&[0]), out.path()).err().unwrap();
    assert!(matches!(busy, RunError::File(FileError::Busy { .. })), "{busy}");
    drop(dir);
    // Somebody's own file.
    fs::write(path.join("notes.txt"), "mine").unwrap();
    let stranger = StudyDir::replace(&study(&[0]), out.path()).err().unwrap();
    assert!(stranger.to_string().contains("`notes.txt`") && stranger.is_input(), "{stranger}");
    fs::remove_file(path.join("notes.txt")).unwrap();
    fs::remove_file(path.join(MANIFEST)).unwrap();
    let stranger = StudyDir::replace(&study(&[0]), out.path()).err().unwrap();
    assert!(matches!(stranger, RunError::Folder(FolderError::Stranger { .. })), "{stranger}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    // A folder that was never a study's.
    fs::remove_dir_all(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("thesis.tex"), "mine").unwrap();
    for error in [StudyDir::replace(&study(&[0]), out.path()), StudyDir::create(&study(&[0]), out.path())] {
        let error = error.err().unwrap();
        assert!(matches!(error, RunError::Folder(FolderError::Stranger { .. })), "{error}");
    }
    assert_eq!(fs::read_to_string(path.join("thesis.tex")).unwrap(), "mine");
}
