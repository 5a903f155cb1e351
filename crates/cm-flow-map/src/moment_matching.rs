//! Training of a model of two times by the moments of its jumps: inductive moment matching (Zhou et al. 2025).

use crate::discrepancy::{Groups, discrepancy};
use crate::jump_model::{Told, denoised};
use crate::moment_config::{Jump, MomentMatchingConfig};
use cm_consistency::{ConsistencyConfig, Curriculum, TargetConfig};
use cm_diffusion::{Edm, ModelError, Precondition, Sigma, SigmaRange, noise};
use cm_image::ImageBatch;
use cm_image::random::Random;
use cm_network::{Network, check_labels};
use cm_tensor::ops::{PairDistance, blend, pair_distance};
use cm_tensor::{Graph, Images, Vector, Weights};
use cm_training::{
    Batch, GradientSum, Progress, Schedule, Shard, StepReport, StepSeed, TrainError, TrainState, TrainStep,
};

/// The stream of a step's seed from which times are drawn; images' noise uses seeds derived per image.
const TIMES_STREAM: u64 = 1;

/// Training of a [`JumpModel::shortcut`](crate::JumpModel::shortcut) of all pairs of times.
///
/// A jump ends at y = q x + (1 - q) D(x; t, s), q = s / t in levels: the paper's form with EDM's coefficients, and on all
/// paths the same but for a factor that the kernel takes out. Its target is the jump from x_r, of the same image and noise,
/// without gradient and with the same dropout. The kernel is exp(-|y - y'| / (values c)) with c = (1 - q) c_out(t). Classes
/// are told to the network; the kernel compares the particles of a group whatever theirs are.
pub struct MomentMatchingStep<'a> {
    network: &'a dyn Network,
    precondition: Edm,
    range: SigmaRange,
    config: MomentMatchingConfig,
    curriculum: Curriculum,
    state: TrainState,
}

impl<'a> MomentMatchingStep<'a> {
    /// Training from `weights`, which are the network's, with levels in `range`; the network takes a second time.
    pub fn new(
        config: &ConsistencyConfig,
        moments: MomentMatchingConfig,
        network: &'a dyn Network,
        weights: Weights,
        precondition: Edm,
        range: SigmaRange,
    ) -> Self {
        let with_target = config.target != TargetConfig::StopGradient;
        Self {
            network,
            precondition,
            range,
            config: moments,
            curriculum: Curriculum { levels: config.curriculum, target: config.target },
            state: TrainState::new(&config.train, weights, with_target),
        }
    }

    /// The jump of each of `count` images; those of a group are the same.
    fn draw(&self, count: usize, seed: StepSeed) -> Result<Vec<Jump>, TrainError> {
        let mut random = Random::with_stream(seed.noise(), TIMES_STREAM);
        let mut jumps = Vec::with_capacity(count);
        while jumps.len() < count {
            let jump = self.config.draw(self.range, self.sigma_data(), &mut random);
            jumps.extend([jump.map_err(TrainError::model)?].repeat(self.config.group));
        }
        Ok(jumps)
    }

    fn sigma_data(&self) -> f64 {
        f64::from(self.precondition.sigma_data)
    }

    /// The network's D of some images with these weights, recorded in `graph`.
    fn aims(
        &self,
        graph: &mut Graph,
        weights: &Weights,
        x: &ImageBatch,
        (from, to): (&[Sigma], &[Sigma]),
        told: Told<'_>,
    ) -> Result<Images, ModelError> {
        let network = (self.network, weights, &self.precondition);
        denoised(graph, network, x, (from, Some(to)), told)
    }

