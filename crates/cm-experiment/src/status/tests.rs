use super::*;
use crate::{resume, run};
use cm_host::{Progress, StopFlag};
use cm_study::{Study, check};

/// Asks to stop after so many steps.
struct StopAfter(u32, StopFlag);

impl Progress for StopAfter {
    fn phase(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64, loss: Option<f64>) {
        self.0 = self.0.saturating_sub(u32::from(loss.is_some()));
        if self.0 == 0 {
            self.1.request();
        }
    }
    fn note(&mut self, _: &str) {}
    fn finish_phase(&mut self) {}
}

#[test]
fn a_study_says_where_it_stands_before_between_and_after() {
    let text = "(
        base: (
            dataset: GaussianMixture(train_len: 256, test_len: 128),
            network: Mlp(width: 16, blocks: 1),
            teacher: Trained(train: (total_images: 640, batch: 32)),
            method: Distillation(solver: Heun),
            consistency: (train: (total_images: 640, batch: 32), curriculum: Fixed(num_levels: 6)),
            evaluation: (samples: 64, teacher: (levels: 4), metrics: [SlicedWasserstein]),
            logging: (record_images: 32, checkpoint_images: 32),
        ),
        arms: Star([(name: \"cd\", changes: []), (name: \"ct\", changes: [Method(Training)])]),
    )";
    let plan = check(Path::new("ring.ron"), text).unwrap().plan;
    let study = Study {
        path: "ring.ron".into(),
        name: "ring".into(),
        text: text.into(),
        plan,
        notes: vec![],
        absent: vec![],
    };
    let out = tempfile::tempdir().unwrap();
    let at = out.path().join("ring");
    assert!(status(&at).is_err(), "there is no study yet");
    let stop = StopFlag::new();
    // In the middle of the first student.
    run(&study, out.path(), &stop, &mut StopAfter(30, stop.clone())).unwrap();
    let found = status(&at).unwrap();
    assert!(!found.is_worked_on);
    let states: Vec<_> = found.trainings.iter().map(|t| (t.state, t.steps)).collect();
    assert_eq!(
        states,
        [
            (TrainingState::Finished, (20, 20)),
            (TrainingState::Begun, (10, 20)),
            (TrainingState::Pending, (0, 20))
        ]
    );
    let [teacher, cd, ct] = &found.trainings[..] else { panic!("{found:?}") };
    assert!(
        teacher.name.starts_with("teachers/")
            && (cd.name.as_str(), ct.name.as_str()) == ("cd/seed-0", "ct/seed-0")
    );
    assert!((cd.left() - 0.5 * cd.operations.1).abs() < 1.0 && teacher.left() == 0.0);
    let whole: f64 = found.trainings.iter().map(|t| t.operations.1).sum();
    let done = teacher.operations.1 + 0.5 * cd.operations.1;
    assert!((found.share() - done / whole).abs() < 1e-9);
    assert!(cd.seconds_left().is_some_and(|left| left > 0.0) && ct.seconds_left().is_none());
    assert!(found.seconds_left() > cd.seconds_left());
    let table = found.table();
    assert!(table.contains("1 of 3 finished") && table.contains("left for the rest"), "{table}");
    resume(&at, &StopFlag::new(), &mut cm_host::Silent).unwrap();
    let found = status(&at).unwrap();
    assert!(found.trainings.iter().all(|t| t.state == TrainingState::Finished));
    assert_eq!((found.share(), found.seconds_left()), (1.0, None));
}
