//! What is particular to models of two times, as data.

use crate::two_times::TimesConfig;
use cm_consistency::{CentralConfig, TangentConfig};
use cm_diffusion::Sigma;
use cm_training::RangeError;
use serde::{Deserialize, Serialize};

/// A model that knows where a trajectory is at any lower time, trained by what must hold between any two times.
///
/// Times are noise levels: t = sigma / (1 + sigma) on the straight path (1 - t) x + t e, tan t = sigma / sigma_data on
/// TrigFlow. A straight jump on either path is Euler's step in the levels, so one network serves all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwoTimeConfig {
    /// What the jump between two times is to be.
    pub target: TwoTimeTarget,
    /// The path on which velocities and losses are measured.
    pub path: Path,
    /// How the two times are drawn.
    pub times: TimesConfig,
    /// The share of each batch whose two times are equal, in [0, 1): plain denoising, in expectation.
    pub equal_share: f32,
    /// Whose velocity trajectories have.
    pub velocity: Velocity,
    /// The power of the squared error, 0 to 1, and the constant under it, above 0: see [`Power`].
    pub loss: Power,
    /// Guidance inside the target, so that one evaluation draws guided. None: no guidance, and classes are always told.
    pub guidance: Option<TargetGuidance>,
}

impl Default for TwoTimeConfig {
    fn default() -> Self {
        Self {
            target: TwoTimeTarget::default(), // beside that type
            path: Path::Straight,             // Geng et al. 2025 (MeanFlow), Section 3
            times: TimesConfig::default(),    // beside that type
            equal_share: 0.25,                // Gsunshine/meanflow, CIFAR-10
            velocity: Velocity::KnownNoise,   // Geng et al. 2025 (MeanFlow), Section 4
            loss: Power::default(),           // beside that type
            guidance: None,                   // Geng et al. 2025 (MeanFlow): none on CIFAR-10
        }
    }
}

/// What the average velocity u between two times r < t is to be; v is the velocity at t, and what stands on the right is
/// not differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum TwoTimeTarget {
    /// v - (t - r) du/dt along v (Geng et al. 2025, MeanFlow).
    MeanFlow(DerivativeConfig),
    /// The same with the derivative along the network's own velocity u(z, t, t) (Geng et al. 2025b, iMF; their losses of
    /// a second head are those of the images whose times are equal here).
    ImprovedMeanFlow(DerivativeConfig),
    /// a v + (1 - a) u(z', r, t - a (t - r)), z' on the line along v; a falls geometrically (Luo et al. 2025, SoFlow). The
    /// power is of the error over a.
    SoFlow(SoFlowConfig),
    /// The same target; a falls along a logistic curve, and the loss is times a (Zhang et al. 2025, AlphaFlow).
    AlphaFlow(AlphaFlowConfig),
    /// b u(z, s, t) + (1 - b) u(z_s, r, s) with s = t - b (t - r), b uniform (Guo et al. 2025, SplitMeanFlow). Only the
    /// images whose times are equal see the data, and without an average for a target the network runs away with its own
    /// jumps.
    SplitMeanFlow,
    /// MeanFlow's with a derivative by differences and a weight that falls with the length of the jump (Wang et al. 2025,
    /// TiM). Theirs is on `Trig`.
    TransitionModel(DerivativeConfig),
    /// u minus the tangent (u - v) + w (t - r) du/dt over its norm plus a constant, w rising (Sabour et al. 2025, AYF).
    AlignYourFlow(AlignYourFlowConfig),
}

impl Default for TwoTimeTarget {
    fn default() -> Self {
        Self::MeanFlow(DerivativeConfig::default()) // the one that others are compared with
    }
}

/// How du/dt is found, without gradient and with the same dropout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DerivativeConfig {
    /// By differences or in forward mode.
    pub tangent: TangentConfig,
}

impl Default for DerivativeConfig {
    fn default() -> Self {
        Self {
            tangent: TangentConfig::Central(CentralConfig { step: 0.01 }), // ours: rounding and error cost alike
        }
    }
}

/// Settings of [`TwoTimeTarget::SoFlow`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoFlowConfig {
    /// The ratio a at the start, above 0 and at most 1.
    pub start: f32,
    /// The ratio at the end, above 0 and at most `start`.
    pub end: f32,
}

impl Default for SoFlowConfig {
    fn default() -> Self {
        Self {
            start: 1.0,    // zlab-princeton/SoFlow, cifar.yaml
            end: 3.125e-4, // the same
        }
    }
}

/// Settings of [`TwoTimeTarget::AlphaFlow`]: a = 1 - sigmoid(`sharpness` (progress - `middle`)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlphaFlowConfig {
    /// The share of the run after which a is one half, 0 to 1.
    pub middle: f32,
    /// How fast it falls there, above 0.
    pub sharpness: f32,
    /// The least a, above 0 and below 1: smaller ones are raised to it, so no derivative is ever needed.
    pub least: f32,
    /// The largest value of u at which the target aims, above 0.
    pub clip: f32,
}

