//! What the training of any student tells the runner.

use cm_consistency::{ConsistencyStep, ContinuousTimeStep, Probe, Stage};
use cm_diffusion::ModelError;
use cm_flow_map::{MomentMatchingStep, ProgressiveStep, ShortcutStep, TwoTimeStep};
use cm_training::TrainStep;

/// What the phase of a student asks of its training.
pub(crate) trait StudentStep: TrainStep {
    /// How far the student is from consistency, where that means something.
    fn residuals(&self, _: &Probe) -> Option<Result<Vec<f64>, ModelError>> {
        None
    }

    /// The stage that is finished with the last step, after `images` of all images of the run.
    fn finished_stage(&self, _images: u64, _total_images: u64) -> Option<Stage> {
        None
    }

    /// In how many steps the present student samples, if that changes over the run.
    fn steps(&self) -> Option<usize> {
        None
    }
}

impl StudentStep for ConsistencyStep<'_> {
    fn residuals(&self, probe: &Probe) -> Option<Result<Vec<f64>, ModelError>> {
        self.residuals(probe)
    }
}

impl StudentStep for ContinuousTimeStep<'_> {
    fn residuals(&self, probe: &Probe) -> Option<Result<Vec<f64>, ModelError>> {
        Some(self.residuals(probe))
    }
}

impl StudentStep for ProgressiveStep<'_> {
    fn finished_stage(&self, images: u64, total_images: u64) -> Option<Stage> {
        self.finished_stage(images, total_images)
    }

    fn steps(&self) -> Option<usize> {
        Some(self.steps())
    }
}

impl StudentStep for ShortcutStep<'_> {}

impl StudentStep for TwoTimeStep<'_> {}

impl StudentStep for MomentMatchingStep<'_> {}