    /// The losses of the images of a part of the batch, without their weights, recorded.
    fn losses(
        &self,
        batch: &Batch,
        jumps: &[Jump],
        shard: &Shard,
        seed: StepSeed,
    ) -> Result<(Graph, Vector), TrainError> {
        let Batch { images: clean, labels } = batch.slice(shard.images.clone());
        let jumps = &jumps[shard.images.clone()];
        let of = |pick: fn(&Jump) -> Sigma| jumps.iter().map(pick).collect::<Vec<Sigma>>();
        let (from, middle, to) = (of(|jump| jump.from), of(|jump| jump.middle), of(|jump| jump.to));
        let noise = noise::batch_noise(clean.shape(), &seed.image_noise(shard.images.clone()), 0);
        let changes = seed.augmentation(shard.images.clone());
        let told = Told {
            labels: &labels,
            augmentation: changes.as_deref(),
            dropout_key: Some(shard.dropout_key(seed)),
        };
        let (x, nearer) = (noise::perturb(&clean, &from, &noise), noise::perturb(&clean, &middle, &noise));
        let weights = self.state.target.as_ref().unwrap_or(&self.state.weights);
        let target = self.aims(&mut Graph::inference(), weights, &nearer, (&middle, &to), told);
        let target = ends(&nearer, &target.map_err(TrainError::model)?.to_batch(), &middle, &to);
        let mut graph = Graph::recording();
        let student = self.aims(&mut graph, &self.state.weights, &x, (&from, &to), told);
        let student = student.map_err(TrainError::model)?;
        let aims = student.to_batch();

        let len = clean.shape().len();
        let left = |image: usize| 1.0 - f64::from(to[image].get()) / f64::from(from[image].get());
        let width = |image: usize| {
            let c_out = f64::from(self.precondition.coefficients(from[image]).c_out);
            len as f64 * left(image) * c_out.abs()
        };
        let widths: Vec<f64> = (0..jumps.len()).map(width).collect();
        let groups = Groups { group: self.config.group, len, widths: &widths };
        let (parts, mut gradient) = discrepancy(groups, &ends(&x, &aims, &from, &to), &target);
        // Of the end y; D's is 1 - q times that.
        for (image, gradient) in gradient.chunks_mut(len).enumerate() {
            gradient.iter_mut().for_each(|gradient| *gradient *= left(image));
        }
        let losses = recorded(&mut graph, &student, &parts, &gradient);
        Ok((graph, losses))
    }
}

/// The values `parts`, one for each of some images, with this gradient by the images.
///
/// It is the mean squared difference from points that lie half the gradient away, which has that gradient, and a constant
/// beside it. In single precision the value is as exact as the larger of both.
fn recorded(graph: &mut Graph, images: &Images, parts: &[f64], gradient: &[f64]) -> Vector {
    let [count, height, width, channels] = images.shape();
    let half = 0.5 * (height * width * channels) as f64;
    let away = |(&value, gradient): (&f32, &f64)| (f64::from(value) - half * gradient) as f32;
    let points: Vec<f32> = images.values().iter().zip(gradient).map(away).collect();
    let squares =
        pair_distance(graph, PairDistance::SquaredL2, images, &Images::constant(points, images.shape()));
    let beside = |(part, &square): (&f64, &f32)| (part - f64::from(square)) as f32;
    let beside: Vec<f32> = parts.iter().zip(squares.values()).map(beside).collect();
    let ones = vec![1.0; count];
    blend(graph, ones.clone(), &squares, ones, &Vector::constant(beside, [count]))
}

/// Where jumps that aim at `aims` end: q x + (1 - q) D, q = to / from, in double precision.
fn ends(x: &ImageBatch, aims: &ImageBatch, from: &[Sigma], to: &[Sigma]) -> Vec<f64> {
    let len = x.shape().len();
    let of_value = |(index, (&x, &aim)): (usize, (&f32, &f32))| {
        let ratio = f64::from(to[index / len].get()) / f64::from(from[index / len].get());
        ratio * f64::from(x) + (1.0 - ratio) * f64::from(aim)
    };
    x.values().iter().zip(aims.values()).enumerate().map(of_value).collect()
}

impl TrainStep for MomentMatchingStep<'_> {
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
        let (_, target_decay) = self.curriculum.at(progress);
        let jumps = self.draw(count, seed)?;
        let weight = |jump: &Jump| (self.config.weight(jump.from, self.sigma_data()) / count as f64) as f32;
        let weights: Vec<f32> = jumps.iter().map(weight).collect();
        let mut sum = GradientSum::new(count);
        for shard in self.state.shards(count) {
            let (graph, losses) = self.losses(batch, &jumps, &shard, seed)?;
            sum.add(&shard, graph, &losses, weights[shard.images.clone()].to_vec(), &self.state.weights);
        }
        let ends = |image: usize| (jumps[image].from.get(), jumps[image].to.get());
        let mut report = self.state.descend_by(sum, &weights, (progress, seed), target_decay, ends)?;
        report.scalars = vec![("target_decay", f64::from(target_decay))];
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
