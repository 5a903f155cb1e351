//! The learned weight of a noise level: e^w with w fitted so that every level's weighted loss is 1.

use super::WeightHeadConfig;
use cm_diffusion::Sigma;
use cm_image::random::Random;
use cm_tensor::{CheckpointError, TensorFile, Weights};
use cm_training::{Progress, TrainConfig, TrainState};
use std::f64::consts::{SQRT_2, TAU};

/// Its entries of a checkpoint begin so.
const PREFIX: &str = "weight_head/";
/// The seed of the embedding's frequencies; another run with other seeds has the same.
const SEED: u64 = 0;

/// w(sigma), linear in cosines of ln(sigma) / 4 with random frequencies and phases (Karras et al. 2024, EDM2's log-variance
/// with its sign turned), and its own optimiser; it begins at 0. It minimises e^w loss - w.
pub(super) struct WeightHead {
    /// Frequency and phase of each wave.
    waves: Vec<(f64, f64)>,
    state: TrainState,
}

impl WeightHead {
    /// A head that is trained with the optimiser and the learning rate of `train`.
    pub(super) fn new(WeightHeadConfig { channels }: WeightHeadConfig, train: &TrainConfig) -> Self {
        let mut random = Random::new(SEED);
        let waves =
            (0..channels).map(|_| (TAU * f64::from(random.normal()), TAU * random.uniform_f64())).collect();
        let mut weights = Weights::new();
        weights.add("linear", &[channels], vec![0.0; channels]);
        let train = TrainConfig { gradient_clip: None, ema: Vec::new(), snapshots: None, ..train.clone() };
        Self { waves, state: TrainState::new(&train, weights, false) }
    }

    /// The cosines at a level; the mean of their squares is 1 / `channels`.
    fn features(&self, sigma: Sigma) -> impl Iterator<Item = f64> {
        let place = libm::log(f64::from(sigma.get())) / 4.0;
        let scale = SQRT_2 / (self.waves.len() as f64).sqrt();
        self.waves.iter().map(move |(frequency, phase)| scale * libm::cos(frequency * place + phase))
    }

    /// w at a level.
    pub(super) fn log_weight(&self, sigma: Sigma) -> f64 {
        let (_, _, linear) = self.state.weights.iter().next().expect("its one array");
        self.features(sigma).zip(linear).map(|(feature, &factor)| feature * f64::from(factor)).sum()
    }

    /// One step from the weighted losses e^w loss of some levels.
    pub(super) fn step(&mut self, losses: impl Iterator<Item = (Sigma, f64)>, progress: Progress) {
        let mut gradient = vec![0.0; self.waves.len()];
        let mut count = 0.0;
        for (sigma, loss) in losses {
            count += 1.0;
            let features = self.features(sigma);
            gradient.iter_mut().zip(features).for_each(|(sum, feature)| *sum += (loss - 1.0) * feature);
        }
        // A loss beyond single precision would stop the model's own training; here it must not.
        let narrow = |sum: f64| (sum / count).clamp(-1e30, 1e30) as f32;
        self.state.follow(&[gradient.into_iter().map(narrow).collect()], progress);
    }

    /// Writes all of it beside what is in `file`.
    pub(super) fn save(&self, file: &mut TensorFile) {
        let mut own = TensorFile::default();
        self.state.save(&mut own);
        let named =
            own.arrays.into_iter().map(|(name, shape, values)| (PREFIX.to_owned() + &name, shape, values));
        file.arrays.extend(named);
        file.metadata.extend(own.metadata.into_iter().map(|(key, text)| (PREFIX.to_owned() + &key, text)));
    }

