//! How a consistency model is trained, as data.

use cm_diffusion::{
    CosineConfig, DiscretisationConfig, IndexLawConfig, KarrasConfig, LogNormal, NumLevels, QuantityError,
    SpacingConfig, WeightingConfig,
};
use cm_network::feature_net::LpipsOptions;
use cm_training::{RangeError, TrainConfig};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Consistency distillation or training: everything but where the lower point of a pair comes from.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
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
}

/// The weights training starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum InitConfig {
    /// The teacher's averaged weights (Song et al. 2023, Algorithm 2).
    #[default]
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
    /// Mean of ln t.
    pub mean: f32,
    /// Standard deviation of ln t, at least 0.
    pub std: f32,
    /// The gap shrinks by this factor from stage to stage; above 1.
    pub q: f32,
    /// How much wider the gap is for small t; at least 0.
    pub k: f32,
    /// How fast that falls with t; at least 0.
    pub b: f32,
    /// Stages of equal length, at least 1.
    pub stages: u32,
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

/// LPIPS as a distance of [`DistanceConfig::Lpips`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LpipsConfig {
    /// Trunk, version, pooling, resizing.
    pub network: LpipsOptions,
    /// The trunk's weights, a safetensors file with the names of torchvision or of the LPIPS package. Must be given.
    pub trunk_weights: PathBuf,
    /// The learned weights, another such file. None: they are in the trunk's.
    pub heads: Option<PathBuf>,
}

/// Constants of [`DistanceConfig::ResizedSquaredL2`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResizedConfig {
    /// Height and width after bilinear interpolation, at least 1.
    pub side: usize,
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
    pub c: Option<f32>,
}

/// The classifier of [`DistanceConfig::Features`], trained before the student and never used by an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeaturesConfig {
    /// Channels of the first layer; the second has twice as many, the third four times.
    pub channels: usize,
    /// Images it is trained on, repeats counted.
    pub train_images: u64,
    /// Times this, the mean of squared differences of the values is added; 0 for features alone.
    pub pixels: f32,
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
        }
    }
}

/// A spacing that cannot be built over its range.
fn spacing_problem(discretisation: &DiscretisationConfig) -> Option<RangeError> {
    // A range that is wrong is reported on its own.
    let range = discretisation.range().ok()?;
    let fits = discretisation.spacing.build(range).is_ok();
    match discretisation.spacing {
        SpacingConfig::Karras(KarrasConfig { rho }) => RangeError::unless(
            fits,
            "discretisation.spacing.rho",
            rho,
            "above 0, and sigma^(1/rho) neither overflows nor vanishes",
        ),
        SpacingConfig::Linear | SpacingConfig::Exponential => None,
        SpacingConfig::Cosine(CosineConfig { scale }) => RangeError::unless(
            fits,
            "discretisation.spacing.scale",
            scale,
            "above 0, and near enough to the levels that their angles differ",
        ),
    }
}

impl ConsistencyConfig {
    /// More levels than there are numbers in their range.
    fn crowded(&self) -> Option<RangeError> {
        let (levels, field) = self.curriculum.most_levels()?;
        let range = self.discretisation.range().ok()?;
        let room = range.check_room(NumLevels::new(levels).ok()?);
        RangeError::unless(
            room.is_ok(),
            &format!("curriculum.{field}"),
            levels,
            "as many levels as there are different numbers between sigma_min and sigma_max",
        )
    }

