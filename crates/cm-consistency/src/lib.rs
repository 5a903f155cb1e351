//! Consistency models: distillation of a denoiser, and training without one (Song et al. 2023, Algorithms 2, 3).
//!
//! [`ConsistencyStep`] is the one training step of both. Where the lower point of a pair comes from is a
//! [`Trajectory`], and the two methods differ there and nowhere else; how far apart the noise levels of a pair are is
//! a [`Curriculum`], how two outputs are compared a [`Distance`]. The result is a [`ConsistencyModel`].
//!
//! [`ContinuousTimeStep`] is the limit in which the levels of a pair are infinitely near: sCM, and the first paper's own
//! continuous-time losses. How the derivative along a trajectory is worked out is a [`Tangent`].
//!
//! Beside it stand its relatives. [`ProgressiveStep`] halves a sampler's steps from stage to stage, [`ShortcutStep`] trains
//! a network that is told how far it jumps, [`TwoTimeStep`] one by what must hold between any two times (MeanFlow and its
//! relatives), and [`MomentMatchingStep`] one by the laws of its jumps (IMM); all make a [`JumpModel`]. With [`Segments`] a consistency model is
//! consistent only within parts of the noise levels; with a [`Truncation`] it is trained at the upper ones alone, above a
//! first model. [`MidTrainingStep`] goes before any of the consistency models'
//! trainings. All take the same distances, weights, laws of intervals, optimisers and averages.
//!
//! Deliberately absent: teachers (one arrives as a `&dyn Denoiser`), data sets, files. May know `cm-diffusion`,
//! `cm-network`, `cm-training`, `cm-tensor` and `cm-image`; never `cm-teacher`.

mod config;
mod continuous;
mod continuous_time;
mod coupling;
mod curriculum;
mod discrepancy;
mod distance;
mod halving;
mod jump_model;
mod mid_training;
mod model;
mod moment_config;
mod moment_matching;
mod problems;
mod progressive;
#[cfg(test)]
mod regression;
mod residual;
#[cfg(test)]
mod resumption;
mod segments;
mod shortcut;
mod step;
mod student_t;
mod tangent;
mod trajectory;
mod truncation;
mod truncation_config;
mod two_time;
mod two_time_config;
mod two_time_target;
mod two_times;

pub use config::{
    AdaptiveConfig, ConsistencyConfig, ContinuousConfig, CurriculumConfig, DistanceConfig, DoublingConfig,
    FeaturesConfig, FixedConfig, InitConfig, LpipsConfig, ProgressiveConfig, PseudoHuberConfig,
    ResizedConfig, TargetConfig,
};
pub use continuous::ContinuousPairs;
pub use continuous_time::{
    ContinuousLossConfig, ContinuousParts, ContinuousTimeConfig, ContinuousTimeStep, DerivativeNorm,
    NormalisationConfig, StopGradientConfig, TimeLawConfig, TimeLogNormalConfig, WeightHeadConfig,
};
pub use coupling::{CouplingConfig, GeneratorAugmentedConfig, Predictor};
pub use curriculum::{Curriculum, Spacing};
pub use distance::{ClassifierFeatures, Distance, Perceptual, Pixels, Resized};
pub use halving::{HalvingConfig, Stage};
pub use jump_model::{JumpModel, JumpParts};
pub use mid_training::{MidTrainingStep, Trajectories};
pub use model::ConsistencyModel;
pub use moment_config::MomentMatchingConfig;
pub use moment_matching::MomentMatchingStep;
pub use progressive::ProgressiveStep;
pub use residual::Probe;
pub use segments::Segments;
pub use shortcut::{ShortcutConfig, ShortcutStep};
pub use step::{ConsistencyStep, Parts};
pub use student_t::StudentTConfig;
pub use tangent::{CentralConfig, LocalPath, Raw, Tangent, TangentConfig};
pub use trajectory::{KnownNoise, NoisyPair, TeacherStep, Trajectory};
pub use truncation::Truncation;
pub use truncation_config::TruncationConfig;
pub use two_time::{TwoTimeParts, TwoTimeStep};
pub use two_time_config::{
    AlignYourFlowConfig, AlphaFlowConfig, DerivativeConfig, Over, Path, Power, SoFlowConfig, TargetGuidance,
    TwoTimeConfig, TwoTimeTarget, Velocity,
};
pub use two_times::{BelowConfig, TimesConfig};