    /// Restores what [`save`](Self::save) wrote.
    pub(super) fn load(&mut self, file: &TensorFile) -> Result<(), CheckpointError> {
        let mut own = TensorFile::default();
        for (name, shape, values) in &file.arrays {
            if let Some(name) = name.strip_prefix(PREFIX) {
                own.arrays.push((name.to_owned(), shape.clone(), values.clone()));
            }
        }
        let text = file.metadata.iter().filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?, text)));
        own.metadata.extend(text.map(|(key, text)| (key.to_owned(), text.clone())));
        self.state.load(&own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_training::{LearningRateConfig, MomentsConfig, OptimiserConfig};

    fn sigma(log: f64) -> Sigma {
        Sigma::new(log.exp() as f32).unwrap()
    }

    fn train() -> TrainConfig {
        TrainConfig {
            optimiser: OptimiserConfig::Adam(MomentsConfig::default()),
            learning_rate: LearningRateConfig { peak: 1e-3, ..LearningRateConfig::default() },
            ..TrainConfig::default()
        }
    }

    const PROGRESS: Progress = Progress { step: 0, images: 0, total_images: 1 };

    /// A loss that is e^(2 + sin ln sigma) is weighted until it is 1, at every level.
    #[test]
    fn weighted_losses_become_1_at_every_level() {
        let mut head = WeightHead::new(WeightHeadConfig::default(), &train());
        let loss = |log: f64| (2.0 + log.sin()).exp();
        assert_eq!(head.log_weight(sigma(0.3)), 0.0);
        let mut random = Random::new(1);
        for _ in 0..3_000 {
            let logs: Vec<f64> = (0..32).map(|_| -1.0 + 1.4 * f64::from(random.normal())).collect();
            let weighted: Vec<_> =
                logs.iter().map(|&log| (sigma(log), head.log_weight(sigma(log)).exp() * loss(log))).collect();
            head.step(weighted.into_iter(), PROGRESS);
        }
        for log in [-3.0, -2.0, -1.0, 0.0, 1.0] {
            let weighted = head.log_weight(sigma(log)).exp() * loss(log);
            assert!((0.8..1.25).contains(&weighted), "ln sigma {log}: {weighted}");
        }
    }

    /// The gradient of the mean of e^w loss - w, by differences: one step of Adam goes against its sign by its rate.
    #[test]
    fn a_step_goes_against_the_gradient() {
        let mut head = WeightHead::new(WeightHeadConfig { channels: 6 }, &train());
        let losses = [(sigma(-2.0), 3.0), (sigma(0.5), 0.2)];
        let value = |linear: &[f64], head: &WeightHead| {
            let of = |(sigma, loss): (Sigma, f64)| {
                let w: f64 = head.features(sigma).zip(linear).map(|(a, b)| a * b).sum();
                w.exp() * loss - w
            };
            losses.into_iter().map(of).sum::<f64>() / 2.0
        };
        let gradient: Vec<f64> = (0..6)
            .map(|place| {
                let at = |step: f64| {
                    value(&std::array::from_fn::<f64, 6, _>(|i| if i == place { step } else { 0.0 }), &head)
                };
                (at(1e-5) - at(-1e-5)) / 2e-5
            })
            .collect();
        head.step(losses.into_iter(), PROGRESS);
        let moved: Vec<f32> = head.state.weights.iter().next().unwrap().2.to_vec();
        for (moved, gradient) in moved.iter().zip(gradient) {
            assert!((f64::from(*moved) + 1e-3 * gradient.signum()).abs() < 1e-6, "{moved} {gradient}");
        }
    }

    #[test]
    fn a_head_that_is_saved_goes_on_where_it_was() {
        let losses = || [(sigma(-1.0), 4.0), (sigma(1.0), 0.1)].into_iter();
        let mut straight = WeightHead::new(WeightHeadConfig { channels: 8 }, &train());
        straight.step(losses(), PROGRESS);
        let mut file = TensorFile::default();
        file.metadata.insert("step".into(), "7".into());
        straight.save(&mut file);
        let mut resumed = WeightHead::new(WeightHeadConfig { channels: 8 }, &train());
        resumed.load(&file).unwrap();
        for head in [&mut straight, &mut resumed] {
            head.step(losses(), PROGRESS);
        }
        assert_eq!(straight.log_weight(sigma(0.2)), resumed.log_weight(sigma(0.2)));
        assert!(resumed.load(&TensorFile::default()).is_err());
    }
}
