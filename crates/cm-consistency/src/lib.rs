//! Consistency models: distillation of a denoiser, and training without one (Song et al. 2023, Algorithms 2, 3).
//!
//! [`ConsistencyStep`] is the one training step of both. Where the lower point of a pair comes from is a
//! [`Trajectory`], and the two methods differ there and nowhere else; how far apart the noise levels of a pair are is
//! a [`Curriculum`], how two outputs are compared a [`Distance`]. The result is a [`ConsistencyModel`].
//!
//! [`ContinuousTimeStep`] is the limit in which the levels of a pair are infinitely near: sCM, and the first paper's own
//! continuous-time losses. How the derivative along a trajectory is worked out is a [`Tangent`].
//!
//! With [`Segments`] a model is consistent only within parts of the noise levels; with a [`Truncation`] it is trained at
//! the upper ones alone, above a first model. [`MidTrainingStep`] goes before any of these trainings.
//!
//! Deliberately absent: models that jump from level to level (`cm-flow-map`, which takes distances, curricula and
//! derivatives along a path from here), teachers (one arrives as a `&dyn Denoiser`), data sets, files. May know
//! `cm-diffusion`, `cm-network`, `cm-training`, `cm-tensor` and `cm-image`; never `cm-teacher` nor `cm-flow-map`.

mod config;
mod continuous;
mod continuous_time;
mod coupling;
mod curriculum;
mod distance;
mod halving;
mod mid_training;
mod model;
mod problems;
#[cfg(test)]
mod regression;
mod residual;
mod segments;
mod step;
mod student_t;
mod tangent;
mod trajectory;
mod truncation;
mod truncation_config;

pub use config::{
    AdaptiveConfig, ConsistencyConfig, ContinuousConfig, CurriculumConfig, DistanceConfig, DoublingConfig,
    FeaturesConfig, FixedConfig, InitConfig, LpipsConfig, ProgressiveConfig, PseudoHuberConfig,
    ResizedConfig, TargetConfig,
};
pub use continuous::ContinuousPairs;
pub use continuous_time::{
    ContinuousLossConfig, ContinuousParts, ContinuousTimeConfig, ContinuousTimeStep, DerivativeNorm,
    NormalisationConfig, StopGradientConfig, TimeLawConfig, TimeLogNormalConfig, WeightHeadConfig,
    endpoint_slopes,
};
pub use coupling::{CouplingConfig, GeneratorAugmentedConfig, Predictor};
pub use curriculum::{Curriculum, Spacing};
pub use distance::{ClassifierFeatures, Distance, Perceptual, Pixels, Resized};
pub use halving::{HalvingConfig, Stage};
pub use mid_training::{MidTrainingStep, Trajectories};
pub use model::{ConsistencyModel, scaling};
pub use residual::Probe;
pub use segments::Segments;
pub use step::{ConsistencyStep, Parts};
pub use student_t::StudentTConfig;
pub use tangent::{CentralConfig, LocalPath, Raw, Tangent, TangentConfig};
pub use trajectory::{KnownNoise, NoisyPair, TeacherStep, Trajectory};
pub use truncation::Truncation;
pub use truncation_config::TruncationConfig;
