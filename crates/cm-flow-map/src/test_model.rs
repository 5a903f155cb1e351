//! What this crate's tests train: a small network of two numbers, in few steps.

use cm_diffusion::Edm;
use cm_image::ImageShape;
use cm_image::random::Random;
use cm_network::{Conditions, EmbeddingConfig, MlpConfig, Network, NetworkConfig, ScaleConfig};
use cm_tensor::Weights;
use cm_training::{
    DecayConfig, Duration, EmaConfig, LearningRateConfig, MomentsConfig, OptimiserConfig, TrainConfig,
};

pub(crate) const EDM: Edm = Edm { sigma_data: 0.5 };
pub(crate) const SHAPE: ImageShape = ImageShape::vector(2);

/// A network of this width that is told where its jumps end, or not.
pub(crate) fn network(width: usize, second_time: bool) -> (Box<dyn Network>, Weights) {
    let config = MlpConfig {
        width,
        blocks: 2,
        embedding: EmbeddingConfig::Positional(ScaleConfig { scale: 4.0, ..ScaleConfig::default() }),
        ..MlpConfig::default()
    };
    let conditions = Conditions { second_time, ..Conditions::default() };
    NetworkConfig::Mlp(config).build(SHAPE, conditions, 0).unwrap()
}

/// Weights moved by `scale` times standard normal numbers, so that none is 0, the last layer's included.
pub(crate) fn shaken(weights: &Weights, scale: f32, seed: u64) -> Weights {
    let (mut weights, mut random) = (weights.clone(), Random::new(seed));
    weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += scale * random.normal()));
    weights
}

/// A training whose learning rate falls from 4e-3, with an average of decay `ema`.
pub(crate) fn training(total_images: u64, batch: usize, decay: DecayConfig, ema: f32) -> TrainConfig {
    TrainConfig {
        total_images,
        batch,
        optimiser: OptimiserConfig::Adam(MomentsConfig::default()),
        learning_rate: LearningRateConfig { peak: 4e-3, warmup: Duration::Images(0), decay },
        ema: vec![EmaConfig::PerStep(ema)],
        ..TrainConfig::default()
    }
}
