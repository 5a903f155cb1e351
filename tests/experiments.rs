//! The studies of `experiments/`: each loads and says what it asks; its resolved arms are golden files, so that a
//! changed default shows in review.

use crate::util::{golden, root};
use cm_study::{Plan, load};
use std::fs;
use std::path::PathBuf;

fn studies() -> Vec<PathBuf> {
    let files = |folder: &str| fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let all = files("experiments").chain(files("experiments/methods"));
    let studies = all.filter(|path| path.extension().is_some_and(|extension| extension == "ron"));
    // Those that read downloaded images are tested with others in their place, in datasets.rs.
    let mut studies: Vec<PathBuf> =
        studies.filter(|path| !fs::read_to_string(path).unwrap().contains("Prepared(")).collect();
    studies.sort();
    assert!(!studies.is_empty(), "no study is there to be tested");
    studies
}

#[test]
fn every_study_is_planned_and_its_plan_is_read_back() {
    for path in studies() {
        let study = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let plan = study.plan.to_ron();
        assert_eq!(Plan::from_ron(&plan).unwrap(), study.plan, "{}", path.display());
        golden(&format!("plans/{}.ron", study.name), &plan);
    }
}

/// What `cm plan` prints above the plan itself: cost, schedule, warnings.
#[test]
fn every_study_prints_its_schedule() {
    for path in studies() {
        let study = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let printed = study.plan.describe();
        let comments: String = printed
            .lines()
            .take_while(|line| line.starts_with("//"))
            .map(|line| format!("{line}\n"))
            .collect();
        golden(&format!("printed/{}.txt", study.name), &comments);
    }
}

#[test]
fn every_study_has_a_question_and_a_header() {
    for path in studies() {
        let study = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(study.plan.question.ends_with('?'), "{}: no question", path.display());
        let header = study.text.lines().take_while(|line| line.starts_with("//")).count();
        assert!(header >= 2, "{}: a header says how to run it and what it costs", path.display());
    }
}
