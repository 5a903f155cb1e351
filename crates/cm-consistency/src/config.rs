//! How a consistency model is trained, as data.

use crate::{CouplingConfig, HalvingConfig, TruncationConfig};
use cm_diffusion::{DiscretisationConfig, IndexLawConfig, WeightingConfig};
use cm_image::ImageShape;
use cm_network::Counts;
use cm_network::feature_net::{Classifier, Lpips, LpipsOptions};
use cm_training::TrainConfig;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Consistency distillation or training: everything but where the lower point of a pair comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsistencyConfig {
    /// Batches, optimiser, learning rate, evaluation averages.
    pub train: TrainConfig,
    /// The weights training starts from.
    pub init: InitConfig,
    /// Range and spacing of the noise levels.
    pub discretisation: DiscretisationConfig,
    /// The number N of noise levels over the run.
    pub curriculum: CurriculumConfig,
    /// How often each pair of adjacent levels is drawn.
    pub index_law: IndexLawConfig,
    /// The network that makes the target.
    pub target: TargetConfig,
    /// The distance d between the two outputs of a pair.
    pub distance: DistanceConfig,
    /// The weight lambda of a pair.
    pub weighting: WeightingConfig,
    /// The segments of the noise levels within each of which the model is consistent, at least 1; more than one make it
    /// a multistep consistency model (Heek et al. 2024).
    pub segments: usize,
    /// Which image the points of a pair belong to, in training without a teacher.
    // Not written where it is the default, so that plans made before it was known stay the same.
    #[serde(skip_serializing_if = "CouplingConfig::is_independent")]
    pub coupling: CouplingConfig,
    /// Training at the upper levels alone, above the model that it starts from. None: at all levels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncation: Option<TruncationConfig>,
}

impl Default for ConsistencyConfig {
    fn default() -> Self {
        Self {
            train: TrainConfig::default(), // each part beside its type
            init: InitConfig::default(),
            discretisation: DiscretisationConfig::default(),
            curriculum: CurriculumConfig::default(),
            index_law: IndexLawConfig::default(),
            target: TargetConfig::default(),
            distance: DistanceConfig::default(),
            weighting: WeightingConfig::default(),
            segments: 1, // Song et al. 2023: consistent over all noise levels
            coupling: CouplingConfig::default(), // beside that type
            truncation: None, // Song et al. 2023
        }
    }
}

/// The weights training starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum InitConfig {
    /// The teacher's averaged weights (Song et al. 2023, Algorithm 2).
    #[default] // Song et al. 2023, Algorithm 2
    Teacher,
    /// Fresh random weights (Song et al. 2023, Algorithm 3).
    Random,
}

/// The number N of noise levels as a function of the images seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum CurriculumConfig {
    /// The same N throughout.
    Fixed(FixedConfig),
    /// N(k) = ceil(sqrt(k/K ((s1 + 1)^2 - s0^2) + s0^2) - 1) + 1 (Song et al. 2023, Appendix C).
    Progressive(ProgressiveConfig),
    /// N(k) = min(s0 2^floor(k/K'), s1) + 1 with K' = K / (log2(floor(s1/s0)) + 1) (Song and Dhariwal 2024,
    /// Section 3.4).
    Doubling(DoublingConfig),
    /// No levels: pairs of any t and r < t, whose gap shrinks from stage to stage (Geng et al. 2025, ECT). Of the
    /// discretisation only the range counts, and of the laws of intervals none.
    Continuous(ContinuousConfig),
    /// Progressive distillation's own: S + 1 levels for S steps, and S is halved from stage to stage (Salimans and Ho
    /// 2022).
    Halving(HalvingConfig),
}

impl Default for CurriculumConfig {
    fn default() -> Self {
        Self::Fixed(FixedConfig::default()) // Song et al. 2023, Table 3: distillation has a fixed N
    }
}

/// Constants of [`CurriculumConfig::Fixed`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FixedConfig {
    /// N, at least 2.
    pub num_levels: usize,
}

impl Default for FixedConfig {
    fn default() -> Self {
        Self {
            num_levels: 18, // Song et al. 2023, Table 3, CIFAR-10
        }
    }
}

