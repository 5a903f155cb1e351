//! The consistency loss: E[lambda d(f(x_upper, upper), f-(x_lower, lower))], Song et al. 2023, Equations 7 and 10.

use crate::coupling::augment;
use crate::model::{scaling, take_where};
use crate::{
    ConsistencyConfig, ConsistencyModel, ContinuousPairs, CouplingConfig, Curriculum, CurriculumConfig,
    Distance, NoisyPair, Predictor, Probe, Segments, Spacing, TargetConfig, Trajectory, Truncation,
};
use cm_diffusion::{
    Boundary, ConsistencyFunction, Discretisation, IndexLaw, LevelPair, ModelError, Sigma, Weighting, noise,
};
use cm_image::ImageBatch;
use cm_image::random::Random;
use cm_network::{Extra, Network, check_labels};
use cm_tensor::{Graph, Images, Vector, Weights};
use cm_training::{
    Batch, GradientSum, Progress, Schedule, Shard, StepReport, StepSeed, TrainError, TrainState, TrainStep,
};

/// The stream of a step's seed from which levels are drawn; images' noise uses seeds derived per image.
const LEVELS_STREAM: u64 = 1;

/// What a step is made of, built from a [`ConsistencyConfig`].
pub struct Parts<'a> {
    /// Where the lower point of a pair comes from.
    pub trajectory: Box<dyn Trajectory + 'a>,
    /// The noise levels for a given N.
    pub discretisation: Box<dyn Discretisation>,
    /// How often each pair of neighbouring levels is drawn.
    pub index_law: Box<dyn IndexLaw>,
    /// Pairs without levels, for a continuous curriculum.
    pub continuous: Option<ContinuousPairs>,
    /// How the two outputs are compared.
    pub distance: Box<dyn Distance>,
    /// The weight of a pair.
    pub weighting: Box<dyn Weighting>,
    /// The segments within each of which the model is consistent, if there is more than one.
    pub segments: Option<Segments>,
    /// Training at the upper levels alone, with continuous pairs.
    pub truncation: Option<Truncation>,
}

/// Training of a [`crate::ConsistencyModel`].
pub struct ConsistencyStep<'a> {
    network: &'a dyn Network,
    precondition: Boundary,
    parts: Parts<'a>,
    curriculum: Curriculum,
    coupling: CouplingConfig,
    state: TrainState,
}

impl<'a> ConsistencyStep<'a> {
    /// Training from `weights`, which are the network's: the teacher's or fresh ones.
    ///
    /// # Panics
    /// If the curriculum is continuous and `parts` has no law for its pairs.
    pub fn new(
        config: &ConsistencyConfig,
        network: &'a dyn Network,
        weights: Weights,
        precondition: Boundary,
        parts: Parts<'a>,
    ) -> Self {
        let continuous = matches!(config.curriculum, CurriculumConfig::Continuous(_));
        assert!(parts.continuous.is_some() || !continuous, "continuous pairs need a law");
        // Without an average the student is its own target, and there is nothing to keep.
        let with_target = config.target != TargetConfig::StopGradient;
        Self {
            network,
            precondition,
            parts,
            curriculum: Curriculum { levels: config.curriculum, target: config.target },
            coupling: config.coupling,
            state: TrainState::new(&config.train, weights, with_target),
        }
    }

    /// How far the first average is from consistency, see [`Probe`]; `None` for a model of several segments, which is
    /// not consistent from one to the next.
    ///
    /// # Errors
    /// [`ModelError`] if the probe does not fit the network, or a teacher fails.
    pub fn residuals(&self, probe: &Probe) -> Option<Result<Vec<f64>, ModelError>> {
        if self.parts.segments.is_some() {
            return None;
        }
        Some(probe.residuals(&self.model(Predictor::Average), self.parts.trajectory.as_ref()))
    }

    /// The model that these weights are at present.
    fn model(&self, of: Predictor) -> ConsistencyModel<'a> {
        let average = self.state.averages.first().filter(|_| of == Predictor::Average);
        let weights = average.unwrap_or(&self.state.weights).clone();
        let model = ConsistencyModel::new(self.network, weights, self.precondition);
        match &self.parts.truncation {
            Some(truncation) => model.above(truncation.level(), truncation.first.clone()),
            None => model,
        }
    }
}

