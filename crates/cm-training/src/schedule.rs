//! Quantities that change over a run.

use crate::Progress;

/// A quantity as a function of how far the run is.
pub trait Schedule {
    /// What it is a schedule of.
    type Value;

    /// Its value for the step that begins at `progress`.
    fn at(&self, progress: Progress) -> Self::Value;
}
