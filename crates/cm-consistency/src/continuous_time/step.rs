//! The training step in continuous time.

use super::derivative::Level;
use super::law::TimeLaw;
use super::weight_head::WeightHead;
use super::{
    ContinuousLossConfig, ContinuousTimeConfig, DerivativeNorm, NormalisationConfig, StopGradientConfig,
};
use crate::tangent::{CentralConfig, LocalPath, Raw, Tangent, TangentConfig, widths};
use crate::{ConsistencyConfig, ConsistencyModel, Probe, Trajectory};
use cm_diffusion::{Boundary, Discretisation, ModelError, QuantityError, Sigma, Weighting, noise};
use cm_image::random::Random;
use cm_network::{Extra, Network, check_labels};
use cm_tensor::ops::{PairDistance, blend, pair_distance};
use cm_tensor::{CheckpointError, Graph, Images, TensorFile, Vector, Weights};
use cm_training::{
    Batch, GradientSum, ImageLoss, Progress, Shard, StepReport, StepSeed, TrainError, TrainState, TrainStep,
};

/// The stream of a step's seed from which levels are drawn; images' noise uses seeds derived per image.
const LEVELS_STREAM: u64 = 1;

/// What a step is made of beside its configurations.
pub struct ContinuousParts<'a> {
    /// Whose trajectories the model is to be constant along.
    pub trajectory: Box<dyn Trajectory + 'a>,
    /// The range of the noise levels, and their time.
    pub discretisation: Box<dyn Discretisation>,
}

/// Training of a [`crate::ConsistencyModel`] in continuous time.
///
/// An image at level sigma lies on a trajectory along which N, the network's output, changes by dN / d ln sigma. From that
/// follows df / d sigma, which is 0 for a consistency function. With a stop-gradient the student is to move from N to
/// N - g, g its tangent (`Level::tangent`): the gradient of the mean of (N - sg(N - g))^2 is, unnormalised, that of
/// Theorems 5 and 6 at lambda = sin t cos t times [`ContinuousTimeConfig::weighting`].
pub struct ContinuousTimeStep<'a> {
    network: &'a dyn Network,
    precondition: Boundary,
    parts: ContinuousParts<'a>,
    config: ContinuousTimeConfig,
    tangent: Box<dyn Tangent>,
    law: TimeLaw,
    weighting: Box<dyn Weighting>,
    head: Option<WeightHead>,
    state: TrainState,
}

impl<'a> ContinuousTimeStep<'a> {
    /// Training from `weights`, which are the network's: the teacher's or fresh ones.
    ///
    /// # Errors
    /// [`QuantityError`] if the law of noise levels is out of range.
    ///
    /// # Panics
    /// If the loss goes through the derivative and that is [`TangentConfig::Forward`], through which no gradient flows.
    pub fn new(
        consistency: &ConsistencyConfig,
        config: ContinuousTimeConfig,
        network: &'a dyn Network,
        weights: Weights,
        precondition: Boundary,
        parts: ContinuousParts<'a>,
    ) -> Result<Self, QuantityError> {
        assert!(!config.differentiates_forward(), "no gradient flows through a derivative in forward mode");
        let train = &consistency.train;
        Ok(Self {
            network,
            precondition,
            parts,
            tangent: config.tangent.build(),
            law: TimeLaw::new(config.time)?,
            weighting: config.weighting.build(precondition.sigma_data),
            head: config.weight_head.map(|head| WeightHead::new(head, train)),
            state: TrainState::new(train, weights, false),
            config,
        })
    }

    /// How far the first average is from consistency, see [`Probe`].
    ///
    /// # Errors
    /// [`ModelError`] if the probe does not fit the network, or a teacher fails.
    pub fn residuals(&self, probe: &Probe) -> Result<Vec<f64>, ModelError> {
        let weights = self.state.averages.first().unwrap_or(&self.state.weights).clone();
        let model = ConsistencyModel::new(self.network, weights, self.precondition);
        probe.residuals(&model, self.parts.trajectory.as_ref())
    }