impl ConsistencyStep<'_> {
    /// The images of a batch that the model makes instead of the data.
    fn chosen(&self, count: usize, seed: StepSeed) -> Vec<bool> {
        match self.coupling {
            CouplingConfig::Independent => vec![false; count],
            CouplingConfig::GeneratorAugmented(config) => config.chosen(count, seed),
        }
    }

    /// The images whose pairs these are: of those `chosen` what the model makes of their lower points.
    fn coupled(
        &self,
        clean: &mut ImageBatch,
        (chosen, noise, lower): (&[bool], &ImageBatch, &[Sigma]),
        labels: &[u32],
    ) -> Result<(), ModelError> {
        let CouplingConfig::GeneratorAugmented(config) = self.coupling else { return Ok(()) };
        let model = self.model(config.predictor);
        augment(clean, (chosen, noise, lower), labels, |x, sigma, labels| model.endpoint(x, sigma, labels))
    }

    /// The distances of student and target at the pairs of a part of the batch, recorded.
    fn distances(
        &self,
        batch: &Batch,
        (pairs, chosen): (&[LevelPair], &[bool]),
        shard: &Shard,
        seed: StepSeed,
    ) -> Result<(Graph, Vector), TrainError> {
        let Batch { images: mut clean, labels } = batch.slice(shard.images.clone());
        let (pairs, chosen) = (&pairs[shard.images.clone()], &chosen[shard.images.clone()]);
        let upper: Vec<Sigma> = pairs.iter().map(|pair| pair.upper).collect();
        let lower: Vec<Sigma> = pairs.iter().map(|pair| pair.lower).collect();
        let z = noise::batch_noise(clean.shape(), &seed.image_noise(shard.images.clone()), 0);
        self.coupled(&mut clean, (chosen, &z, &lower), &labels).map_err(TrainError::model)?;
        let noisy = noise::perturb(&clean, &upper, &z);
        let pair = NoisyPair {
            clean: &clean,
            noise: &z,
            noisy: &noisy,
            upper: &upper,
            lower: &lower,
            labels: &labels,
        };
        let lower_point = self.parts.trajectory.lower_point(&pair).map_err(TrainError::model)?;

        // Student and target see the same dropout masks: the same key.
        let labels = check_labels(self.network, &labels, clean.count()).map_err(TrainError::model)?;
        let changes = seed.augmentation(shard.images.clone());
        let extra = Extra {
            labels,
            augmentation: changes.as_deref(),
            dropout_key: Some(shard.dropout_key(seed)),
            ..Extra::default()
        };
        let evaluate = |graph: &mut Graph, weights: &Weights, x: &_, sigma: &[Sigma]| {
            let scaling = scaling(&self.precondition, sigma);
            self.network.forward_scaled(graph, weights, &Images::from_batch(x), &scaling, extra)
        };
        let target_weights = self.state.target.as_ref().unwrap_or(&self.state.weights);
        let mut target = evaluate(&mut Graph::inference(), target_weights, &lower_point, &lower);
        if let Some(truncation) = &self.parts.truncation
            && lower.iter().any(|&level| truncation.is_below(level))
        {
            // All images again, not those below alone: dropout masks belong to places in the batch.
            let first = evaluate(&mut Graph::inference(), &truncation.first, &lower_point, &lower);
            let mut aims = target.to_batch();
            take_where(&mut aims, &first.to_batch(), |image| truncation.is_below(lower[image]));
            target = Images::from_batch(&aims);
        }
        if let Some(segments) = &self.parts.segments {
            let aims = segments.target(&noisy, &lower_point, target.to_batch(), pairs);
            target = Images::from_batch(&aims);
        }
        let mut graph = Graph::recording();
        let student = evaluate(&mut graph, &self.state.weights, &noisy, &upper);
        let distances = self.parts.distance.distance(&mut graph, &student, &target);
        Ok((graph, distances))
    }
}

impl TrainStep for ConsistencyStep<'_> {
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
        let mut random = Random::with_stream(seed.noise(), LEVELS_STREAM);
        let (pairs, scalar) = match spacing {
            Spacing::Levels(num_levels) => {
                let levels = self.parts.discretisation.noise_levels(num_levels).map_err(TrainError::model)?;
                let pairs = self.parts.index_law.draw(&levels, count, &mut random);
                (pairs, ("num_levels", num_levels.get() as f64))
            }
            Spacing::Stage(stage) => {
                let law = self.parts.continuous.as_ref().expect("checked when this was built");
                let pairs = match &self.parts.truncation {
                    Some(truncation) => truncation.draw(law, stage, count, &mut random),
                    None => law.draw(stage, count, &mut random),
                };
                (pairs, ("stage", f64::from(stage)))
            }
        };
        let pairs: Vec<LevelPair> = match &self.parts.segments {
            Some(segments) => pairs.into_iter().map(|pair| segments.within(pair)).collect(),
            None => pairs,
        };
        let weights: Vec<f32> = (pairs.iter().enumerate())
            .map(|(image, pair)| {
                let weight = self.parts.weighting.weight(pair.upper, pair.lower);
                match &self.parts.truncation {
                    Some(truncation) => weight * truncation.share(image, count),
                    None => weight / count as f32,
                }
            })
            .collect();
        let chosen = self.chosen(count, seed);
        let mut sum = GradientSum::new(count);
        for shard in self.state.shards(count) {
            let (graph, distances) = self.distances(batch, (&pairs, &chosen), &shard, seed)?;
            sum.add(&shard, graph, &distances, weights[shard.images.clone()].to_vec(), &self.state.weights);
        }
        let levels = |image: usize| (pairs[image].upper.get(), pairs[image].lower.get());
        let mut report = self.state.descend_by(sum, &weights, (progress, seed), target_decay, levels)?;
        report.scalars = vec![scalar, ("target_decay", f64::from(target_decay))];
        if let Some(truncation) = &self.parts.truncation {
            let parts: Vec<f64> = report.losses.iter().map(|image| image.loss / count as f64).collect();
            let [boundary, consistency] = truncation.means(&parts);
            report.scalars.extend([("boundary_loss", boundary), ("consistency_loss", consistency)]);
        }
        if !self.coupling.is_independent() {
            let made = chosen.iter().filter(|chosen| **chosen).count();
            report.scalars.push(("augmented_share", made as f64 / count as f64));
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
