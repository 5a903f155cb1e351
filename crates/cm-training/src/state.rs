//! The state of a training run: weights, moments, averages, step.

mod on_device;
#[cfg(test)]
mod tests;

use crate::gradient_sum::Partial;
use crate::{
    Ema, EmaConfig, GradientSum, ImageLoss, LearningRateConfig, OptimiserConfig, Progress, Schedule, Shard,
    StepReport, StepSeed, TrainConfig, TrainError,
};
use cm_kernels::elementwise::sum_squares;
use cm_kernels::update::{self, Rule, Slices};
use cm_tensor::collective::{Alone, Collective, group};
use cm_tensor::{CheckpointError, Graph, TensorFile, Vector, Weights};

/// The entry of a checkpoint that says after how many updates training began anew; absent if it never did.
const RESTARTED_AT: &str = "restarted_at";

/// Weights in training with everything that changes beside them.
#[derive(Clone, Debug)]
pub struct TrainState {
    /// The weights themselves.
    pub weights: Weights,
    /// The averages of [`TrainConfig::ema`], in its order.
    pub averages: Vec<Weights>,
    /// The averages whose snapshots are kept, in the order of [`crate::SnapshotsConfig::sigma_rels`].
    pub tracked: Vec<Weights>,
    /// A further average with a decay given at each update, if the method has one: the target network.
    pub target: Option<Weights>,
    first_moments: Vec<Vector>,
    second_moments: Vec<Vector>,
    optimiser: OptimiserConfig,
    learning_rate: LearningRateConfig,
    emas: Vec<Ema>,
    gradient_clip: Option<f32>,
    shards: usize,
    step: u64,
    /// Updates taken before the last restart.
    restarted_at: u64,
}

impl TrainState {
    /// A run that begins with `weights`; averages begin there as well, and the target if there is one.
    pub fn new(config: &TrainConfig, weights: Weights, with_target: bool) -> Self {
        let zeros =
            || weights.iter().map(|(_, _, values)| moment(vec![0.0; values.len()])).collect::<Vec<_>>();
        let build = |ema: EmaConfig| ema.build(config.batch, config.images());
        let widths = config.snapshots.iter().flat_map(|snapshots| &snapshots.sigma_rels);
        let tracked: Vec<Ema> = widths.map(|&sigma_rel| build(EmaConfig::Power(sigma_rel))).collect();
        Self {
            averages: config.ema.iter().map(|_| weights.clone()).collect(),
            tracked: tracked.iter().map(|_| weights.clone()).collect(),
            target: with_target.then(|| weights.clone()),
            first_moments: zeros(),
            second_moments: zeros(),
            optimiser: config.optimiser,
            learning_rate: config.learning_rate,
            emas: config.ema.iter().map(|&ema| build(ema)).chain(tracked).collect(),
            gradient_clip: config.gradient_clip,
            shards: config.shards,
            step: 0,
            restarted_at: 0,
            weights,
        }
    }

    /// Updates taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Begins anew from the first average, as if training had just started: the weights, all averages and the target
    /// become it, and the optimiser forgets its moments and its count. The number of updates goes on.
    ///
    /// # Panics
    /// If there is no average.
    pub fn restart(&mut self) {
        let weights = self.averages.first().expect("an average to begin from").clone();
        let followers = self.averages.iter_mut().chain(&mut self.tracked).chain(&mut self.target);
        followers.for_each(|follower| *follower = weights.clone());
        let moments = self.first_moments.iter_mut().chain(&mut self.second_moments);
        moments.for_each(|moment| moment.values_mut().fill(0.0));
        self.weights = weights;
        self.restarted_at = self.step;
    }

    /// The parts of a batch of `count` images on which this process works.
    ///
    /// # Panics
    /// If the batch cannot be cut into the parts that the run was told.
    pub fn shards(&self, count: usize) -> Vec<Shard> {
        Shard::of_this_process(self.shards, count)
    }

    /// The end of a step that no other process shares: the loss sum(`weights` x `losses`), its gradient, the update.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] as [`descend_by`](Self::descend_by).
    ///
    /// # Panics
    /// If `graph` did not record, or there is not one weight for each loss.
    pub fn descend(
        &mut self,
        graph: Graph,
        losses: &Vector,
        weights: Vec<f32>,
        at: (Progress, StepSeed),
        target_decay: f32,
        levels: impl Fn(usize) -> (f32, f32),
    ) -> Result<StepReport, TrainError> {
        let mut sum = GradientSum::new(weights.len());
        sum.add(&Shard::whole(weights.len()), graph, losses, weights.clone(), &self.weights);
        self.update_by(sum, &Alone, |image, _| weights[image], at, target_decay, levels)
    }