impl Default for AlphaFlowConfig {
    fn default() -> Self {
        Self {
            middle: 0.5,     // ours: the middle of the run
            sharpness: 25.0, // snap-research/alphaflow, training/loss.py
            least: 0.005,    // the same, with its derivative switched off
            clip: 4.0,       // the same
        }
    }
}

/// Settings of [`TwoTimeTarget::AlignYourFlow`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlignYourFlowConfig {
    /// As [`DerivativeConfig::tangent`].
    pub tangent: TangentConfig,
    /// Added to the tangent's norm, above 0.
    pub constant: f32,
    /// What w rises to, 0 to 1; less than 1 regularises the tangent.
    pub most: f32,
    /// The share of the run in which it rises there from 0, 0 to 1.
    pub warmup: f32,
}

impl Default for AlignYourFlowConfig {
    fn default() -> Self {
        Self {
            tangent: DerivativeConfig::default().tangent, // beside that type
            constant: 0.1,                                // Sabour et al. 2025, as Lu and Song 2025
            most: 0.99,                                   // Sabour et al. 2025
            warmup: 0.1,                                  // ours: a tenth of the run
        }
    }
}

/// The velocity v of [`TwoTimeTarget`] replaced by w v + (1 - w - k) u_none + k u_class, u the network's own at equal times
/// without and with the class (Geng et al. 2025, MeanFlow, Section 4.2 and Appendix B.1). The scale that is reached is
/// w / (1 - k).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetGuidance {
    /// w, at least 0.
    pub omega: f32,
    /// k, at least 0 and below 1.
    pub kappa: f32,
    /// Only above this level, at least 0.
    pub above: f32,
    /// Only up to this level, above `above`; inf for all.
    pub up_to: f32,
    /// The share of images whose class is not told, above 0 and below 1.
    pub label_dropout: f32,
}

impl Default for TargetGuidance {
    fn default() -> Self {
        Self {
            omega: 2.0,           // ours: twice as far
            kappa: 0.0,           // Geng et al. 2025, Equation 19: without mixing
            above: 0.0,           // the same: at all times
            up_to: f32::INFINITY, // the same
            label_dropout: 0.1,   // Geng et al. 2025, Table 4
        }
    }
}

impl TargetGuidance {
    /// Whether images at this level are guided.
    pub(crate) fn covers(&self, sigma: Sigma) -> bool {
        self.above < sigma.get() && sigma.get() <= self.up_to
    }
}

/// On which path from data to noise velocities are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Path {
    /// (1 - t) x + t e, e of unit variance.
    Straight,
    /// cos(t) x + sin(t) z, z of the data's variance (Lu and Song 2025).
    Trig,
}

/// Whose velocity trajectories have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Velocity {
    /// That of the image and the noise at hand: training without a teacher.
    KnownNoise,
    /// The teacher's: distillation.
    Teacher,
}

/// The loss of an image whose squared error is E: E / (sg(E) + constant)^power. Power 0 is the squared error, 1/2 nearly its
/// root, 1 nearly its logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Power {
    /// p, 0 to 1.
    pub power: f32,
    /// c, above 0.
    pub constant: f32,
    /// Whether E is a sum over an image's values or their mean.
    pub over: Over,
}

impl Default for Power {
    fn default() -> Self {
        Self {
            power: 0.75,     // Gsunshine/meanflow, CIFAR-10
            constant: 1e-3,  // the same
            over: Over::Sum, // the same
        }
    }
}

/// What becomes of the values of an image's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// Their sum: MeanFlow, iMF, AlphaFlow.
    Sum,
    /// Their mean: SoFlow.
    Mean,
}

impl TwoTimeConfig {
    /// How many of a batch's images have two different times; they come first.
    pub fn pairs(&self, batch: usize) -> usize {
        batch - (f64::from(self.equal_share) * batch as f64).round() as usize
    }

    /// Passes without gradient for each image, the teacher's not counted.
    pub fn extra_passes(&self) -> f64 {
        let jumps = 1.0 - f64::from(self.equal_share);
        let derivative = |tangent: TangentConfig| match tangent {
            TangentConfig::Central(_) => jumps * tangent.evaluations(),
            TangentConfig::Forward => tangent.evaluations(), // of all images that are recorded together
        };
        let passes = match self.target {
            TwoTimeTarget::SoFlow(_) | TwoTimeTarget::AlphaFlow(_) => jumps,
            TwoTimeTarget::SplitMeanFlow => 2.0 * jumps,
            TwoTimeTarget::MeanFlow(DerivativeConfig { tangent })
            | TwoTimeTarget::TransitionModel(DerivativeConfig { tangent })
            | TwoTimeTarget::AlignYourFlow(AlignYourFlowConfig { tangent, .. }) => derivative(tangent),
            TwoTimeTarget::ImprovedMeanFlow(DerivativeConfig { tangent }) => jumps + derivative(tangent),
        };
        let guided = self.guidance.map_or(0.0, |guidance| if guidance.kappa > 0.0 { 2.0 } else { 1.0 });
        passes + guided
    }

