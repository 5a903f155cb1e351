//! Quantities that change over a run.

use crate::{DecayConfig, LearningRateConfig, Progress};

/// A quantity as a function of how far the run is.
pub trait Schedule {
    /// What it is a schedule of.
    type Value;

    /// Its value for the step that begins at `progress`.
    fn at(&self, progress: Progress) -> Self::Value;
}

impl Schedule for LearningRateConfig {
    type Value = f32;

    /// Linear from 0 to the peak over the warm-up (the first step already moves), then the decay over the rest.
    ///
    /// ```
    /// use cm_training::{DecayConfig, LearningRateConfig, Progress, Schedule};
    /// let rate = LearningRateConfig { peak: 1.0, warmup_images: 100, decay: DecayConfig::Linear };
    /// let at = |images| rate.at(Progress { step: 0, images, total_images: 300 });
    /// assert_eq!([at(50), at(100), at(200), at(300)], [0.5, 1.0, 0.5, 0.0]);
    /// ```
    fn at(&self, progress: Progress) -> f32 {
        let images = progress.images as f64;
        let warmup = self.warmup_images as f64;
        if images < warmup {
            // A rate of exactly 0 would waste the first step.
            return (f64::from(self.peak) * images.max(1.0) / warmup) as f32;
        }
        let rest = (progress.total_images as f64 - warmup).max(1.0);
        let done = ((images - warmup) / rest).min(1.0);
        let factor = match self.decay {
            DecayConfig::Constant => 1.0,
            DecayConfig::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            DecayConfig::Linear => 1.0 - done,
        };
        (f64::from(self.peak) * factor) as f32
    }
}
