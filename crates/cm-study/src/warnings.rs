//! What a plan's author should know before running it.

use crate::experiment_config::TeacherSource;
use crate::plan::{Plan, PlannedArm};
use cm_datasets::DatasetConfig;
use cm_training::{EmaConfig, TrainConfig};
use std::collections::HashSet;

/// The share of the first weights in an average at the end of training above which it is told. Of fourteen averages
/// that were measured (experiments/README.md, "Signs and remedies"), those with 15 % at most were up to 1.3 times as far
/// from the data as the last weights, and sometimes nearer; those with 37 % and more 1.8 to 12 times.
const MUCH_OF_START: f64 = 0.25;
/// What a remedy leaves of it.
const LITTLE_OF_START: f64 = 0.05;

impl Plan {
    /// What was odd when images were read, curricula that are too fast for their number of levels, and averages that are
    /// too slow for the training.
    pub fn warnings(&self) -> Vec<String> {
        let mut data: Vec<&DatasetConfig> = Vec::new();
        for arm in &self.arms {
            if !data.contains(&&arm.experiment.dataset) {
                data.push(&arm.experiment.dataset);
            }
        }
        // Data that cannot be read are told of elsewhere.
        let notes = data.into_iter().filter_map(|data| data.about().ok()).flat_map(|about| about.notes);
        notes.map(|note| format!("data: {note}")).chain(self.hasty()).chain(self.behind()).collect()
    }

    /// Averages that still hold much of what training began with.
    fn behind(&self) -> Vec<String> {
        if self.shortened_by > 1 {
            return Vec::new(); // of a rehearsal all do
        }
        let mut told: Vec<String> = Vec::new();
        for PlannedArm { name, experiment } in &self.arms {
            if let TeacherSource::Trained(teacher) = &experiment.teacher {
                told.extend(behind("the teacher", &teacher.train));
            }
            if let Some(stage) = &experiment.first_stage {
                told.extend(behind(&format!("the first stage of arm {name}"), &stage.train));
            }
            told.extend(behind(&format!("arm {name}"), &experiment.consistency.train));
        }
        let mut seen = HashSet::new();
        told.retain(|warning| seen.insert(warning.clone()));
        told
    }
}

fn behind(whose: &str, train: &TrainConfig) -> Vec<String> {
    let steps = train.steps();
    let told = |ema: &EmaConfig| {
        let share = ema.build(train.batch, train.total_images).share_of_start(steps);
        let decay = LITTLE_OF_START.powf(1.0 / steps as f64);
        (share > MUCH_OF_START).then(|| {
            format!(
                "{whose}: after {steps} steps the average {} still holds {:.0} % of the weights that training begins \
                 with; measured on digits, 37 % and more made samples 1.8 to 12 times as far from the data as those of \
                 the last weights, 15 % at most 1.3 times; PerStep({decay:.4}) leaves {:.0} %",
                ema.name(),
                100.0 * share,
                100.0 * LITTLE_OF_START
            )
        })
    };
    train.ema.iter().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExperimentConfig;

    #[test]
    fn averages_that_are_behind_are_told_once_and_others_are_not() {
        let mut experiment = ExperimentConfig { teacher: TeacherSource::None, ..ExperimentConfig::default() };
        let train = &mut experiment.consistency.train;
        (train.batch, train.total_images) = (32, 32_000);
        train.ema = vec![
            EmaConfig::None,
            EmaConfig::PerStep(0.998),
            EmaConfig::PerStep(0.999),
            EmaConfig::Power(0.1),
        ];
        let arms = vec![PlannedArm { name: "cd".into(), experiment }];
        let plan = Plan { question: String::new(), seeds: vec![0], shortened_by: 1, arms };
        let told = plan.behind();
        assert_eq!(told.len(), 1, "{told:?}");
        for part in
            ["arm cd: after 1000 steps the average ema-0.999 still holds 37 %", "PerStep(0.9970) leaves 5 %"]
        {
            assert!(told[0].contains(part), "{told:?}");
        }
        assert!(Plan { shortened_by: 1000, ..plan }.behind().is_empty());
    }
}