    /// How du/dt is found, by a rule that needs it.
    pub fn tangent(&self) -> Option<TangentConfig> {
        match self.target {
            TwoTimeTarget::MeanFlow(DerivativeConfig { tangent })
            | TwoTimeTarget::ImprovedMeanFlow(DerivativeConfig { tangent })
            | TwoTimeTarget::TransitionModel(DerivativeConfig { tangent })
            | TwoTimeTarget::AlignYourFlow(AlignYourFlowConfig { tangent, .. }) => Some(tangent),
            TwoTimeTarget::SoFlow(_) | TwoTimeTarget::AlphaFlow(_) | TwoTimeTarget::SplitMeanFlow => None,
        }
    }

    /// What is out of range for batches of `batch` images, with paths relative to this struct.
    pub fn problems(&self, batch: usize) -> Vec<RangeError> {
        let share = self.equal_share;
        let some = (0.0..1.0).contains(&share) && self.pairs(batch) > 0;
        let given = format!("{share} of {batch} images");
        let mut problems: Vec<RangeError> = Vec::new();
        problems.extend(RangeError::unless(
            some,
            "equal_share",
            given,
            "0 or more, and not all of the batch",
        ));
        if self.target == TwoTimeTarget::SplitMeanFlow {
            let boundary = self.pairs(batch) < batch;
            let allowed = "at least one image: nothing else shows this target the data";
            problems.extend(RangeError::unless(boundary, "equal_share", share, allowed));
        }
        for (field, law) in self.times.laws() {
            let allowed = "std at least 0, and |mean| + 6 std at most 80";
            let given = format!("mean {} and std {}", law.mean, law.std);
            problems.extend(RangeError::unless(law.build().is_ok(), field, given, allowed));
        }
        let Power { power, constant, .. } = self.loss;
        let above_0 = |value: f32| value > 0.0 && value.is_finite();
        let tangent = self.tangent().and_then(TangentConfig::problems);
        problems.extend(
            tangent
                .map(|problem| RangeError { field: format!("target.tangent.{}", problem.field), ..problem }),
        );
        let share = |value: f32| (0.0..=1.0).contains(&value);
        let mut checks = vec![
            ("loss.power", power, share(power), "0 to 1"),
            ("loss.constant", constant, above_0(constant), "above 0"),
        ];
        match self.target {
            TwoTimeTarget::SoFlow(SoFlowConfig { start, end }) => {
                checks.push(("target.start", start, start > 0.0 && start <= 1.0, "above 0, at most 1"));
                checks.push(("target.end", end, end > 0.0 && end <= start, "above 0, at most `start`"));
            }
            TwoTimeTarget::AlphaFlow(AlphaFlowConfig { middle, sharpness, least, clip }) => checks.extend([
                ("target.middle", middle, share(middle), "0 to 1"),
                ("target.sharpness", sharpness, above_0(sharpness), "above 0"),
                ("target.least", least, least > 0.0 && least < 1.0, "above 0, below 1"),
                ("target.clip", clip, above_0(clip), "above 0"),
            ]),
            TwoTimeTarget::AlignYourFlow(AlignYourFlowConfig { constant, most, warmup, .. }) => {
                checks.extend([
                    ("target.constant", constant, above_0(constant), "above 0"),
                    ("target.most", most, share(most), "0 to 1"),
                    ("target.warmup", warmup, share(warmup), "0 to 1"),
                ]);
            }
            TwoTimeTarget::MeanFlow(_)
            | TwoTimeTarget::ImprovedMeanFlow(_)
            | TwoTimeTarget::TransitionModel(_)
            | TwoTimeTarget::SplitMeanFlow => {}
        }
        if let Some(TargetGuidance { omega, kappa, above, up_to, label_dropout }) = self.guidance {
            let dropped = label_dropout > 0.0 && label_dropout < 1.0;
            checks.extend([
                ("guidance.omega", omega, omega >= 0.0 && omega.is_finite(), "at least 0"),
                ("guidance.kappa", kappa, (0.0..1.0).contains(&kappa), "at least 0, below 1"),
                ("guidance.above", above, above >= 0.0 && above < up_to, "at least 0, below `up_to`"),
                ("guidance.label_dropout", label_dropout, dropped, "above 0, below 1"),
            ]);
        }
        let check = |(field, given, holds, allowed)| RangeError::unless(holds, field, given, allowed);
        problems.extend(checks.into_iter().filter_map(check));
        problems
    }
}
