//! How a teacher is trained, as data.

use cm_diffusion::NoiseDistributionConfig;
use cm_training::{
    DecayConfig, Duration, EmaConfig, LearningRateConfig, MomentsConfig, OptimiserConfig, TrainConfig,
};
use serde::{Deserialize, Serialize};

/// EDM training of a denoiser (Karras et al. 2022).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherConfig {
    /// Batches, optimiser, learning rate, averages.
    pub train: TrainConfig,
    /// Which noise levels are trained.
    pub noise: NoiseDistributionConfig,
    /// The share of images whose class is not told, in [0, 1): guidance asks for answers without it.
    // Not written where it is 0, so that teachers made before it was known are found again.
    #[serde(skip_serializing_if = "is_zero")]
    pub label_dropout: f32,
    /// The share of values dropped in its network while it is trained, in [0, 1). None, and not written: the network's own,
    /// which is the student's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_zero(share: &f32) -> bool {
    *share == 0.0
}

impl Default for TeacherConfig {
    fn default() -> Self {
        Self {
            train: TrainConfig {
                total_images: 200_000_000, // Karras et al. 2022, Table 7, CIFAR-10
                batch: 512,                // Karras et al. 2022, Table 7, CIFAR-10
                optimiser: OptimiserConfig::Adam(MomentsConfig::default()), // Karras et al. 2022, Appendix F.1
                learning_rate: LearningRateConfig {
                    peak: 1e-3,                           // Karras et al. 2022, Table 7, CIFAR-10
                    warmup: Duration::Images(10_000_000), // Karras et al. 2022, Table 7
                    decay: DecayConfig::Constant,         // Karras et al. 2022, Appendix F.1
                },
                gradient_clip: None, // Karras et al. 2022: none
                ema: vec![EmaConfig::HalfLife(Duration::Images(500_000))], // Karras et al. 2022, Table 7
                ..TrainConfig::default()  // the rest as beside that type
            },
            noise: NoiseDistributionConfig::default(), // beside that type
            label_dropout: 0.0,                        // Karras et al. 2022: classes are always told
            dropout: None, // Song et al. 2023: teacher and student have the same network
        }
    }
}
