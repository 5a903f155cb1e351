//! How much memory an experiment takes, before anything is done: what is certain of it, from extents.
//!
//! Deliberately absent: how much there is, which `cm-host` knows.

use crate::experiment_config::{ExperimentConfig, TeacherSource};
use crate::judged::{MOST_HELD, features};
use crate::mid_training_config::bytes_kept;
use cm_consistency::{DistanceConfig, TargetConfig};
use cm_datasets::Split;
use cm_training::TrainConfig;

/// Bytes of a number in single precision.
const BYTES: u64 = 4;

/// Bytes that an experiment takes at least, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Weights with gradients, moments, averages, and the networks that are only evaluated.
    pub weights: u64,
    /// What is kept of one part of a batch between its way forth and its way back.
    pub activations: u64,
    /// Images that are held for scores, with their features, and kept trajectories.
    pub images: u64,
}

impl MemoryNeed {
    /// What an experiment takes; `None` if its data or network cannot be built.
    pub fn of(experiment: &ExperimentConfig) -> Option<Self> {
        let ExperimentConfig { dataset, network, teacher, method, consistency, .. } = experiment;
        let (data, test) = (dataset.outline(Split::Train).ok()?, dataset.outline(Split::Test).ok()?);
        let counts = network.count(data.shape, experiment.student_conditions(data.classes)).ok()?;
        let values = data.shape.len() as u64;
        let target = !matches!(consistency.target, TargetConfig::StopGradient);
        let beside = match teacher {
            TeacherSource::Trained(_) | TeacherSource::File(_) => u64::from(method.asks_teacher()),
            TeacherSource::Exact | TeacherSource::None => 0,
        };
        let first = u64::from(consistency.truncation.is_some());
        // What a pass over one image keeps, its distance's network with it.
        let kept = |distance: &DistanceConfig| {
            let compared = distance.count(data.shape, data.classes);
            counts.kept_per_image.saturating_add(compared.map_or(0, |counts| counts.kept_per_image))
        };
        let student = (&consistency.train, u64::from(target) + beside + first, kept(&consistency.distance));
        let mut trainings = vec![student];
        if let TeacherSource::Trained(teacher) = teacher {
            trainings.push((&teacher.train, 0, counts.kept_per_image));
        }
        if let Some(stage) = &experiment.first_stage {
            let target = !matches!(stage.target, TargetConfig::StopGradient);
            trainings.push((&stage.train, u64::from(target) + beside, kept(&stage.distance)));
        }
        let mut trajectories = 0;
        if let Some(mid) = &experiment.mid_training {
            trainings.push((&mid.train, 0, counts.kept_per_image));
            trajectories = bytes_kept(mid, data.shape.len());
        }
        let part = |train: &TrainConfig| (train.batch / train.shards.max(1)) as u64;
        let copies = trainings.iter().map(|&(train, beside, _)| copies(train).saturating_add(beside)).max();
        let values_kept = trainings.iter().map(|&(train, _, kept)| part(train).saturating_mul(kept)).max();
        let held = |len: usize| len.min(MOST_HELD) as u64;
        let sampled =
            (experiment.evaluation.samples as u64).saturating_mul(values + features(dataset, &data) as u64);
        let held = (held(data.len) + held(test.len)).saturating_mul(values);
        let evaluation = &experiment.evaluation;
        let by_networks =
            evaluation.networks.iter().map(|network| network.bytes_kept(evaluation.samples)).max();
        Some(Self {
            weights: (counts.parameters as u64).saturating_mul(copies.unwrap_or(0)).saturating_mul(BYTES),
            activations: values_kept.unwrap_or(0).saturating_mul(BYTES) / OVERCOUNTED,
            images: sampled
                .saturating_add(held)
                .saturating_mul(BYTES)
                .saturating_add(trajectories)
                .saturating_add(by_networks.unwrap_or(0)),
        })
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.activations).saturating_add(self.images)
    }
}

/// Arrays of the size of the weights that a training has: the weights, their gradient, two moments, the averages.
fn copies(train: &TrainConfig) -> u64 {
    let tracked = train.snapshots.as_ref().map_or(0, |snapshots| snapshots.sigma_rels.len());
    4 + train.ema.len() as u64 + tracked as u64
}

/// Not every result is kept, and what has been used is given up on the way back: the count is above what is held by
/// less than this factor. DDPM++ held 79 MiB more for each image of a batch where 96 were counted, and 21 to 25 where 34
/// were, with recomputation.
const OVERCOUNTED: u64 = 2;

impl std::fmt::Display for MemoryNeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { weights, activations, images } = *self;
        write!(
            f,
            "{} at least: {} of weights, gradients, moments and averages, {} between the ways of one part of a \
             batch, {} of images for scores",
            bytes(self.total()),
            bytes(weights),
            bytes(activations),
            bytes(images)
        )
    }
}

/// Bytes as a person says them: `12 KiB`, `3.5 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let (unit, size) = UNITS.into_iter().find(|(_, size)| count >= *size).unwrap_or(("KiB", 1 << 10));
    let number = count as f64 / size as f64;
    if number < 10.0 { format!("{number:.1} {unit}") } else { format!("{number:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_network::{MlpConfig, NetworkConfig};

    #[test]
    fn bytes_are_said_in_the_largest_unit() {
        let said = [0, 1536, 10 << 10, (7 << 30) / 2, 3 << 40, u64::MAX].map(bytes);
        assert_eq!(said, ["0.0 KiB", "1.5 KiB", "10 KiB", "3.5 GiB", "3.0 TiB", "16384 PiB"]);
    }

    /// The arrays of a small perceptron's distillation, counted by hand.
    #[test]
    fn weights_are_counted_with_all_that_training_makes_of_them() {
        let mut experiment = ExperimentConfig {
            network: NetworkConfig::Mlp(MlpConfig { width: 8, blocks: 1, ..MlpConfig::default() }),
            ..ExperimentConfig::default()
        };
        experiment.consistency.target = TargetConfig::Ema(0.9);
        let need = MemoryNeed::of(&experiment).unwrap();
        // Embedding 2x8 + 8 and 8x8 + 8, input 64x8 + 8, a block of three 8x8 + 8, output 8x64 + 64.
        let parameters = 24 + 72 + 520 + 3 * 72 + 576;
        // Weights, gradient, two moments, one average; target and teacher.
        assert_eq!(need.weights, 7 * parameters * 4);
        // The digits: 1,500 and 297 of 64 values; 50,000 samples with their features.
        assert_eq!(need.images, 4 * (64 * 1797 + 128 * 50_000));
        experiment.evaluation.samples *= 2;
        let more = MemoryNeed::of(&experiment).unwrap();
        assert_eq!(more.images - need.images, 4 * 128 * 50_000);
        assert_eq!(need.total(), need.weights + need.activations + need.images);
    }
}