/// Constants of [`CurriculumConfig::Progressive`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProgressiveConfig {
    /// s0: intervals at the start, plus one; at least 2.
    pub start: usize,
    /// s1: intervals at the end; at least `start`.
    pub end: usize,
}

impl Default for ProgressiveConfig {
    fn default() -> Self {
        Self {
            start: 2, // Song et al. 2023, Table 3
            end: 150, // Song et al. 2023, Table 3, CIFAR-10
        }
    }
}

/// Constants of [`CurriculumConfig::Doubling`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoublingConfig {
    /// s0: intervals in the first phase, at least 1.
    pub start: usize,
    /// s1: intervals in the last phase, at least `start`.
    pub end: usize,
}

impl Default for DoublingConfig {
    fn default() -> Self {
        Self {
            start: 10, // Song and Dhariwal 2024, Section 3.4
            end: 1280, // Song and Dhariwal 2024, Section 3.4
        }
    }
}

/// Constants of [`CurriculumConfig::Continuous`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContinuousConfig {
    /// Mean of ln t, any whose law stays in single precision: |mean| + 6 std at most 80.
    pub mean: f32,
    /// Standard deviation of ln t, at least 0.
    pub std: f32,
    /// The gap shrinks by this factor from stage to stage; above 1.
    pub q: f32,
    /// How much wider the gap is for small t; at least 0.
    pub k: f32,
    /// How fast that falls with t; at least 0.
    pub b: f32,
    /// Stages of equal length, 1 to [`MOST_STAGES`](Self::MOST_STAGES).
    pub stages: u32,
}

impl ContinuousConfig {
    /// Stages at most: long before, the gap q^-stages is below what single precision tells apart.
    pub const MOST_STAGES: u32 = 1024;
}

impl Default for ContinuousConfig {
    fn default() -> Self {
        Self {
            mean: -1.1, // Geng et al. 2025, CIFAR-10
            std: 2.0,   // Geng et al. 2025, CIFAR-10
            q: 2.0,     // Geng et al. 2025, CIFAR-10
            k: 8.0,     // Geng et al. 2025, Section 3.2
            b: 1.0,     // Geng et al. 2025, Section 3.2
            stages: 8,  // Geng et al. 2025, CIFAR-10: 200,000 iterations, a stage for each 25,000
        }
    }
}

/// The network that makes the target of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum TargetConfig {
    /// The student itself without gradient: mu = 0 (the paper's choice for CIFAR-10 distillation; iCT).
    #[default] // Song et al. 2023, Table 3, CIFAR-10 distillation: mu = 0
    StopGradient,
    /// An average of the student with a fixed decay mu per step, in [0, 1).
    Ema(f32),
    /// An average with decay mu(k) = exp(s0 ln(mu0) / N(k)) (Song et al. 2023, Appendix C).
    Adaptive(AdaptiveConfig),
}

/// Constants of [`TargetConfig::Adaptive`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveConfig {
    /// mu0: the decay at the start of training, in (0, 1).
    pub start: f32,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self {
            start: 0.9, // Song et al. 2023, Table 3, CIFAR-10
        }
    }
}

/// The distance d(x, y) between the student's and the target's output.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum DistanceConfig {
    /// Mean of |x - y| over the values of an image (the paper's l1).
    L1,
    /// Root of the mean of (x - y)^2.
    L2,
    /// Mean of (x - y)^2: what the paper and its code call l2.
    #[default] // Song et al. 2023, Section 6.1; their best, LPIPS, needs ImageNet weights
    SquaredL2,
    /// Largest |x - y| of an image (the original code's linf).
    LInfinity,
    /// Mean of (x - y)^2 after both are brought to another resolution (the original code's l2-32).
    ResizedSquaredL2(ResizedConfig),
    /// sqrt(|x - y|^2 + c^2) - c over the whole image (Song and Dhariwal 2024).
    PseudoHuber(PseudoHuberConfig),
    /// In the manner of LPIPS: features of a small classifier trained on the same data.
    Features(FeaturesConfig),
    /// LPIPS itself, with the weights of another program (Song et al. 2023, their best).
    Lpips(LpipsConfig),
}

