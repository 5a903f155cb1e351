//! What a plan will cost, before anything is done: images, steps, parameters, arithmetic.

use crate::experiment_config::{ExperimentConfig, MethodConfig, TeacherSource};
use crate::feature_network::FeatureNetworkConfig;
use crate::key::baseline_key;
use crate::plan::Plan;
use crate::samplers::TeacherMethodConfig;
use cm_consistency::DistanceConfig;
use cm_datasets::Split;
use cm_training::TrainConfig;

/// What one training costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingCost {
    /// Images seen.
    pub images: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Multiplications and additions in all; a backward pass counts as two forward passes.
    pub flops: f64,
}

/// What one arm costs for one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmCost {
    /// The arm.
    pub arm: String,
    /// Trainable numbers of the network.
    pub parameters: usize,
    /// The teacher's training, which runs with the same teacher share; `None` if none is trained.
    pub teacher: Option<TrainingCost>,
    /// The training of the weaker teacher that guides it, shared likewise; `None` if there is none.
    pub weaker: Option<TrainingCost>,
    /// The student's mid-training, which arms that agree on it share, with its trajectories.
    pub mid_training: Option<TrainingCost>,
    /// The first consistency training, which arms that agree on it share.
    pub first_stage: Option<TrainingCost>,
    /// The student's training.
    pub student: TrainingCost,
}

impl ArmCost {
    /// The trainings of its teachers, in the order of [`TeacherKey::all_of`](crate::TeacherKey::all_of).
    pub fn teachers(&self) -> impl Iterator<Item = TrainingCost> {
        [self.teacher, self.weaker].into_iter().flatten()
    }

    /// What the arm does for one seed beyond its teachers.
    pub fn student_operations(&self) -> f64 {
        let before = [self.mid_training, self.first_stage];
        self.student.flops + before.into_iter().flatten().map(|training| training.flops).sum::<f64>()
    }
}

impl Plan {
    /// What each arm costs for one seed. Arms whose data or network cannot be built are left out; a checked plan has
    /// none.
    pub fn cost(&self) -> Vec<ArmCost> {
        self.arms.iter().filter_map(|arm| arm_cost(&arm.name, &arm.experiment)).collect()
    }
}

impl Plan {
    /// Images that pass through Inception networks for scores: training images, held-out ones, and those drawn of every
    /// model, on the way too. `None` if there are no such networks.
    pub(crate) fn images_through_networks(&self) -> Option<u64> {
        let mut total: u64 = 0;
        let mut add = |images: u64, times: u64| total = total.saturating_add(images.saturating_mul(times));
        let mut baselines: Vec<String> = Vec::new();
        for experiment in self.arms.iter().map(|arm| &arm.experiment) {
            let evaluation = &experiment.evaluation;
            let networks =
                evaluation.networks.iter().filter_map(FeatureNetworkConfig::inception).count() as u64;
            let samples = evaluation.samples as u64;
            let key = baseline_key(experiment);
            if !baselines.contains(&key) {
                baselines.push(key);
                let len = |split| experiment.dataset.outline(split).map_or(0, |data| data.len);
                let (train, test) = (len(Split::Train), len(Split::Test) as u64);
                for config in evaluation.networks.iter().filter_map(FeatureNetworkConfig::inception) {
                    let (taken, kept) = config.reference_images(train);
                    add(taken.len().max(kept.len()) as u64, 1);
                }
                let teacher = !matches!(experiment.teacher, TeacherSource::None);
                add(test.min(samples), networks);
                add(samples, if teacher { networks } else { 0 });
            }
            let train = &experiment.consistency.train;
            let models = (train.ema.len() * evaluation.student.len()) as u64;
            let on_the_way =
                evaluation.every_images.map_or(0, |every| train.images().saturating_sub(1) / every.max(1));
            let runs = (self.seeds.len() as u64).saturating_mul(networks).saturating_mul(models);
            add(samples, runs);
            add(evaluation.samples_on_the_way() as u64, runs.saturating_mul(on_the_way));
        }
        (total > 0).then_some(total)
    }
}

/// Evaluations of a teacher's sampler for each of its levels.
fn evaluations_per_level(method: TeacherMethodConfig) -> f64 {
    match method {
        TeacherMethodConfig::Flow(config) => config.solver.solver().evaluations() as f64,
        TeacherMethodConfig::Churned(config) => config.solver.solver().evaluations() as f64,
        TeacherMethodConfig::DpmSolverPlusPlus(_) | TeacherMethodConfig::Ancestral(_) => 1.0,
    }
}

