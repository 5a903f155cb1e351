//! Denoising score matching: E[lambda(sigma) |D(y + sigma n; sigma) - y|^2], Karras et al. 2022, Equation 2.

use crate::TeacherConfig;
use crate::teacher::scaling;
use cm_diffusion::{Edm, NoiseDistribution, Sigma, Weighting, WeightingConfig, noise};
use cm_image::random::Random;
use cm_network::{Extra, Network, check_labels};
use cm_tensor::ops::{PairDistance, pair_distance};
use cm_tensor::{Graph, Images, Weights};
use cm_training::{Batch, GradientSum, Progress, StepReport, StepSeed, TrainError, TrainState, TrainStep};

/// The stream of a step's seed from which noise levels are drawn; images' noise uses seeds derived per image.
const LEVELS_STREAM: u64 = 1;

/// Training of a [`crate::Teacher`].
pub struct TeacherStep<'a> {
    network: &'a dyn Network,
    precondition: Edm,
    noise: Box<dyn NoiseDistribution>,
    weighting: Box<dyn Weighting>,
    label_dropout: f32,
    state: TrainState,
}

impl<'a> TeacherStep<'a> {
    /// Training from `weights`, which are the network's. `noise` is the built [`TeacherConfig::noise`].
    pub fn new(
        config: &TeacherConfig,
        network: &'a dyn Network,
        weights: Weights,
        precondition: Edm,
        noise: Box<dyn NoiseDistribution>,
    ) -> Self {
        Self {
            network,
            precondition,
            noise,
            // lambda = 1 / c_out^2, so that the network's own error counts the same at every level.
            weighting: WeightingConfig::Karras.build(precondition.sigma_data),
            label_dropout: config.label_dropout,
            state: TrainState::new(&config.train, weights, false),
        }
    }
}

