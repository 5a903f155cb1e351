//! Consistency models in continuous time: two noise levels infinitely near, so that the pair's difference is a derivative
//! along the trajectory (Song et al. 2023, Appendix B.2; Lu and Song 2025).
//!
//! One step covers the family. With its defaults it is sCM: sCD along a teacher's trajectories, sCT along those of known
//! noise. With tangents as they are, no warm-up, no learned weight and levels of the grid it is the first paper's
//! continuous-time distillation and training (Theorems 5 and 6), and with [`ContinuousLossConfig::Full`] those without
//! stop-gradient (Theorems 3 and 4).

mod derivative;
mod law;
mod step;
mod weight_head;

pub use derivative::endpoint_slopes;
pub use step::{ContinuousParts, ContinuousTimeStep};

use crate::tangent::TangentConfig;
use cm_diffusion::{LogNormal, WeightingConfig};
use cm_training::{Duration, RangeError};
use serde::{Deserialize, Serialize};

/// What is particular to continuous time. Batches, optimiser, averages and the range of the noise levels are those of
/// [`crate::ConsistencyConfig`]; a curriculum, a law of intervals, an averaged target, a distance and segments there are
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContinuousTimeConfig {
    /// How the derivative along the trajectory is worked out; with the loss [`ContinuousLossConfig::Full`] not
    /// [`TangentConfig::Forward`].
    pub tangent: TangentConfig,
    /// At which noise levels.
    pub time: TimeLawConfig,
    /// What becomes of the derivative.
    pub loss: ContinuousLossConfig,
    /// The weight lambda of a noise level, where the loss counts changes of f for each unit of sigma.
    pub weighting: WeightingConfig,
    /// The learned weight e^w of a noise level. None: there is none.
    pub weight_head: Option<WeightHeadConfig>,
}

impl Default for ContinuousTimeConfig {
    fn default() -> Self {
        Self {
            tangent: TangentConfig::default(),              // beside that type
            time: TimeLawConfig::default(),                 // beside that type
            loss: ContinuousLossConfig::default(),          // beside that type
            weighting: WeightingConfig::TrigFlow,           // Lu and Song 2025, Section 4.2
            weight_head: Some(WeightHeadConfig::default()), // Lu and Song 2025, Section 4.2
        }
    }
}

/// The choice among the laws of noise levels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum TimeLawConfig {
    /// ln sigma is normal.
    LogNormal(TimeLogNormalConfig),
    /// Uniform in the time of the discretisation, for Karras's sigma = u^rho: the limit of levels all of whose intervals
    /// are alike (Song et al. 2023, Appendix B.2).
    Uniform,
}

impl Default for TimeLawConfig {
    fn default() -> Self {
        Self::LogNormal(TimeLogNormalConfig::default()) // Lu and Song 2025, Section 4.2
    }
}

/// Constants of [`TimeLawConfig::LogNormal`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeLogNormalConfig {
    /// Mean of ln sigma, any whose law stays in single precision: |mean| + 6 std at most 80.
    pub mean: f32,
    /// Standard deviation of ln sigma, at least 0.
    pub std: f32,
}

impl Default for TimeLogNormalConfig {
    fn default() -> Self {
        Self {
            mean: -1.0, // Lu and Song 2025, CIFAR-10 (P_mean)
            std: 1.4,   // Lu and Song 2025, CIFAR-10 (P_std)
        }
    }
}

/// What becomes of the derivative df / d sigma.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ContinuousLossConfig {
    /// The gradient moves f against its derivative, which is taken as it is (Song et al. 2023, Theorems 5 and 6; Lu and Song
    /// 2025): the limit of the gradient of a pair whose target has none.
    StopGradient(StopGradientConfig),
    /// The derivative's own size is the loss, and the gradient goes through it (Song et al. 2023, Theorems 3 and 4).
    Full(DerivativeNorm),
}

impl Default for ContinuousLossConfig {
    fn default() -> Self {
        Self::StopGradient(StopGradientConfig::default()) // Lu and Song 2025
    }
}

/// Settings of [`ContinuousLossConfig::StopGradient`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StopGradientConfig {
    /// How the tangent g of an image is brought to a length near 1.
    pub normalisation: NormalisationConfig,
    /// Over which the share r of the tangent beyond the regression to the velocity grows from 0 to 1.
    pub warmup: Duration,
}