    /// The losses of a part of the batch, recorded and not yet weighted.
    fn losses(
        &self,
        batch: &Batch,
        sigma: &[Sigma],
        shard: &Shard,
        (progress, seed): (Progress, StepSeed),
    ) -> Result<(Graph, Vector), TrainError> {
        let Batch { images: clean, labels } = batch.slice(shard.images.clone());
        let sigma = &sigma[shard.images.clone()];
        let z = noise::batch_noise(clean.shape(), &seed.image_noise(shard.images.clone()), 0);
        let noisy = noise::perturb(&clean, sigma, &z);
        let aim = self.parts.trajectory.aim(&clean, &noisy, sigma, &labels).map_err(TrainError::model)?;
        let labels = check_labels(self.network, &labels, clean.count()).map_err(TrainError::model)?;
        // All evaluations of an image see the same dropout masks: the same key.
        let changes = seed.augmentation(shard.images.clone());
        let extra = Extra {
            labels,
            augmentation: changes.as_deref(),
            dropout_key: Some(shard.dropout_key(seed)),
            ..Extra::default()
        };
        let raw = Raw {
            network: self.network,
            weights: &self.state.weights,
            precondition: self.precondition,
            extra,
        };
        let path = LocalPath { noisy: &noisy, sigma, aim: &aim };
        Ok(match self.config.loss {
            ContinuousLossConfig::StopGradient(config) => self.towards_target(&raw, &path, config, progress),
            ContinuousLossConfig::Full(norm) => match self.config.tangent {
                TangentConfig::Central(central) => self.through_derivative(&raw, &path, central, norm),
                TangentConfig::Forward => unreachable!("there is no such step"),
            },
        })
    }

    /// The mean of (N - sg(N - g))^2.
    fn towards_target(
        &self,
        raw: &Raw<'_>,
        path: &LocalPath<'_>,
        config: StopGradientConfig,
        progress: Progress,
    ) -> (Graph, Vector) {
        let StopGradientConfig { normalisation, warmup } = config;
        let share = warmup_share(warmup.images(progress.total_images), progress.images);
        let (mut graph, student, slopes) = self.tangent.recorded(raw, path);
        let mut target = student.to_batch();
        let points = path.noisy.images().zip(path.aim.images()).zip(slopes.images()).zip(path.sigma);
        for (target, (((x, aim), slope), &sigma)) in target.images_mut().zip(points) {
            let level = Level::new(sigma, self.precondition);
            let mut tangent: Vec<f64> = (x.iter().zip(aim).zip(target.iter().zip(slope)))
                .map(|((&x, &aim), (&raw, &slope))| {
                    let [x, aim, raw, slope] = [x, aim, raw, slope].map(f64::from);
                    level.tangent(x, aim, raw, slope, share)
                })
                .collect();
            normalise(normalisation, &mut tangent);
            target.iter_mut().zip(tangent).for_each(|(raw, g)| *raw = (f64::from(*raw) - g) as f32);
        }
        let losses =
            pair_distance(&mut graph, PairDistance::SquaredL2, &student, &Images::from_batch(&target));
        (graph, losses)
    }

    /// The size of df / d sigma, by central differences of two evaluations that are both recorded.
    fn through_derivative(
        &self,
        raw: &Raw<'_>,
        path: &LocalPath<'_>,
        central: CentralConfig,
        norm: DerivativeNorm,
    ) -> (Graph, Vector) {
        let step = f64::from(central.step);
        let [(above, upper), (below, lower)] = [path.moved(step), path.moved(-step)];
        let mut graph = Graph::recording();
        let there = raw.forward(&mut graph, &above, &upper);
        let here = raw.forward(&mut graph, &below, &lower);
        let mut rest = path.noisy.clone();
        let (mut of_there, mut of_here) = (Vec::new(), Vec::new());
        let images = rest.images_mut().zip(path.aim.images()).zip(path.sigma).zip(widths(&upper, &lower));
        for (((x, aim), &sigma), width) in images {
            // N is the mean of both, its derivative their difference; all for each unit of sigma.
            let unit = f64::from(sigma.get()).recip();
            let [by_x, by_aim, by_raw, by_slope] =
                Level::new(sigma, self.precondition).factors().map(|factor| unit * factor);
            of_there.push((by_raw / 2.0 + by_slope / width) as f32);
            of_here.push((by_raw / 2.0 - by_slope / width) as f32);
            for (x, &aim) in x.iter_mut().zip(aim) {
                *x = -(by_x * f64::from(*x) + by_aim * f64::from(aim)) as f32;
            }
        }
        let moving = blend(&mut graph, of_there, &there, of_here, &here);
        let distance = match norm {
            DerivativeNorm::SquaredL2 => PairDistance::SquaredL2,
            DerivativeNorm::L1 => PairDistance::L1,
        };
        let losses = pair_distance(&mut graph, distance, &moving, &Images::from_batch(&rest));
        (graph, losses)
    }