impl TrainStep for TeacherStep<'_> {
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
        let batch = batch.untold(self.label_dropout, seed);
        let mut random = Random::with_stream(seed.noise(), LEVELS_STREAM);
        let sigma: Vec<Sigma> = (0..count).map(|_| self.noise.draw(&mut random)).collect();
        let weights: Vec<f32> = sigma.iter().map(|&s| self.weighting.weight(s, s) / count as f32).collect();
        let mut sum = GradientSum::new(count);
        for shard in self.state.shards(count) {
            let Batch { images: clean, labels } = batch.slice(shard.images.clone());
            let labels = check_labels(self.network, &labels, clean.count()).map_err(TrainError::model)?;
            let sigma = &sigma[shard.images.clone()];
            let noise = noise::batch_noise(clean.shape(), &seed.image_noise(shard.images.clone()), 0);
            let noisy = noise::perturb(&clean, sigma, &noise);
            let mut graph = Graph::recording();
            let changes = seed.augmentation(shard.images.clone());
            let extra = Extra {
                labels,
                augmentation: changes.as_deref(),
                dropout_key: Some(shard.dropout_key(seed)),
                ..Extra::default()
            };
            let denoised = self.network.forward_scaled(
                &mut graph,
                &self.state.weights,
                &Images::from_batch(&noisy),
                &scaling(&self.precondition, sigma),
                extra,
            );
            let errors =
                pair_distance(&mut graph, PairDistance::SquaredL2, &denoised, &Images::from_batch(&clean));
            sum.add(&shard, graph, &errors, weights[shard.images.clone()].to_vec(), &self.state.weights);
        }
        let levels = |image: usize| (sigma[image].get(), sigma[image].get());
        self.state.descend_by(sum, &weights, (progress, seed), 0.0, levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Teacher;
    use cm_diffusion::{Denoiser, Guidance, Guided, NoiseDistributionConfig};
    use cm_image::{ImageBatch, ImageShape, NO_CLASS};
    use cm_network::{Conditions, EmbeddingConfig, FourierConfig, MlpConfig, NetworkConfig};
    use cm_tensor::TensorFile;
    use cm_training::{Control, DecayConfig, Duration, EmaConfig, LearningRateConfig, TrainConfig, train};

    fn config(total_images: u64) -> TeacherConfig {
        TeacherConfig {
            train: TrainConfig {
                total_images,
                batch: 128,
                learning_rate: LearningRateConfig {
                    peak: 3e-3,
                    warmup: Duration::Images(1000),
                    decay: DecayConfig::Cosine,
                },
                ema: vec![EmaConfig::PerStep(0.98)],
                ..TeacherConfig::default().train
            },
            ..TeacherConfig::default()
        }
    }

    fn network(conditions: Conditions) -> (Box<dyn Network>, Weights) {
        let config = MlpConfig {
            width: 64,
            blocks: 2,
            embedding: EmbeddingConfig::Fourier(FourierConfig { scale: 0.5, width: 1 }),
            ..MlpConfig::default()
        };
        NetworkConfig::Mlp(config).build(ImageShape::vector(1), conditions, 0).unwrap()
    }

    /// Two points at -1 and 1, labelled 0 and 1: the exact denoiser is tanh(x / sigma^2).
    fn two_points(step: u64, batch: usize) -> Batch {
        let mut random = Random::with_stream(9, step);
        let images = ImageBatch::from_fn(ImageShape::vector(1), batch, |_, v| {
            v[0] = if random.below(2) == 0 { -1.0 } else { 1.0 };
        });
        let labels = images.values().iter().map(|&x| u32::from(x > 0.0)).collect();
        Batch { images, labels }
    }

    fn trained(total_images: u64, conditions: Conditions) -> TrainState {
        let (network, weights) = network(conditions);
        let config = config(total_images);
        let noise = NoiseDistributionConfig::default().build().unwrap();
        let mut step = TeacherStep::new(&config, network.as_ref(), weights, Edm { sigma_data: 1.0 }, noise);
        let end: Result<_, TrainError> = train(
            &mut step,
            &config.train,
            0,
            (1, 2),
            |k| Ok(two_points(k, 128)),
            |_, _| Ok(Control::Continue),
        );
        assert_eq!(end.unwrap(), Control::Continue);
        step.state
    }

    #[test]
    fn training_finds_the_exact_denoiser_of_two_points() {
        let state = trained(250_000, Conditions::default());
        let (network, _) = network(Conditions::default());
        let teacher = Teacher::new(network.as_ref(), state.averages[0].clone(), Edm { sigma_data: 1.0 });
        let mut random = Random::new(4);
        let (mut squares, mut untrained_squares, n) = (0.0, 0.0, 2_000);
        for _ in 0..n {
            // Where the data puts its points: elsewhere nothing was learnt, and nothing is asked.
            let sigma = 0.2 + 2.0 * random.uniform();
            let x = if random.below(2) == 0 { -1.0 } else { 1.0 } + sigma * random.normal();
            let noisy = ImageBatch::new(ImageShape::vector(1), vec![x]).unwrap();
            let learnt = teacher.denoise(&noisy, &[Sigma::new(sigma).unwrap()], &[]).unwrap().values()[0];
            let exact = (x / (sigma * sigma)).tanh();
            squares += (learnt - exact).powi(2) / n as f32;
            untrained_squares += (x / (sigma * sigma + 1.0) - exact).powi(2) / n as f32;
        }
        let (error, untrained) = (squares.sqrt(), untrained_squares.sqrt());
        assert!(error < 0.25 * untrained, "RMS error {error}; of an untrained network {untrained}");
        assert!(untrained > 0.2, "{untrained}");
    }

    #[test]
    fn told_the_class_it_draws_that_class() {
        let two = Conditions { classes: Some(2), ..Conditions::default() };
        let state = trained(100_000, two);
        let (network, _) = network(two);
        let teacher = Teacher::new(network.as_ref(), state.averages[0].clone(), Edm { sigma_data: 1.0 });
        // Noise so strong that the image says nothing: without the class the answer would be 0.
        let noisy = ImageBatch::zeros(ImageShape::vector(1), 2);
        let sigma = [Sigma::new(3.0).unwrap(); 2];
        let told = teacher.denoise(&noisy, &sigma, &[0, 1]).unwrap();
        assert!((told.values()[0] + 1.0).abs() < 0.1 && (told.values()[1] - 1.0).abs() < 0.1, "{told:?}");
        let untold = teacher.denoise(&noisy, &sigma, &[]).unwrap_err();
        assert!(untold.to_string().contains("0 labels for 2 images"), "{untold}");
        let wrong = teacher.denoise(&noisy, &sigma, &[0, 2]).unwrap_err();
        assert!(wrong.to_string().contains("label 2"), "{wrong}");
    }

    /// Guided from what it says without a class, which is the mean of both, the classes lie further apart.
    #[test]
    fn with_classes_untold_it_also_knows_both_together_and_can_be_guided() {
        let two = Conditions { classes: Some(2), ..Conditions::default() };
        let (network, weights) = network(two);
        let config = TeacherConfig { label_dropout: 0.3, ..config(100_000) };
        let noise = NoiseDistributionConfig::default().build().unwrap();
        let edm = Edm { sigma_data: 1.0 };
        let mut step = TeacherStep::new(&config, network.as_ref(), weights, edm, noise);
        let end: Result<_, TrainError> = train(
            &mut step,
            &config.train,
            0,
            (1, 2),
            |k| Ok(two_points(k, 128)),
            |_, _| Ok(Control::Continue),
        );
        assert_eq!(end.unwrap(), Control::Continue);
        let teacher = Teacher::new(network.as_ref(), step.state.averages[0].clone(), edm);
        let noisy = ImageBatch::zeros(ImageShape::vector(1), 3);
        let sigma = [Sigma::new(2.0).unwrap(); 3];
        let told = teacher.denoise(&noisy, &sigma, &[0, 1, NO_CLASS]).unwrap();
        for (answer, exact) in told.values().iter().zip([-1.0, 1.0, 0.0]) {
            assert!((answer - exact).abs() < 0.15, "{told:?}");
        }
        let guided = Guided { denoiser: teacher, guidance: Guidance { weight: 2.0, ..Guidance::default() } };
        let driven = guided.denoise(&noisy, &sigma, &[0, 1, NO_CLASS]).unwrap();
        assert!(driven.values()[0] < -1.6 && driven.values()[1] > 1.6, "{driven:?}");
        assert_eq!(driven.values()[2], told.values()[2]);
    }

    #[test]
    fn images_without_the_classes_a_network_wants_are_an_error() {
        let (network, weights) = network(Conditions { classes: Some(2), ..Conditions::default() });
        let config = config(1_000);
        let noise = NoiseDistributionConfig::default().build().unwrap();
        let mut step = TeacherStep::new(&config, network.as_ref(), weights, Edm { sigma_data: 1.0 }, noise);
        let batch = Batch { labels: vec![], ..two_points(0, 4) };
        let progress = Progress { step: 0, images: 0, total_images: 1_000 };
        let error = step.step(&batch, progress, StepSeed::new(0, 0, 0)).unwrap_err();
        assert!(error.to_string().contains("0 labels for 4 images"), "{error}");
    }

    #[test]
    fn the_same_seeds_give_the_same_weights() {
        let arrays = |state: TrainState| {
            let mut file = TensorFile::default();
            state.save(&mut file);
            file
        };
        assert_eq!(
            arrays(trained(2_000, Conditions::default())),
            arrays(trained(2_000, Conditions::default()))
        );
    }

    #[test]
    fn a_loss_that_is_not_finite_stops_before_the_update() {
        let (network, weights) = network(Conditions::default());
        let config = config(1_000);
        let noise = NoiseDistributionConfig::default().build().unwrap();
        let mut step = TeacherStep::new(&config, network.as_ref(), weights, Edm { sigma_data: 1.0 }, noise);
        let images = ImageBatch::new(ImageShape::vector(1), vec![f32::NAN; 4]).unwrap();
        let progress = Progress { step: 7, images: 0, total_images: 1_000 };
        let error =
            step.step(&Batch { images, labels: vec![] }, progress, StepSeed::new(0, 0, 7)).unwrap_err();
        assert!(matches!(error, TrainError::NotFinite { what: "loss", step: 7, .. }), "{error}");
        assert_eq!(step.state().step(), 0);
    }
}