    /// The end of a step that all processes share: the loss is that of all images with these weights, the gradient that
    /// of all parts. `levels` gives the noise levels of each image of the batch, the upper and the lower of its pair;
    /// they are equal where there is one.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] for an infinite or NaN loss or gradient, [`TrainError::Group`] if other processes cannot
    /// be reached; then nothing has been changed.
    ///
    /// # Panics
    /// If not all of this process's parts were added.
    pub fn descend_by(
        &mut self,
        sum: GradientSum,
        weights: &[f32],
        at: (Progress, StepSeed),
        target_decay: f32,
        levels: impl Fn(usize) -> (f32, f32),
    ) -> Result<StepReport, TrainError> {
        self.update_by(sum, group(), |image, _| weights[image], at, target_decay, levels)
    }

    /// As [`descend_by`](Self::descend_by), for weights that depend on the losses: `weight` gives that of an image by its
    /// place in the batch and its loss.
    ///
    /// # Errors
    /// As [`descend_by`](Self::descend_by).
    ///
    /// # Panics
    /// If not all of this process's parts were added.
    pub fn descend_weighted(
        &mut self,
        sum: GradientSum,
        weight: impl Fn(usize, f32) -> f32,
        at: (Progress, StepSeed),
        target_decay: f32,
        levels: impl Fn(usize) -> (f32, f32),
    ) -> Result<StepReport, TrainError> {
        self.update_by(sum, group(), weight, at, target_decay, levels)
    }

    fn update_by(
        &mut self,
        sum: GradientSum,
        group: &dyn Collective,
        weight: impl Fn(usize, f32) -> f32,
        (progress, seed): (Progress, StepSeed),
        target_decay: f32,
        levels: impl Fn(usize) -> (f32, f32),
    ) -> Result<StepReport, TrainError> {
        let (losses, gradient) = sum.shared(group)?;
        let weighted = |(image, &loss): (usize, &f32)| f64::from(loss) * f64::from(weight(image, loss));
        let each: Vec<f64> = losses.iter().enumerate().map(weighted).collect();
        let loss: f64 = each.iter().sum();
        let not_finite = |what| TrainError::NotFinite {
            what,
            step: progress.step,
            noise_seed: seed.noise(),
            dropout_seed: seed.dropout(),
            images: culprits(&each, &levels),
        };
        if !loss.is_finite() {
            return Err(not_finite("loss"));
        }
        let count = each.len();
        let learning_rate = self.learning_rate.at(progress);
        let gradient_norm = match gradient {
            Partial::Device(device, branches) => {
                self.update_on_device(&device, &branches.whole(), learning_rate, target_decay)
            }
            Partial::Host(branches) => {
                let gradients = branches.whole();
                let norm = Self::norm(&gradients);
                if norm.is_finite() {
                    self.update(&gradients, norm, learning_rate, target_decay);
                }
                norm
            }
        };
        if !gradient_norm.is_finite() {
            return Err(not_finite("gradient"));
        }
        let (step, images) = (progress.step + 1, progress.images + count as u64);
        let of_image =
            |(image, part): (usize, &f64)| ImageLoss { level: levels(image).0, loss: part * count as f64 };
        let losses = each.iter().enumerate().map(of_image).collect();
        Ok(StepReport { step, images, loss, gradient_norm, learning_rate, losses, scalars: Vec::new() })
    }

    /// One update by a gradient that was worked out elsewhere, an array for each of the weights'; returns its norm. If that
    /// is not finite nothing has been changed.
    ///
    /// # Panics
    /// If the gradient is not of the weights.
    pub fn follow(&mut self, gradient: &[Vec<f32>], progress: Progress) -> f64 {
        assert_eq!(gradient.len(), self.weights.iter().count(), "an array for each of the weights");
        let norm = Self::norm(gradient);
        if norm.is_finite() {
            let learning_rate = self.learning_rate.at(progress);
            self.update(gradient, norm, learning_rate, 0.0);
        }
        norm
    }

    /// Norm of a whole gradient.
    fn norm(gradients: &[Vec<f32>]) -> f64 {
        gradients.iter().map(|gradient| sum_squares(gradient)).sum::<f64>().sqrt()
    }

