//! Consistency mid-training: between the diffusion model and the consistency model, plain regression from the states of
//! the teacher's trajectories to their ends (Hu et al. 2025, CMT).

use crate::Distance;
use crate::model::scaling;
use cm_diffusion::{Boundary, Sigma, Weighting};
use cm_image::ImageBatch;
use cm_image::random::Random;
use cm_network::{Extra, Network, check_labels};
use cm_tensor::{Graph, Images, Weights};
use cm_training::{
    Batch, GradientSum, Progress, StepReport, StepSeed, TrainConfig, TrainError, TrainState, TrainStep,
};

/// The stream of a step's seed from which states are drawn.
const STATES_STREAM: u64 = 1;

/// Trajectories of a teacher, kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectories {
    states: Vec<(Sigma, ImageBatch)>,
    ends: ImageBatch,
    labels: Vec<u32>,
}

impl Trajectories {
    /// At each level the states of all trajectories, where they end, and their classes, if they have any.
    ///
    /// # Panics
    /// If there is no level or no trajectory, or counts or shapes disagree.
    pub fn new(states: Vec<(Sigma, ImageBatch)>, ends: ImageBatch, labels: Vec<u32>) -> Self {
        let same = |(_, x): &(Sigma, ImageBatch)| x.count() == ends.count() && x.shape() == ends.shape();
        assert!(
            !states.is_empty() && ends.count() > 0 && states.iter().all(same),
            "trajectories that differ"
        );
        assert!(labels.is_empty() || labels.len() == ends.count(), "a label for each trajectory");
        Self { states, ends, labels }
    }

    /// `count` states, each of any trajectory at any level alike: level, state, end and class of each.
    fn draw(&self, count: usize, random: &mut Random) -> (Vec<Sigma>, ImageBatch, ImageBatch, Vec<u32>) {
        let shape = self.ends.shape();
        let mut sigma = Vec::with_capacity(count);
        let (mut noisy, mut ends) = (ImageBatch::zeros(shape, 0), ImageBatch::zeros(shape, 0));
        let mut labels = Vec::new();
        for _ in 0..count {
            let trajectory = random.below(self.ends.count() as u64) as usize;
            let (level, states) = &self.states[random.below(self.states.len() as u64) as usize];
            sigma.push(*level);
            noisy.append(&states.slice(trajectory..trajectory + 1));
            ends.append(&self.ends.slice(trajectory..trajectory + 1));
            labels.extend(self.labels.get(trajectory));
        }
        (sigma, noisy, ends, labels)
    }
}

/// Mid-training of a [`crate::ConsistencyModel`]: E[lambda(t) d(f(x_t, t), x_end)] over the states x_t of the teacher's
/// trajectories. No pair, no target network, no schedule; the data themselves are not looked at.
pub struct MidTrainingStep<'a> {
    network: &'a dyn Network,
    precondition: Boundary,
    trajectories: &'a Trajectories,
    distance: Box<dyn Distance>,
    weighting: Box<dyn Weighting>,
    state: TrainState,
}

impl<'a> MidTrainingStep<'a> {
    /// Training from `weights`, which are the network's.
    pub fn new(
        config: &TrainConfig,
        network: &'a dyn Network,
        weights: Weights,
        precondition: Boundary,
        trajectories: &'a Trajectories,
        distance: Box<dyn Distance>,
        weighting: Box<dyn Weighting>,
    ) -> Self {
        let state = TrainState::new(config, weights, false);
        Self { network, precondition, trajectories, distance, weighting, state }
    }
}

