//! Shortcut models: a network that is told how far it jumps, and learns far jumps from two near ones (Frans et al. 2025).

use crate::jump_model::{columns, merged_target, second_times};
use crate::{JumpModel, JumpParts};
use cm_consistency::{ConsistencyConfig, Curriculum, Spacing, TargetConfig};
use cm_diffusion::{Edm, ModelError, NoiseLevels, Sigma, euler_jump, noise};
use cm_image::ImageBatch;
use cm_image::random::Random;
use cm_network::{Extra, Network, check_labels};
use cm_tensor::Weights;
use cm_training::{
    Batch, GradientSum, Progress, RangeError, Schedule, StepReport, StepSeed, TrainError, TrainState,
    TrainStep,
};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The stream of a step's seed from which levels are drawn; images' noise uses seeds derived per image.
const LEVELS_STREAM: u64 = 1;

/// What is particular to shortcut models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShortcutConfig {
    /// The share of each batch whose targets are two jumps of the model itself, in (0, 1); at least one image and not
    /// all.
    pub bootstrap: f32,
}

impl Default for ShortcutConfig {
    fn default() -> Self {
        Self {
            bootstrap: 0.125, // kvfrans/shortcut-models: an eighth of a batch
        }
    }
}

impl ShortcutConfig {
    /// How many of a batch's images are bootstrapped.
    pub fn images(&self, batch: usize) -> usize {
        (f64::from(self.bootstrap) * batch as f64).round() as usize
    }

    /// What is out of range for batches of `batch` images, with paths relative to this struct.
    pub fn problems(&self, batch: usize) -> Option<RangeError> {
        let images = self.images(batch);
        let holds = (0.0..=1.0).contains(&self.bootstrap) && images > 0 && images < batch;
        let given = format!("{} of {batch} images", self.bootstrap);
        RangeError::unless(holds, "bootstrap", given, "a share that is at least one image, and not all")
    }
}

/// Training of a shortcut [`JumpModel`] on levels with M = 2^m intervals.
///
/// Most of a batch is denoised: the jump over one interval aims at the clean image itself. For the rest a length of 2,
/// 4, ..., M intervals and a place among those of this length are drawn, and the jump over it is to end where two of
/// half the length end, both made by the target network. Either way the loss compares the point D at which a jump
/// aims, and not the paper's velocity, which is (x - D) / sigma in these variables; the weight makes up for it.
pub struct ShortcutStep<'a> {
    network: &'a dyn Network,
    precondition: Edm,
    parts: JumpParts,
    curriculum: Curriculum,
    shortcut: ShortcutConfig,
    state: TrainState,
}

impl<'a> ShortcutStep<'a> {
    /// Training from `weights`, which are the network's; the network takes a second time.
    pub fn new(
        config: &ConsistencyConfig,
        shortcut: ShortcutConfig,
        network: &'a dyn Network,
        weights: Weights,
        precondition: Edm,
        parts: JumpParts,
    ) -> Self {
        let with_target = config.target != TargetConfig::StopGradient;
        Self {
            network,
            precondition,
            parts,
            curriculum: Curriculum { levels: config.curriculum, target: config.target },
            shortcut,
            state: TrainState::new(&config.train, weights, with_target),
        }
    }

    /// Where two jumps of the target network aim, as one.
    fn target(
        &self,
        noisy: &ImageBatch,
        levels: &[[Sigma; 3]],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        let weights = self.state.target.as_ref().unwrap_or(&self.state.weights).clone();
        let model = JumpModel::shortcut(self.network, weights, self.precondition);
        let [from, middle, to] = columns(levels);
        let first = model.denoise_for_jump(noisy, &from, &middle, labels)?;
        let half = euler_jump(noisy, first.clone(), &from, &middle)?;
        let second = model.denoise_for_jump(&half, &middle, &to, labels)?;
        Ok(merged_target(&first, second, levels))
    }
}

