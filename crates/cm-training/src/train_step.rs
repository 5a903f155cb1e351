//! A method of training, as the loop knows it.

use crate::state::TrainState;
use crate::step::{Batch, Progress, StepReport, StepSeed, TrainError};
use cm_tensor::{CheckpointError, TensorFile};

/// A method of training.
pub trait TrainStep {
    /// Takes one step: draws what it needs from `seed`, updates its weights and averages.
    ///
    /// # Errors
    /// [`TrainError`]; then weights and averages are as before the step.
    fn step(&mut self, batch: &Batch, progress: Progress, seed: StepSeed) -> Result<StepReport, TrainError>;

    /// Weights, moments and averages.
    fn state(&self) -> &TrainState;

    /// The same, to be changed.
    fn state_mut(&mut self) -> &mut TrainState;

    /// All that a resumed run needs: the state, and what else a method keeps.
    fn save(&self, file: &mut TensorFile) {
        self.state().save(file);
    }

    /// Restores what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file is not of this method and network.
    fn load(&mut self, file: &TensorFile) -> Result<(), CheckpointError> {
        self.state_mut().load(file)
    }
}