impl TrainStep for MidTrainingStep<'_> {
    fn state(&self) -> &TrainState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut TrainState {
        &mut self.state
    }

    fn step(&mut self, batch: &Batch, progress: Progress, seed: StepSeed) -> Result<StepReport, TrainError> {
        let expected = self.network.shape();
        if self.trajectories.ends.shape() != expected {
            return Err(TrainError::Shape { given: self.trajectories.ends.shape(), expected });
        }
        let count = batch.images.count();
        let mut random = Random::with_stream(seed.noise(), STATES_STREAM);
        let (sigma, noisy, ends, labels) = self.trajectories.draw(count, &mut random);
        let min = Sigma::new(self.precondition.sigma_min).map_err(TrainError::model)?;
        let weights: Vec<f32> =
            sigma.iter().map(|&level| self.weighting.weight(level, min) / count as f32).collect();
        let all = Batch { images: noisy, labels };
        let mut sum = GradientSum::new(count);
        for shard in self.state.shards(count) {
            let Batch { images: noisy, labels } = all.slice(shard.images.clone());
            let labels = check_labels(self.network, &labels, noisy.count()).map_err(TrainError::model)?;
            let extra = Extra { labels, dropout_key: Some(shard.dropout_key(seed)), ..Extra::default() };
            let mut graph = Graph::recording();
            let student = self.network.forward_scaled(
                &mut graph,
                &self.state.weights,
                &Images::from_batch(&noisy),
                &scaling(&self.precondition, &sigma[shard.images.clone()]),
                extra,
            );
            let ends = Images::from_batch(&ends.slice(shard.images.clone()));
            let distances = self.distance.distance(&mut graph, &student, &ends);
            sum.add(&shard, graph, &distances, weights[shard.images.clone()].to_vec(), &self.state.weights);
        }
        let levels = |image: usize| (sigma[image].get(), sigma[image].get());
        self.state.descend_by(sum, &weights, (progress, seed), 0.0, levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConsistencyModel, Pixels};
    use cm_diffusion::analytic::GaussianMixture;
    use cm_diffusion::{
        ConsistencyFunction, DiscretisationConfig, DpmSolverPlusPlus, FlowEnd, Labels, NumLevels,
        SpacingConfig, WeightingConfig, noise,
    };
    use cm_image::ImageShape;
    use cm_network::{Conditions, EmbeddingConfig, MlpConfig, NetworkConfig, ScaleConfig};
    use cm_tensor::ops::PairDistance;
    use cm_training::{
        Control, DecayConfig, Duration, EmaConfig, LearningRateConfig, MomentsConfig, OptimiserConfig, train,
    };

    const SHAPE: ImageShape = ImageShape::vector(2);

    fn mixture() -> GaussianMixture {
        GaussianMixture::new(vec![1.0; 2], vec![vec![0.6, 0.2], vec![-0.6, -0.2]], vec![0.2, 0.2]).unwrap()
    }

    /// Trajectories of the exact denoiser from 10 to 0.02, by DPM-Solver++ on 17 levels.
    fn trajectories(count: u64) -> Trajectories {
        let grid =
            DiscretisationConfig { sigma_min: 0.02, sigma_max: 10.0, spacing: SpacingConfig::default() };
        let levels = grid.build().unwrap().noise_levels(NumLevels::new(17).unwrap()).unwrap();
        let mixture = mixture();
        let solver = DpmSolverPlusPlus {
            denoiser: &mixture,
            shape: SHAPE,
            levels: &levels,
            end: FlowEnd::SigmaMin,
            labels: Labels::None,
        };
        let start = noise::batch_noise(SHAPE, &(0..count).collect::<Vec<_>>(), 0).map(|z| 10.0 * z);
        let mut states = vec![start.clone()];
        let ends = solver.follow(start, &[], &mut |x| states.push(x.clone())).unwrap();
        assert_eq!((states.len(), states.last()), (17, Some(&ends)));
        let states = levels.as_slice().iter().copied().zip(states).take(16).collect();
        Trajectories::new(states, ends, vec![])
    }

    #[test]
    fn a_state_is_drawn_with_its_own_level_and_end() {
        let kept = trajectories(5);
        let (sigma, noisy, ends, labels) = kept.draw(200, &mut Random::new(1));
        assert!(labels.is_empty());
        let mut seen = std::collections::BTreeSet::new();
        for (image, drawn) in sigma.iter().enumerate() {
            let level = kept.states.iter().position(|(level, _)| level == drawn).unwrap();
            let states = &kept.states[level].1;
            let place = (0..5).find(|&other| states.image(other) == noisy.image(image)).unwrap();
            assert_eq!(ends.image(image), kept.ends.image(place));
            seen.insert((level, place));
        }
        assert!(seen.len() > 60, "of 80: {}", seen.len());
    }

    /// After mid-training one evaluation ends near the exact flow's end, from noise that no trajectory was kept of.
    #[test]
    fn one_evaluation_ends_near_the_flow_s_end() {
        let config = MlpConfig {
            width: 32,
            blocks: 2,
            embedding: EmbeddingConfig::Positional(ScaleConfig { scale: 4.0, ..ScaleConfig::default() }),
            ..MlpConfig::default()
        };
        let (network, weights) = NetworkConfig::Mlp(config).build(SHAPE, Conditions::default(), 0).unwrap();
        let kept = trajectories(2_000);
        let config = TrainConfig {
            total_images: 160_000,
            batch: 64,
            optimiser: OptimiserConfig::Adam(MomentsConfig::default()),
            learning_rate: LearningRateConfig {
                peak: 4e-3,
                warmup: Duration::Images(0),
                decay: DecayConfig::Cosine,
            },
            ema: vec![EmaConfig::PerStep(0.98)],
            ..TrainConfig::default()
        };
        let boundary = Boundary { sigma_data: 0.5, sigma_min: 0.02 };
        let mut step = MidTrainingStep::new(
            &config,
            network.as_ref(),
            weights.clone(),
            boundary,
            &kept,
            Box::new(Pixels(PairDistance::SquaredL2)),
            WeightingConfig::Uniform.build(0.5),
        );
        let batch = Batch { images: ImageBatch::zeros(SHAPE, 64), labels: vec![] };
        let end: Result<_, TrainError> =
            train(&mut step, &config, 0, (1, 2), |_| Ok(batch.clone()), |_, _| Ok(Control::Continue));
        assert_eq!(end.unwrap(), Control::Continue);
        let seeds: Vec<u64> = (100_000..100_256).collect();
        let start = noise::batch_noise(SHAPE, &seeds, 0).map(|z| 10.0 * z);
        let sigma = |level: f32| vec![Sigma::new(level).unwrap(); 256];
        let exact = mixture().flow(&start, &sigma(10.0), &sigma(0.02)).unwrap();
        let rmse = |weights: &Weights| {
            let model = ConsistencyModel::new(network.as_ref(), weights.clone(), boundary);
            let ends = model.endpoint(&start, &sigma(10.0), &[]).unwrap();
            let squares = ends.values().iter().zip(exact.values()).map(|(a, b)| f64::from(a - b).powi(2));
            (squares.sum::<f64>() / 512.0).sqrt()
        };
        let (trained, fresh) = (rmse(&step.state.averages[0]), rmse(&weights));
        assert!(trained < 0.3 * fresh, "{trained} {fresh}");
    }
}