    /// Everything that is out of range, with paths relative to this struct.
    pub fn problems(&self) -> Vec<RangeError> {
        let mut problems: Vec<_> = self
            .train
            .problems()
            .into_iter()
            .map(|problem| RangeError { field: format!("train.{}", problem.field), ..problem })
            .collect();
        let d = &self.discretisation;
        problems.extend(RangeError::unless(
            d.range().is_ok(),
            "discretisation.sigma_min",
            format!("{} (sigma_max {})", d.sigma_min, d.sigma_max),
            "0 < sigma_min < sigma_max, both finite",
        ));
        problems.extend(spacing_problem(d));
        problems.extend(self.crowded());
        match self.curriculum {
            CurriculumConfig::Fixed(FixedConfig { num_levels }) => problems.extend(RangeError::unless(
                num_levels >= 2,
                "curriculum.num_levels",
                num_levels,
                "at least 2 noise levels",
            )),
            CurriculumConfig::Progressive(ProgressiveConfig { start, end }) => {
                problems.extend(RangeError::unless(start >= 2, "curriculum.start", start, "at least 2"));
                problems.extend(RangeError::unless(end >= start, "curriculum.end", end, "at least `start`"));
            }
            CurriculumConfig::Continuous(_) => {}
            CurriculumConfig::Doubling(DoublingConfig { start, end }) => {
                problems.extend(RangeError::unless(start >= 1, "curriculum.start", start, "at least 1"));
                problems.extend(RangeError::unless(end >= start, "curriculum.end", end, "at least `start`"));
            }
        }
        if let CurriculumConfig::Continuous(ContinuousConfig { mean, std, q, k, b, stages }) = self.curriculum
        {
            let checks = [
                (LogNormal::new(mean, std).is_ok(), "std", std, "at least 0, and |mean| + 6 std at most 80"),
                (q > 1.0 && q.is_finite(), "q", q, "above 1"),
                (k >= 0.0 && k.is_finite(), "k", k, "at least 0"),
                (b >= 0.0 && b.is_finite(), "b", b, "at least 0"),
            ];
            problems.extend(checks.into_iter().filter_map(|(holds, field, given, allowed)| {
                RangeError::unless(holds, &format!("curriculum.{field}"), given, allowed)
            }));
            problems.extend(RangeError::unless(stages >= 1, "curriculum.stages", stages, "at least 1"));
            problems.extend(RangeError::unless(
                self.index_law == IndexLawConfig::Uniform,
                "index_law",
                "given, but continuous pairs have no intervals",
                "no law, or another curriculum",
            ));
            problems.extend(RangeError::unless(
                !matches!(self.target, TargetConfig::Adaptive(_)),
                "target",
                "adaptive, but continuous pairs have no number of levels to adapt to",
                "StopGradient or Ema(..)",
            ));
        }
        let law = d.range().and_then(|range| self.index_law.build(range));
        if let Err(QuantityError::IndexLaw { mean, std }) = law {
            problems.push(RangeError {
                field: "index_law".into(),
                given: format!("a mean of {mean} and a std of {std}"),
                allowed: "std above 0, and a share of the law between sigma_min and sigma_max",
            });
        }
        match self.target {
            TargetConfig::StopGradient => {}
            TargetConfig::Ema(mu) => {
                problems.extend(RangeError::unless((0.0..1.0).contains(&mu), "target", mu, "in [0, 1)"));
            }
            TargetConfig::Adaptive(AdaptiveConfig { start }) => problems.extend(RangeError::unless(
                start > 0.0 && start < 1.0,
                "target.start",
                start,
                "in (0, 1)",
            )),
        }
        match &self.distance {
            DistanceConfig::L1
            | DistanceConfig::L2
            | DistanceConfig::SquaredL2
            // The file's weights are checked where files are read.
            | DistanceConfig::LInfinity
            | DistanceConfig::Lpips(_) => {}
            &DistanceConfig::ResizedSquaredL2(ResizedConfig { side }) => {
                problems.extend(RangeError::unless(side > 0, "distance.side", side, "at least 1 pixel"));
            }
            &DistanceConfig::PseudoHuber(PseudoHuberConfig { c }) => problems.extend(
                c.and_then(|c| RangeError::unless(c > 0.0 && c.is_finite(), "distance.c", c, "above 0")),
            ),
            &DistanceConfig::Features(FeaturesConfig { channels, train_images, pixels }) => {
                problems.extend(RangeError::unless(
                    channels > 0,
                    "distance.channels",
                    channels,
                    "at least 1",
                ));
                problems.extend(RangeError::unless(
                    train_images > 0,
                    "distance.train_images",
                    train_images,
                    "at least 1 image",
                ));
                problems.extend(RangeError::unless(
                    pixels >= 0.0 && pixels.is_finite(),
                    "distance.pixels",
                    pixels,
                    "0 or above",
                ));
            }
        }
        problems
    }
}