fn arm_cost(name: &str, experiment: &ExperimentConfig) -> Option<ArmCost> {
    let ExperimentConfig { dataset, network, teacher, method, consistency, .. } = experiment;
    let data = dataset.outline(Split::Train).ok()?;
    let (shape, conditions) = (data.shape, experiment.student_conditions(data.classes));
    let counts = network.count(shape, conditions).ok()?;
    let forward = counts.flops_per_image as f64;
    let cost = |train: &TrainConfig, forward_passes: f64| {
        let images = train.steps() * train.batch as u64;
        TrainingCost { images, steps: train.steps(), flops: images as f64 * forward * forward_passes }
    };
    // The network of a distance, in evaluations of the student's: the target's image, the student's, and the way back to it.
    let compared = |distance: &DistanceConfig| {
        let counts = distance.count(shape, data.classes);
        counts.map_or(0.0, |counts| 3.0 * counts.flops_per_image as f64 / forward)
    };
    // What a teacher that is asked once takes, at most, in evaluations of the student's network.
    let weaker = experiment.weaker().map(|weaker| {
        let counts = weaker.network.count(shape, experiment.conditions(data.classes));
        (weaker.teacher, counts.map_or(forward, |counts| counts.flops_per_image as f64))
    });
    let asked_once = match &weaker {
        Some((_, of_weaker)) => 1.0 + of_weaker / forward,
        None if experiment.guidance.weight == 1.0 => 1.0,
        None => 2.0,
    };
    let trained_teacher = matches!(teacher, TeacherSource::Trained(_) | TeacherSource::File(_));
    // What makes the student's target.
    let of_target = match method {
        // The target network, and the teacher's step.
        MethodConfig::Distillation(config) if trained_teacher => {
            1.0 + config.solver.build().evaluations() as f64 * asked_once
        }
        MethodConfig::Distillation(_) => 1.0,
        MethodConfig::Training => 1.0,
        // Two half steps of a teacher; an exact one is none of ours in the first stage only.
        MethodConfig::ProgressiveDistillation => 2.0,
        // Two jumps for a part of the images.
        MethodConfig::Shortcut(config) => 2.0 * f64::from(config.bootstrap),
        // The nearer jump.
        MethodConfig::InductiveMomentMatching(_) => 1.0,
        // The derivative, and where the teacher aims.
        MethodConfig::ContinuousDistillation(config) if trained_teacher => {
            config.evaluations() - 3.0 + asked_once
        }
        MethodConfig::ContinuousDistillation(config) | MethodConfig::ContinuousTraining(config) => {
            config.evaluations() - 3.0
        }
        // What the target is made of, and the teacher's velocity.
        MethodConfig::TwoTime(config) => {
            let asked = f64::from(u8::from(trained_teacher && method.asks_teacher()));
            config.extra_passes() + asked * asked_once
        }
    };
    // The student forward and backward, the images it makes itself, the first model for the lower levels, the distance.
    let below = if consistency.truncation.is_some() { 1.0 } else { 0.0 };
    let extra = consistency.coupling.extra_passes() + below + compared(&consistency.distance);
    let passes = 3.0 + of_target + extra;
    Some(ArmCost {
        arm: name.to_owned(),
        parameters: counts.parameters,
        teacher: match teacher {
            TeacherSource::Trained(teacher) => Some(cost(&teacher.train, 3.0)),
            TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => None,
        },
        weaker: weaker.and_then(|(teacher, of_weaker)| match teacher {
            TeacherSource::Trained(teacher) => Some(cost(&teacher.train, 3.0 * of_weaker / forward)),
            TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => None,
        }),
        mid_training: experiment.mid_training.as_ref().map(|mid| {
            let mut trained = cost(&mid.train, 3.0);
            if trained_teacher {
                let states = mid.trajectories as f64 * mid.sampler.levels as f64;
                trained.flops += states * forward * evaluations_per_level(mid.sampler.method);
            }
            trained
        }),
        first_stage: experiment
            .first_stage
            .as_ref()
            .map(|stage| cost(&stage.train, 3.0 + of_target + compared(&stage.distance))),
        student: cost(&consistency.train, passes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_consistency::{FeaturesConfig, LpipsConfig};
    use cm_image::ImageShape;
    use cm_network::feature_net::{Classifier, Lpips, LpipsOptions};

    /// LPIPS by VGG16 takes more than the networks that it trains, and a plan said nothing of it.
    #[test]
    fn the_network_of_a_distance_is_counted_three_times_an_image() {
        let with = |distance: DistanceConfig| {
            let mut experiment = ExperimentConfig::default();
            experiment.consistency.distance = distance;
            let memory = crate::MemoryNeed::of(&experiment).unwrap().activations;
            (arm_cost("", &experiment).unwrap().student, memory)
        };
        let (plain, small) = with(DistanceConfig::SquaredL2);
        let digits = ImageShape::new(8, 8, 1);
        let lpips = Lpips::count(LpipsOptions::default(), digits).unwrap();
        let features = FeaturesConfig::default();
        let classifier = Classifier::count(digits, 10, features.channels);
        for (distance, counts) in [
            (DistanceConfig::Lpips(LpipsConfig::default()), lpips),
            (DistanceConfig::Features(features), classifier),
        ] {
            let (cost, memory) = with(distance);
            let expected = plain.flops + 3.0 * plain.images as f64 * counts.flops_per_image as f64;
            assert!((cost.flops / expected - 1.0).abs() < 1e-12, "{} and not {expected}", cost.flops);
            assert_eq!((cost.images, cost.steps), (plain.images, plain.steps));
            assert!(memory > small);
        }
        assert!(lpips.flops_per_image > 30_000_000_000);
    }
}
