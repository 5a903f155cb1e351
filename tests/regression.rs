//! Bugs of published trainers, seen from outside, one test for each, named after it. Those of a single crate are in
//! `crates/cm-consistency/src/regression.rs`.

use crate::util::{cm, ring, scratch};
use cm_experiment::{RunOutcome, resume, run};
use cm_host::{Progress, Silent, StopFlag};
use cm_study::load;
use std::fs;
use std::path::Path;

/// The values of one curve of a run, by step.
fn curve(run: &Path, name: &str) -> Vec<(u64, f64)> {
    let text = fs::read_to_string(run.join("curves.csv")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.filter(|row| row[2] == name).map(|row| (row[0].parse().unwrap(), row[3].parse().unwrap())).collect()
}

/// openai/consistency_models parses `--loss_norm` and never uses it: whatever is asked for, LPIPS is trained.
#[test]
fn the_distance_asked_for_is_the_distance_trained() {
    let distances =
        ["L1", "L2", "SquaredL2", "LInfinity", "ResizedSquaredL2(side: 3)", "PseudoHuber(c: 0.5)"];
    let arms: String = (distances.iter().enumerate())
        .map(|(index, distance)| format!("(name: \"a{index}\", changes: [Distance({distance})]),"))
        .collect();
    let folder = scratch(&ring(64, &format!("arms: Star([{arms}]),")));
    cm(folder.path()).args(["run", "study.ron"]).assert().success();
    let losses: Vec<f64> = (0..distances.len())
        .map(|arm| curve(&folder.path().join(format!("runs/study/a{arm}/seed-0")), "student/loss")[0].1)
        .collect();
    for (i, a) in losses.iter().enumerate() {
        // One pixel interpolated to nine is the same mean of squares.
        let same = |j: usize| [i, j] == [2, 4];
        let clash = (i + 1..losses.len()).find(|&j| !same(j) && (a / losses[j] - 1.0).abs() < 1e-3);
        assert_eq!(clash, None, "{}: {losses:?}", distances[i]);
    }
}

/// openai/consistency_models trains for ever unless its learning rate is annealed; here a run ends after its images,
/// whatever the schedule.
#[test]
fn training_ends_with_its_images() {
    let folder = scratch(&ring(320, ""));
    cm(folder.path())
        .args(["run", "study.ron"])
        .timeout(std::time::Duration::from_secs(60))
        .assert()
        .success();
    let losses = curve(&folder.path().join("runs/study/base/seed-0"), "student/loss");
    assert_eq!(losses.last().unwrap().0, 10, "ten steps of 32 images");
}

/// openai/consistency_models adds the steps before a resumption twice, so numbers jump; joliGEN's schedules start again.
#[test]
fn resuming_neither_doubles_step_numbers_nor_restarts_schedules() {
    let text = ring(640, "").replace("Fixed(num_levels: 6)", "Progressive(start: 2, end: 20)");
    let folder = scratch(&text);
    let study = load(&folder.path().join("study.ron")).unwrap();
    let out = folder.path().join("runs");
    struct StopAt(u32, StopFlag);
    impl Progress for StopAt {
        fn phase(&mut self, _: &str, _: u64) {}
        fn advance(&mut self, _: u64, loss: Option<f64>) {
            if loss.is_some() {
                self.0 -= 1;
                if self.0 == 0 {
                    self.1.request();
                }
            }
        }
        fn note(&mut self, _: &str) {}
        fn finish_phase(&mut self) {}
    }
    let stop = StopFlag::new();
    let stopped = run(&study, &out, &stop, &mut StopAt(11, stop.clone())).unwrap();
    assert!(matches!(stopped, RunOutcome::Stopped { .. }), "{stopped:?}");
    resume(&out.join("study"), &StopFlag::new(), &mut Silent).unwrap();
    let levels = curve(&out.join("study/base/seed-0"), "student/num_levels");
    // A record every 64 images, two steps; N(k) = ceil(sqrt(k/K (21^2 - 2^2) + 2^2) - 1) + 1 at the step's start.
    let expected = (1..=10u8).map(|record| {
        let share = (2.0 * f64::from(record) - 1.0) / 20.0;
        (2 * u64::from(record), ((share * 437.0 + 4.0f64).sqrt() - 1.0).ceil() + 1.0)
    });
    assert_eq!(levels, expected.collect::<Vec<_>>());
}
