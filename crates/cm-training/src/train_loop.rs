//! Step after step.

use crate::{Batch, Progress, StepReport, StepSeed, TrainConfig, TrainError, TrainStep};

/// What the caller wants after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Stop here; the run can be resumed.
    Stop,
}

/// Takes the steps `first_step..config.steps()`. `batch(k)` gives the batch of step k; `after` sees each report
/// and the method as the step left it, to log, to checkpoint, to stop. Returns whether the run came to its end.
///
/// # Errors
/// The first error of a batch, a step or `after`.
pub fn train<S: TrainStep + ?Sized, E: From<TrainError>>(
    method: &mut S,
    config: &TrainConfig,
    first_step: u64,
    (noise_seed, dropout_seed): (u64, u64),
    mut batch: impl FnMut(u64) -> Result<Batch, E>,
    mut after: impl FnMut(&StepReport, &S) -> Result<Control, E>,
) -> Result<Control, E> {
    let steps = config.steps();
    for step in first_step..steps {
        let images = step * config.batch as u64;
        let progress = Progress { step, images, total_images: config.images() };
        let seed = StepSeed::new(noise_seed, dropout_seed, step).with_augmentation(config.augmentation);
        let report = method.step(&seed.augmented(batch(step)?), progress, seed)?;
        if after(&report, method)? == Control::Stop && step + 1 < steps {
            return Ok(Control::Stop);
        }
    }
    Ok(Control::Continue)
}