/// Start, middle and end of `count` jumps over more than one interval: each length alike, each place of a length alike.
fn draw_jumps(levels: &NoiseLevels, count: usize, random: &mut Random) -> Vec<[Sigma; 3]> {
    let intervals = levels.intervals();
    let doublings = u64::from(intervals.ilog2());
    let draw = |_| {
        let length = 2usize << random.below(doublings);
        let place = random.below((intervals / length) as u64) as usize * length;
        [place, place + length / 2, place + length].map(|index| levels.as_slice()[index])
    };
    (0..count).map(draw).collect()
}

impl TrainStep for ShortcutStep<'_> {
    fn state(&self) -> &TrainState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut TrainState {
        &mut self.state
    }

    fn step(&mut self, batch: &Batch, progress: Progress, seed: StepSeed) -> Result<StepReport, TrainError> {
        batch.check_shape(self.network.shape())?;
        let count = batch.images.count();
        check_labels(self.network, &batch.labels, count).map_err(TrainError::model)?;
        let (spacing, target_decay) = self.curriculum.at(progress);
        let Spacing::Levels(num_levels) = spacing else {
            return Err(TrainError::model("shortcut models need a grid of noise levels"));
        };
        let levels = self.parts.discretisation.noise_levels(num_levels).map_err(TrainError::model)?;
        let bootstrapped = self.shortcut.images(count);
        let mut random = Random::with_stream(seed.noise(), LEVELS_STREAM);
        let jumps = draw_jumps(&levels, bootstrapped, &mut random);
        let pairs = self.parts.index_law.draw(&levels, count - bootstrapped, &mut random);
        let ends = |[from, _, to]: &[Sigma; 3]| (*from, *to);
        let (from, to): (Vec<Sigma>, Vec<Sigma>) =
            jumps.iter().map(ends).chain(pairs.iter().map(|pair| (pair.upper, pair.lower))).unzip();
        let weights = self.parts.weights(&from, &to);
        let mut sum = GradientSum::new(count);
        for shard in self.state.shards(count) {
            let Batch { images: clean, labels } = batch.slice(shard.images.clone());
            let (from, to) = (&from[shard.images.clone()], &to[shard.images.clone()]);
            let noise = noise::batch_noise(clean.shape(), &seed.image_noise(shard.images.clone()), 0);
            let noisy = noise::perturb(&clean, from, &noise);
            // The first images of the batch learn from two jumps, the others from the data.
            let Range { start, end } = shard.images.clone();
            let jumps = &jumps[start.min(bootstrapped)..end.min(bootstrapped)];
            let known = &labels[..jumps.len().min(labels.len())];
            let mut target = match jumps.is_empty() {
                true => ImageBatch::zeros(clean.shape(), 0),
                false => {
                    self.target(&noisy.slice(0..jumps.len()), jumps, known).map_err(TrainError::model)?
                }
            };
            target.append(&clean.slice(jumps.len()..clean.count()));
            let second = second_times(to);
            let labels = check_labels(self.network, &labels, clean.count()).map_err(TrainError::model)?;
            let extra = Extra {
                labels,
                second_time: Some(&second),
                dropout_key: Some(shard.dropout_key(seed)),
                ..Extra::default()
            };
            let student = (self.network, &self.state.weights, &self.precondition);
            let (graph, distances) = self.parts.distances(student, (&noisy, &target), from, extra);
            sum.add(&shard, graph, &distances, weights[shard.images.clone()].to_vec(), &self.state.weights);
        }
        let ends = |image: usize| (from[image].get(), to[image].get());
        let mut report = self.state.descend_by(sum, &weights, (progress, seed), target_decay, ends)?;
        let mean = |losses: &[cm_training::ImageLoss]| {
            losses.iter().map(|image| image.loss).sum::<f64>() / losses.len() as f64
        };
        let (far, near) = report.losses.split_at(bootstrapped);
        report.scalars = vec![
            ("bootstrap_loss", mean(far)),
            ("denoising_loss", mean(near)),
            ("target_decay", f64::from(target_decay)),
        ];
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