    /// The weight of each level in the mean over the batch, and the mean of w.
    fn weights(&self, sigma: &[Sigma]) -> (Vec<f32>, f64) {
        let count = sigma.len() as f64;
        let logs: Vec<f64> = sigma
            .iter()
            .map(|&level| self.head.as_ref().map_or(0.0, |head| head.log_weight(level)))
            .collect();
        let weight = |(&level, log): (&Sigma, &f64)| {
            let lambda = f64::from(self.weighting.weight(level, level));
            let in_f = match self.config.loss {
                ContinuousLossConfig::StopGradient(_) => Level::new(level, self.precondition).sine_cosine(),
                ContinuousLossConfig::Full(_) => 1.0,
            };
            (lambda * in_f * libm::exp(*log) / count) as f32
        };
        (sigma.iter().zip(&logs).map(weight).collect(), logs.iter().sum::<f64>() / count)
    }
}

/// r of the tangent's warm-up.
fn warmup_share(warmup: u64, images: u64) -> f64 {
    if warmup == 0 { 1.0 } else { (images as f64 / warmup as f64).min(1.0) }
}

/// Brings a tangent to a length near 1.
fn normalise(config: NormalisationConfig, tangent: &mut [f64]) {
    let squares = tangent.iter().map(|g| g * g).sum::<f64>();
    let length = match config {
        NormalisationConfig::None => return,
        NormalisationConfig::L2(c) => squares.sqrt() + f64::from(c),
        NormalisationConfig::Rms(c) => (squares / tangent.len() as f64).sqrt() + f64::from(c),
    };
    tangent.iter_mut().for_each(|g| *g /= length);
}

/// The root of the mean square of a tangent's values, from their mean square after [`normalise`].
fn length_before(config: NormalisationConfig, square: f64, values: f64) -> f64 {
    // l / (l + c) = s has the solution l = c s / (1 - s).
    let before = |c: f32, length: f64| f64::from(c) * length / (1.0 - length).max(f64::EPSILON);
    match config {
        NormalisationConfig::None => square.sqrt(),
        NormalisationConfig::L2(c) => before(c, (square * values).sqrt()) / values.sqrt(),
        NormalisationConfig::Rms(c) => before(c, square.sqrt()),
    }
}

impl TrainStep for ContinuousTimeStep<'_> {
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
        let mut random = Random::with_stream(seed.noise(), LEVELS_STREAM);
        let sigma = self.law.draw(self.parts.discretisation.as_ref(), count, &mut random);
        let (weights, log_weight) = self.weights(&sigma);
        let mut sum = GradientSum::new(count);
        for shard in self.state.shards(count) {
            let (graph, losses) = self.losses(batch, &sigma, &shard, (progress, seed))?;
            sum.add(&shard, graph, &losses, weights[shard.images.clone()].to_vec(), &self.state.weights);
        }
        let levels = |image: usize| (sigma[image].get(), sigma[image].get());
        let mut report = self.state.descend_by(sum, &weights, (progress, seed), 0.0, levels)?;
        if let Some(head) = &mut self.head {
            // All processes know all losses, so that all take the same step.
            head.step(sigma.iter().copied().zip(report.losses.iter().map(|image| image.loss)), progress);
            report.scalars.push(("log_weight", log_weight));
        }
        if let ContinuousLossConfig::StopGradient(config) = self.config.loss {
            let share = warmup_share(config.warmup.images(progress.total_images), progress.images);
            let values = batch.images.shape().len() as f64;
            // The loss of an image is its tangent's mean square; from it the length before it was brought to 1 follows.
            let of_image = |(image, weight): (&ImageLoss, &f32)| {
                let square = image.loss / (f64::from(*weight) * count as f64);
                length_before(config.normalisation, square, values).powi(2)
            };
            let squares: f64 = report.losses.iter().zip(&weights).map(of_image).sum();
            report.scalars.push(("tangent", (squares / count as f64).sqrt()));
            report.scalars.push(("tangent_warmup", share));
        }
        Ok(report)
    }

    fn save(&self, file: &mut TensorFile) {
        self.state.save(file);
        if let Some(head) = &self.head {
            head.save(file);
        }
    }

    fn load(&mut self, file: &TensorFile) -> Result<(), CheckpointError> {
        self.state.load(file)?;
        self.head.as_mut().map_or(Ok(()), |head| head.load(file))
    }
}

#[cfg(test)]
mod tests;