impl Default for StopGradientConfig {
    fn default() -> Self {
        Self {
            normalisation: NormalisationConfig::default(), // beside that type
            warmup: Duration::Fraction(0.025), // Lu and Song 2025: 10,000 of the 400,000 iterations on CIFAR-10
        }
    }
}

/// The length that a tangent is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum NormalisationConfig {
    /// Nothing: tangents are taken as they are.
    None,
    /// |g| + c over all values of an image, c above 0.
    L2(f32),
    /// The root of the mean square of the values, + c, above 0 (NVlabs/FastGen).
    Rms(f32),
}

impl Default for NormalisationConfig {
    fn default() -> Self {
        Self::L2(0.1) // Lu and Song 2025, Section 4.2
    }
}

/// The size of the derivative as a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DerivativeNorm {
    /// The mean of squares: the limit of (N - 1)^2 times the loss of squared differences (Theorem 3).
    SquaredL2,
    /// The mean of absolute values: the limit of N - 1 times the loss of absolute differences (Theorem 4).
    L1,
}

/// The learned weight of [`ContinuousTimeConfig::weight_head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightHeadConfig {
    /// Waves of the noise level's embedding, 1 to [`MOST_CHANNELS`](Self::MOST_CHANNELS).
    pub channels: usize,
}

impl WeightHeadConfig {
    /// Waves at most.
    pub const MOST_CHANNELS: usize = 4096;
}

impl Default for WeightHeadConfig {
    fn default() -> Self {
        Self {
            channels: 128, // NVlabs/edm2, logvar_channels
        }
    }
}

impl ContinuousTimeConfig {
    /// Evaluations of the network for each image, a way back counted as two, without the teacher's.
    pub fn evaluations(&self) -> f64 {
        match self.loss {
            ContinuousLossConfig::StopGradient(_) => 3.0 + self.tangent.evaluations(),
            ContinuousLossConfig::Full(_) => 6.0,
        }
    }

    /// Whether the loss goes through a derivative through which no gradient flows.
    fn differentiates_forward(&self) -> bool {
        matches!((self.loss, self.tangent), (ContinuousLossConfig::Full(_), TangentConfig::Forward))
    }

    /// Everything that is out of range, with paths relative to this struct.
    pub fn problems(&self) -> Vec<RangeError> {
        let mut problems = Vec::new();
        problems.extend(RangeError::unless(
            !self.differentiates_forward(),
            "tangent",
            "Forward, but the loss is Full",
            "Central(..): no gradient flows through a derivative in forward mode",
        ));
        let tangent = self.tangent.problems();
        problems.extend(
            tangent.map(|problem| RangeError { field: format!("tangent.{}", problem.field), ..problem }),
        );
        match self.time {
            TimeLawConfig::LogNormal(TimeLogNormalConfig { mean, std }) => {
                problems.extend(RangeError::unless(
                    LogNormal::new(mean, std).is_ok(),
                    "time.std",
                    std,
                    "at least 0, and |mean| + 6 std at most 80",
                ));
            }
            TimeLawConfig::Uniform => {}
        }
        match self.loss {
            ContinuousLossConfig::StopGradient(StopGradientConfig { normalisation, warmup }) => {
                match normalisation {
                    NormalisationConfig::None => {}
                    NormalisationConfig::L2(c) | NormalisationConfig::Rms(c) => {
                        problems.extend(RangeError::unless(
                            c > 0.0 && c.is_finite(),
                            "loss.normalisation",
                            c,
                            "above 0, or None for tangents as they are",
                        ));
                    }
                }
                problems.extend(warmup.problem("loss.warmup", true));
            }
            ContinuousLossConfig::Full(_) => {}
        }
        problems.extend(RangeError::unless(
            self.weighting != WeightingConfig::InverseGap,
            "weighting",
            "InverseGap, but there is no gap",
            "another weighting; of infinitely near levels Uniform is what it tends to",
        ));
        if let Some(WeightHeadConfig { channels }) = self.weight_head {
            problems.extend(RangeError::unless(
                (1..=WeightHeadConfig::MOST_CHANNELS).contains(&channels),
                "weight_head.channels",
                channels,
                "1 to 4096",
            ));
        }
        problems
    }
}
