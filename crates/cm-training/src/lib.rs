//! What teacher, student and classifier training share: the loop, the state that a resumed run needs, learning
//! rates, the fused update of weights and their averages.
//!
//! A [`TrainStep`] turns one [`Batch`] into one update; [`train`] calls it step by step and tells its caller, who
//! logs, checkpoints and may stop. Everything a step draws is a pure function of the run's seed and the step's
//! number, so a stopped run resumes to the bit from [`TrainState`] alone.
//!
//! Deliberately absent: losses and noise levels (`cm-teacher`, `cm-consistency`), data sets (batches are handed
//! in), files, printing. May know `cm-tensor`, `cm-kernels` and `cm-image`.

mod augmentation;
mod config;
mod duration;
mod ema;
mod gradient_sum;
mod learning_rate;
mod optimiser;
mod post_hoc;
mod power_ema;
mod precision;
mod range_error;
pub mod resumption;
mod schedule;
mod state;
mod step;
mod train_loop;
mod train_step;

pub use augmentation::AugmentationConfig;
pub use config::TrainConfig;
pub use duration::Duration;
pub use ema::{Ema, EmaConfig};
pub use gradient_sum::{GradientSum, Shard};
pub use learning_rate::{DecayConfig, LearningRateConfig};
pub use optimiser::{AdamWConfig, MomentsConfig, OptimiserConfig};
pub use post_hoc::{Fit, Profile, SnapshotsConfig};
pub use power_ema::PowerEma;
pub use precision::Precision;
pub use range_error::RangeError;
pub use schedule::Schedule;
pub use state::TrainState;
pub use step::{Batch, ImageLoss, Progress, StepReport, StepSeed, TrainError};
pub use train_loop::{Control, train};
pub use train_step::TrainStep;