    /// One update by `gradients`, whose norm is `norm`; all averages follow the new weights in the same pass, the
    /// target with decay `target_decay`.
    ///
    /// # Panics
    /// If the gradients are not those of the weights.
    fn update(&mut self, gradients: &[Vec<f32>], norm: f64, learning_rate: f32, target_decay: f32) {
        let (rule, scale, decays) = self.next_step(norm, learning_rate, target_decay);
        let mut followers: Vec<(_, f32)> = self
            .averages
            .iter_mut()
            .chain(&mut self.tracked)
            .chain(&mut self.target)
            .map(Weights::values_mut)
            .zip(decays)
            .collect();
        let moments = (self.first_moments.iter_mut().map(Vector::values_mut))
            .zip(self.second_moments.iter_mut().map(Vector::values_mut));
        let trained: Vec<bool> = self.weights.trained().collect();
        for (((parameter, gradient), (first_moment, second_moment)), trained) in
            self.weights.values_mut().zip(gradients).zip(moments).zip(trained)
        {
            let mut averages: Vec<(&mut [f32], f32)> = followers
                .iter_mut()
                .map(|(arrays, decay)| (arrays.next().expect("averages have the weights' arrays"), *decay))
                .collect();
            if !trained {
                continue;
            }
            let slices = Slices { parameter, gradient, first_moment, second_moment, averages: &mut averages };
            update::apply(&rule, scale, slices);
        }
    }

    /// Begins the next step: its rule, the factor of its gradient, whose norm is `norm`, and the decay of each average.
    fn next_step(&mut self, norm: f64, learning_rate: f32, target_decay: f32) -> (Rule, f32, Vec<f32>) {
        self.step += 1;
        let step = self.step - self.restarted_at;
        let scale = match self.gradient_clip {
            Some(clip) if norm > f64::from(clip) => (f64::from(clip) / norm) as f32,
            _ => 1.0,
        };
        let decays =
            self.emas.iter().map(|ema| ema.decay(step)).chain(self.target.is_some().then_some(target_decay));
        (self.optimiser.rule(learning_rate, step), scale, decays.collect())
    }

    /// Writes everything into `file`.
    pub fn save(&self, file: &mut TensorFile) {
        file.metadata.insert("step".into(), self.step.to_string());
        if self.restarted_at > 0 {
            file.metadata.insert(RESTARTED_AT.into(), self.restarted_at.to_string());
        }
        file.add_weights("weights/", &self.weights);
        for (index, average) in self.averages.iter().enumerate() {
            file.add_weights(&format!("average.{index}/"), average);
        }
        for (index, tracked) in self.tracked.iter().enumerate() {
            file.add_weights(&format!("tracked.{index}/"), tracked);
        }
        if let Some(target) = &self.target {
            file.add_weights("target/", target);
        }
        for (prefix, moments) in
            [("first_moment/", &self.first_moments), ("second_moment/", &self.second_moments)]
        {
            for ((name, shape, _), values) in self.weights.iter().zip(moments) {
                file.arrays.push((format!("{prefix}{name}"), shape.to_vec(), values.values().to_vec()));
            }
        }
    }

    /// Restores what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`CheckpointError`] if `file` is not of a run with this network and these averages; then the state may be
    /// half-restored and must be dropped.
    pub fn load(&mut self, file: &TensorFile) -> Result<(), CheckpointError> {
        let step = file.parse("step")?;
        let restarted_at = match file.metadata.contains_key(RESTARTED_AT) {
            true => file.parse(RESTARTED_AT)?,
            false => 0,
        };
        if restarted_at > step {
            return Err(CheckpointError::Entry(RESTARTED_AT.into()));
        }
        file.load_weights("weights/", &mut self.weights)?;
        for (index, average) in self.averages.iter_mut().enumerate() {
            file.load_weights(&format!("average.{index}/"), average)?;
        }
        for (index, tracked) in self.tracked.iter_mut().enumerate() {
            file.load_weights(&format!("tracked.{index}/"), tracked)?;
        }
        if let Some(target) = &mut self.target {
            file.load_weights("target/", target)?;
        }
        for (prefix, moments) in
            [("first_moment/", &mut self.first_moments), ("second_moment/", &mut self.second_moments)]
        {
            let mut arrays = self.weights.clone();
            file.load_weights(prefix, &mut arrays)?;
            *moments = arrays.iter().map(|(_, _, values)| moment(values.to_vec())).collect();
        }
        (self.step, self.restarted_at) = (step, restarted_at);
        Ok(())
    }
}

fn moment(values: Vec<f32>) -> Vector {
    let len = values.len();
    Vector::constant(values, [len])
}

/// The images whose losses are not finite, or all if every single one is; the first few, with their levels.
fn culprits(losses: &[f64], levels: impl Fn(usize) -> (f32, f32)) -> String {
    const NAMED: usize = 4;
    let mut images: Vec<usize> = (0..losses.len()).filter(|&image| !losses[image].is_finite()).collect();
    if images.is_empty() {
        images = (0..losses.len()).collect();
    }
    let name = |&image: &usize| match levels(image) {
        (upper, lower) if upper == lower => format!("image {image} at noise level {upper}"),
        (upper, lower) => format!("image {image} at noise levels {upper} and {lower}"),
    };
    let mut named: Vec<String> = images.iter().take(NAMED).map(name).collect();
    if images.len() > NAMED {
        named.push(format!("{} more", images.len() - NAMED));
    }
    named.join(", ")
}
