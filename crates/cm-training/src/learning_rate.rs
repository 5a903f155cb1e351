//! The learning rate over a run.

use crate::{Duration, Progress, RangeError, Schedule};
use serde::{Deserialize, Serialize};

/// Learning rate over the images seen: a linear warm-up, then a decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearningRateConfig {
    /// The largest rate, > 0.
    pub peak: f32,
    /// How long the rate rises linearly from 0.
    pub warmup: Duration,
    /// What follows.
    pub decay: DecayConfig,
}

impl Default for LearningRateConfig {
    fn default() -> Self {
        Self {
            peak: 4e-4,                   // Song et al. 2023, Table 3, CIFAR-10
            warmup: Duration::Images(0),  // Song et al. 2023, Appendix C: no warm-up
            decay: DecayConfig::Constant, // Song et al. 2023, Appendix C: no decay
        }
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum DecayConfig {
    /// Not at all.
    Constant,
    /// Along half a cosine to 0 at the end of the run.
    Cosine,
    /// In a straight line to 0 at the end of the run.
    Linear,
    /// As 1 / sqrt(max(k / k0, 1)) with k0 this long, > 0, and k counted from the start of the run (Karras et al.
    /// 2024, Appendix A).
    InverseSqrt(Duration),
}

impl LearningRateConfig {
    /// Everything that is out of range, with paths relative to this struct.
    pub fn problems(&self) -> Vec<RangeError> {
        let Self { peak, warmup, decay } = *self;
        let slope = match decay {
            DecayConfig::Constant | DecayConfig::Cosine | DecayConfig::Linear => None,
            DecayConfig::InverseSqrt(start) => start.problem("decay", false),
        };
        let positive =
            RangeError::unless(peak > 0.0 && peak.is_finite(), "peak", peak, "a finite number above 0");
        [positive, warmup.problem("warmup", true), slope].into_iter().flatten().collect()
    }
}

impl Schedule for LearningRateConfig {
    type Value = f32;

    /// Linear from 0 to the peak over the warm-up (the first step already moves), then the decay over the rest. The
    /// inverse square root is no function of the rest: it counts from the start, and a warm-up longer than its k0
    /// ends below the peak.
    ///
    /// ```
    /// use cm_training::{DecayConfig, Duration, LearningRateConfig, Progress, Schedule};
    /// let rate = |decay| LearningRateConfig { peak: 1.0, warmup: Duration::Images(100), decay };
    /// let at = |decay, images| rate(decay).at(Progress { step: 0, images, total_images: 300 });
    /// assert_eq!([50, 100, 200, 300].map(|k| at(DecayConfig::Linear, k)), [0.5, 1.0, 0.5, 0.0]);
    /// let root = DecayConfig::InverseSqrt(Duration::Fraction(0.5));
    /// assert_eq!([100, 150, 600].map(|k| at(root, k)), [1.0, 1.0, 0.5]);
    /// ```
    fn at(&self, progress: Progress) -> f32 {
        let images = progress.images as f64;
        let warmup = self.warmup.images(progress.total_images) as f64;
        // A rate of exactly 0 would waste the first step.
        let rise = if images < warmup { images.max(1.0) / warmup } else { 1.0 };
        let rest = (progress.total_images as f64 - warmup).max(1.0);
        let done = ((images - warmup) / rest).clamp(0.0, 1.0);
        let fall = match self.decay {
            DecayConfig::Constant => 1.0,
            DecayConfig::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            DecayConfig::Linear => 1.0 - done,
            DecayConfig::InverseSqrt(start) => {
                (images / start.images(progress.total_images).max(1) as f64).max(1.0).sqrt().recip()
            }
        };
        (f64::from(self.peak) * rise * fall) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(decay: DecayConfig, images: u64) -> f32 {
        let rate = LearningRateConfig { peak: 0.01, warmup: Duration::Fraction(0.1), decay };
        rate.at(Progress { step: 0, images, total_images: 1_000 })
    }

    fn close(value: f32, expected: f64) {
        assert!((f64::from(value) / expected - 1.0).abs() < 1e-6, "{value} is not {expected}");
    }

    #[test]
    fn every_decay_shares_the_warm_up_and_falls_as_its_formula() {
        let root = DecayConfig::InverseSqrt(Duration::Images(200));
        for decay in [DecayConfig::Constant, DecayConfig::Cosine, DecayConfig::Linear, root] {
            close(at(decay, 0), 0.01 / 100.0);
            close(at(decay, 50), 0.005);
            close(at(decay, 100), 0.01);
        }
        close(at(DecayConfig::Constant, 1_000), 0.01);
        // A third of the way from the end of the warm-up: (1 + cos(pi / 3)) / 2.
        close(at(DecayConfig::Cosine, 400), 0.01 * 0.75);
        close(at(DecayConfig::Linear, 400), 0.01 * 2.0 / 3.0);
        assert_eq!([DecayConfig::Cosine, DecayConfig::Linear].map(|decay| at(decay, 1_000)), [0.0; 2]);
    }

    /// peak / sqrt(max(k / k0, 1)), worked out by hand: k0 = 200, k = 800 is half the peak.
    #[test]
    fn the_inverse_square_root_counts_from_the_start() {
        let root = DecayConfig::InverseSqrt(Duration::Images(200));
        for (images, expected) in [(199, 0.01), (200, 0.01), (450, 0.01 / 1.5), (800, 0.005)] {
            close(at(root, images), expected);
        }
        // Here the warm-up of 100 images outlasts k0.
        close(at(DecayConfig::InverseSqrt(Duration::Images(25)), 100), 0.005);
    }

    #[test]
    fn every_problem_is_reported() {
        let config = LearningRateConfig {
            peak: 0.0,
            warmup: Duration::Fraction(1.5),
            decay: DecayConfig::InverseSqrt(Duration::Images(0)),
        };
        let fields: Vec<_> = config.problems().into_iter().map(|p| p.field).collect();
        assert_eq!(fields, ["peak", "warmup", "decay"]);
        assert!(LearningRateConfig::default().problems().is_empty());
    }
}
