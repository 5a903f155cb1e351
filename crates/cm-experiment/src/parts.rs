//! The trainings that a plan consists of, in the order in which they are done, and how much of the whole each is.

use cm_host::Part;
use cm_study::{ExperimentConfig, Plan, PlannedRun, TeacherKey};

/// The trainings of a plan.
pub(crate) struct Parts {
    /// What tells each apart, and its operations.
    trainings: Vec<(String, f64)>,
}

impl Parts {
    pub(crate) fn of(plan: &Plan) -> Self {
        let costs = plan.cost();
        let mut trainings: Vec<(String, f64)> = Vec::new();
        for run in plan.runs() {
            let Some(cost) = costs.iter().find(|cost| cost.arm == run.arm) else { continue };
            if let Some(teacher) = teacher(&run.experiment)
                && trainings.iter().all(|(name, _)| *name != teacher)
            {
                trainings.push((teacher, cost.teachers().map(|training| training.flops).sum()));
            }
            trainings.push((run.name(), cost.student_operations()));
        }
        Self { trainings }
    }

    /// The training of the teachers of a run, if it has any to train.
    pub(crate) fn teacher(&self, run: &PlannedRun) -> Option<Part> {
        self.named(&teacher(&run.experiment)?)
    }

    /// The training of a run's student.
    pub(crate) fn student(&self, run: &PlannedRun) -> Option<Part> {
        self.named(&run.name())
    }

    fn named(&self, name: &str) -> Option<Part> {
        let index = self.trainings.iter().position(|(other, _)| other == name)?;
        let operations = |count: usize| self.trainings[..count].iter().map(|(_, flops)| flops).sum::<f64>();
        let all = operations(self.trainings.len()).max(f64::MIN_POSITIVE);
        let (before, with) = (operations(index) / all, operations(index + 1) / all);
        Some(Part { number: index + 1, of: self.trainings.len(), before, with })
    }
}

/// What tells the teachers of an experiment apart from those of others.
fn teacher(experiment: &ExperimentConfig) -> Option<String> {
    let hashes: Vec<String> = TeacherKey::all_of(experiment).into_iter().map(|key| key.hash).collect();
    (!hashes.is_empty()).then(|| hashes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_study::check;
    use std::path::Path;

    #[test]
    fn a_shared_teacher_is_one_training_and_all_make_the_whole() {
        let text = "(
            seeds: [0, 1],
            base: (dataset: Digits(), network: UNet(channels: 8), teacher: Trained(), method: Distillation(solver: Heun)),
            arms: Star([(name: \"cd\", changes: []), (name: \"ct\", changes: [Method(Training)])]),
        )";
        let plan = check(Path::new("study.ron"), text).unwrap().plan;
        let parts = Parts::of(&plan);
        let runs: Vec<PlannedRun> = plan.runs().collect();
        let teachers: Vec<_> = runs.iter().map(|run| parts.teacher(run).unwrap()).collect();
        assert!(teachers.iter().all(|part| *part == teachers[0]));
        assert_eq!((teachers[0].number, teachers[0].of, teachers[0].before), (1, 5, 0.0));
        let mut done = teachers[0].with;
        for (index, run) in runs.iter().enumerate() {
            let part = parts.student(run).unwrap();
            assert_eq!((part.number, part.before), (index + 2, done));
            assert!(part.with > part.before);
            done = part.with;
        }
        assert!((done - 1.0).abs() < 1e-12);
    }
}
