//! Models that jump from one noise level to another: maps of the flow between two times, where a consistency model knows
//! the way to its end alone.
//!
//! All are a [`JumpModel`] under EDM's preconditioning, whose jump is Euler's step with what its network says. They differ
//! in what they learn it from. [`TwoTimeStep`] trains by what must hold between any two times (MeanFlow and its relatives:
//! one step, a rule for the target), [`MomentMatchingStep`] by the laws of jumps (IMM), [`ShortcutStep`] by jumps of half
//! the length, and [`ProgressiveStep`] halves a sampler's steps from stage to stage.
//!
//! Batches, optimisers, averages, distances, levels and derivatives along a path are those of consistency models.
//!
//! Deliberately absent: teachers (one arrives as a `&dyn Denoiser`), data sets, files, and whatever is consistent in one
//! time only. May know `cm-consistency`, `cm-diffusion`, `cm-network`, `cm-training`, `cm-tensor` and `cm-image`; never
//! `cm-teacher`.

mod discrepancy;
mod jump_model;
mod moment_config;
mod moment_matching;
mod progressive;
mod shortcut;
#[cfg(test)]
mod test_model;
mod two_time;
mod two_time_config;
mod two_time_target;
mod two_times;

pub use jump_model::{JumpModel, JumpParts};
pub use moment_config::MomentMatchingConfig;
pub use moment_matching::MomentMatchingStep;
pub use progressive::ProgressiveStep;
pub use shortcut::{ShortcutConfig, ShortcutStep};
pub use two_time::{TwoTimeParts, TwoTimeStep};
pub use two_time_config::{
    AlignYourFlowConfig, AlphaFlowConfig, DerivativeConfig, Over, Path, Power, SoFlowConfig, TargetGuidance,
    TwoTimeConfig, TwoTimeTarget, Velocity,
};
pub use two_times::{BelowConfig, TimesConfig};
