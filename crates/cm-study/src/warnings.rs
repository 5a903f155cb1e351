//! What a plan's author should know before running it.

use crate::experiment_config::{ExperimentConfig, MethodConfig, TeacherSource};
use crate::plan::{Plan, PlannedArm};
use cm_consistency::{InitConfig, TargetConfig};
use cm_datasets::DatasetConfig;
use cm_flow_map::{TwoTimeTarget, Velocity};
use cm_training::TrainConfig;

/// The share of the first weights in an average at the end of training above which it is told. Where it
/// was measured (experiments/README.md, "Signs and remedies"), averages with 15 % at most were 0.8 to 1.4 times as far from
/// the data as the last weights, those with 37 % and more 1.8 to 5.7 times.
const MUCH_OF_START: f64 = 0.25;
/// What a remedy leaves of it.
const LITTLE_OF_START: f64 = 0.05;
/// The span of a target's average, in runs, from which on it is told; the measurements are in its warning.
const SLOW_TARGET: f64 = 0.1;

impl Plan {
    /// What was odd when images were read, curricula that are too fast for their number of levels, averages that are
    /// too slow for the training, losses that hold a student back, settings that do nothing, and scores that will say
    /// little.
    pub fn warnings(&self) -> Vec<String> {
        let mut data: Vec<&DatasetConfig> = Vec::new();
        for arm in &self.arms {
            if !data.contains(&&arm.experiment.dataset) {
                data.push(&arm.experiment.dataset);
            }
        }
        // Data that cannot be read are told of elsewhere.
        let notes = data.into_iter().filter_map(|data| data.about().ok()).flat_map(|about| about.notes);
        notes
            .map(|note| format!("data: {note}"))
            .chain(self.hasty())
            .chain(self.behind())
            .chain(self.idle())
            .collect()
    }

    /// Averages that still hold much of what training began with, targets that hardly move, and losses under which long
    /// jumps do.
    fn behind(&self) -> Vec<String> {
        if self.shortened_by > 1 {
            return Vec::new(); // of a rehearsal all do
        }
        // What is told, and of whom.
        let mut told: Vec<(String, Vec<&str>)> = Vec::new();
        let mut tell = |whose, text| match told.iter_mut().find(|(known, _)| *known == text) {
            Some((_, all)) if all.contains(&whose) => {}
            Some((_, all)) => all.push(whose),
            None => told.push((text, vec![whose])),
        };
        for PlannedArm { name, experiment } in &self.arms {
            if let TeacherSource::Trained(teacher) = &experiment.teacher {
                averages(&teacher.train).for_each(|text| tell("the teacher", text));
            }
            if let Some(stage) = &experiment.first_stage {
                averages(&stage.train).for_each(|text| tell("the first stage", text));
            }
            let train = &experiment.consistency.train;
            let slow = slow_target(experiment.consistency.target, train.steps());
            averages(train).chain(slow).chain(short_jumps(experiment)).for_each(|text| tell(name, text));
        }
        told.iter().map(|(text, whose)| format!("{}: {text}", whose.join(", "))).collect()
    }
}

/// What is said of averages that begin far from where they end.
fn averages(train: &TrainConfig) -> impl Iterator<Item = String> {
    let steps = train.steps();
    train.ema.iter().filter_map(move |ema| {
        let share = ema.build(train.batch, train.total_images).share_of_start(steps);
        let decay = LITTLE_OF_START.powf(1.0 / steps as f64);
        (share > MUCH_OF_START).then(|| {
            format!(
                "after {steps} steps the average {} still holds {:.0} % of the weights that training begins with; \
                 measured on digits, 37 % and more made samples 1.8 to 5.7 times as far from the data as those of the \
                 last weights, 15 % at most 1.4 times; PerStep({decay:.4}) leaves {:.0} %",
                ema.name(),
                100.0 * share,
                100.0 * LITTLE_OF_START
            )
        })
    })
}