impl DistanceConfig {
    /// What the network takes that looks at one image, if the distance has one; a training asks it of the target, of the
    /// student, and on the way back to the student's image. Of LPIPS, the published trunk, if it can look at such images.
    pub fn count(&self, shape: ImageShape, classes: Option<usize>) -> Option<Counts> {
        match self {
            Self::L1
            | Self::L2
            | Self::SquaredL2
            | Self::LInfinity
            | Self::ResizedSquaredL2(_)
            | Self::PseudoHuber(_) => None,
            Self::Features(features) => {
                Some(Classifier::count(shape, classes.unwrap_or(1), features.channels))
            }
            Self::Lpips(lpips) => Lpips::count(lpips.network, shape),
        }
    }
}

/// LPIPS as a distance of [`DistanceConfig::Lpips`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LpipsConfig {
    /// Trunk, version, pooling, resizing.
    pub network: LpipsOptions, // default beside that type
    /// The trunk's weights, a file (PyTorch's, safetensors) with the names of torchvision or of the LPIPS package. Must be given.
    pub trunk_weights: PathBuf,
    /// The learned weights, another such file. None: they are in the trunk's.
    pub heads: Option<PathBuf>, // ours: one file is handier than two
}

/// Constants of [`DistanceConfig::ResizedSquaredL2`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResizedConfig {
    /// Height and width after bilinear interpolation, 1 to [`MOST_SIDE`](Self::MOST_SIDE).
    pub side: usize,
}

impl ResizedConfig {
    /// Pixels at most: as many as images that are read are resized to.
    pub const MOST_SIDE: usize = 4096;
}

impl Default for ResizedConfig {
    fn default() -> Self {
        Self {
            side: 32, // openai/consistency_models, loss norm l2-32
        }
    }
}

/// Constants of [`DistanceConfig::PseudoHuber`].
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PseudoHuberConfig {
    /// c, > 0. None: 0.00054 sqrt(values of an image) (Song and Dhariwal 2024, Section 3.3).
    pub c: Option<f32>, // Song and Dhariwal 2024, Section 3.3
}

impl PseudoHuberConfig {
    /// c for images of so many values.
    pub fn constant(&self, values: usize) -> f32 {
        self.c.unwrap_or_else(|| 0.00054 * (values as f32).sqrt()) // Song and Dhariwal 2024, Section 3.3
    }
}

/// The classifier of [`DistanceConfig::Features`], trained before the student and never used by an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeaturesConfig {
    /// Channels of the first layer, 1 to [`MOST_CHANNELS`](Self::MOST_CHANNELS); the second has twice as many, the third
    /// four times.
    pub channels: usize,
    /// Images it is trained on, repeats counted; 1 to [`MOST_IMAGES`](Self::MOST_IMAGES).
    pub train_images: u64,
    /// Times this, at least 0, the mean of squared differences of the values is added; 0 for features alone.
    pub pixels: f32,
}

impl FeaturesConfig {
    /// Channels at most: the third layer has four times as many, as wide as the widest layer of published classifiers.
    pub const MOST_CHANNELS: usize = 1024;
    /// Images at most: a thousand passes over ImageNet.
    pub const MOST_IMAGES: u64 = 1 << 30;
}

impl Default for FeaturesConfig {
    fn default() -> Self {
        Self {
            channels: 16,         // our choice: a second's training on 8x8 digits
            train_images: 60_000, // our choice: 40 passes over the digits
            pixels: 0.0,          // Song et al. 2023, Section 6.1: LPIPS alone
        }
    }
}

impl CurriculumConfig {
    /// The largest N of a run, and the name of the setting it comes from; `None` without levels.
    pub fn most_levels(&self) -> Option<(usize, &'static str)> {
        match *self {
            Self::Fixed(FixedConfig { num_levels }) => Some((num_levels, "num_levels")),
            Self::Progressive(ProgressiveConfig { end, .. }) | Self::Doubling(DoublingConfig { end, .. }) => {
                Some((end.saturating_add(1), "end"))
            }
            Self::Continuous(_) => None,
            // The teacher's half steps count.
            Self::Halving(HalvingConfig { start, .. }) => {
                Some((start.saturating_mul(2).saturating_add(1), "start"))
            }
        }
    }
}