/// What is said of a target that is an average over much of the run.
fn slow_target(target: TargetConfig, steps: u64) -> Option<String> {
    let TargetConfig::Ema(decay) = target else { return None }; // the others follow the student, or the curriculum
    let span = 1.0 / (1.0 - f64::from(decay));
    (span >= SLOW_TARGET * steps as f64).then(|| {
        format!(
            "the target is an average over {span:.0} of {steps} steps; measured on digits, one over a tenth of the run \
             made samples 1.6 times as far from the data as one over a hundredth, over a quarter 1.8 times, over a half \
             3.6 times; a fiftieth was as good as a hundredth"
        )
    })
}

/// What is said of a loss that weighs small errors most where a student begins with few over short jumps. Students of
/// random weights did not show it, nor did SoFlow's target; of the other targets nothing was measured.
fn short_jumps(experiment: &ExperimentConfig) -> Option<String> {
    let MethodConfig::TwoTime(method) = &experiment.method else { return None }; // no other has such a loss
    let is_held_back = match method.target {
        TwoTimeTarget::MeanFlow(_) | TwoTimeTarget::ImprovedMeanFlow(_) | TwoTimeTarget::AlphaFlow(_) => true,
        TwoTimeTarget::SoFlow(_)
        | TwoTimeTarget::SplitMeanFlow
        | TwoTimeTarget::TransitionModel(_)
        | TwoTimeTarget::AlignYourFlow(_) => false,
    };
    let is_ahead_in_short = method.velocity == Velocity::Teacher
        && experiment.consistency.init == InitConfig::Teacher
        && method.loss.power > 0.0;
    (is_held_back && is_ahead_in_short).then(|| {
        format!(
            "the student begins as its teacher and errs least over short jumps, which loss.power {} weighs most, so long \
             jumps hardly learn; measured on digits with MeanFlow, one jump came to an extrapolated Fréchet distance of 1.66 \
             with 0.75 and of 0.375 with 0",
            method.loss.power
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_flow_map::{Power, SoFlowConfig, TwoTimeConfig};
    use cm_training::EmaConfig;

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
        let arm = |name: &str| PlannedArm { name: name.into(), experiment: experiment.clone() };
        let arms = vec![arm("cd"), arm("again")];
        let plan = Plan { question: String::new(), seeds: vec![0], shortened_by: 1, arms };
        let told = plan.behind();
        assert_eq!(told.len(), 1, "{told:?}");
        for part in [
            "cd, again: after 1000 steps the average ema-0.999 still holds 37 %",
            "PerStep(0.9970) leaves 5 %",
        ] {
            assert!(told[0].contains(part), "{told:?}");
        }
        assert!(Plan { shortened_by: 1000, ..plan }.behind().is_empty());
        let told = slow_target(TargetConfig::Ema(0.99), 1000).unwrap();
        assert!(told.starts_with("the target is an average over 100 of 1000 steps"), "{told}");
        assert!(slow_target(TargetConfig::Ema(0.989), 1000).is_none());
        assert!(slow_target(TargetConfig::StopGradient, 1).is_none());
    }

    #[test]
    fn a_power_that_leaves_long_jumps_behind_is_told_where_it_was_measured() {
        let of = |method: TwoTimeConfig, init: InitConfig| {
            let mut experiment =
                ExperimentConfig { method: MethodConfig::TwoTime(method), ..ExperimentConfig::default() };
            experiment.consistency.init = init;
            short_jumps(&experiment)
        };
        let taught = TwoTimeConfig { velocity: Velocity::Teacher, ..TwoTimeConfig::default() };
        let told = of(taught, InitConfig::Teacher).unwrap();
        assert!(told.contains("loss.power 0.75 weighs most"), "{told}");
        assert!(of(taught, InitConfig::Random).is_none());
        assert!(of(TwoTimeConfig::default(), InitConfig::Teacher).is_none());
        let squares = TwoTimeConfig { loss: Power { power: 0.0, ..taught.loss }, ..taught };
        assert!(of(squares, InitConfig::Teacher).is_none());
        let target = TwoTimeTarget::SoFlow(SoFlowConfig::default());
        assert!(of(TwoTimeConfig { target, ..taught }, InitConfig::Teacher).is_none());
    }
}
