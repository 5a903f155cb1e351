//! What is particular to inductive moment matching, as data.

use crate::Path;
use cm_diffusion::{QuantityError, Sigma, SigmaRange};
use cm_image::random::Random;
use cm_training::{RangeError, TrainConfig};
use serde::{Deserialize, Serialize};

/// Inductive moment matching (Zhou, Ermon and Song 2025): a jump from t to s is to have the law of a jump from a little
/// nearer, r, of the same images and noise. Laws are compared by a few particles that share their times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MomentMatchingConfig {
    /// M: particles that share s, r and t. Neighbours in the batch, so it divides the images of each of its parts. With 1
    /// it is a consistency loss.
    pub group: usize,
    /// The path on which times are uniform, with noise of the data's spread.
    pub path: Path,
    /// k: r is nearer than t by 2^-k of the range of levels, or s; 0 to 40.
    pub gap: u32,
    /// a of the weight sigmoid(b - l) (-dl/dt) alpha^a / (2 (alpha^2 + sigma^2)), l = ln(alpha^2 / sigma^2); 0 to 4.
    pub alpha_power: f32,
    /// b, -40 to 40.
    pub shift: f32,
}

impl Default for MomentMatchingConfig {
    fn default() -> Self {
        Self {
            group: 4,             // Zhou et al. 2025, CIFAR-10
            path: Path::Straight, // the same
            gap: 15,              // the same
            alpha_power: 1.0,     // the same
            shift: 5.0,           // the same
        }
    }
}

/// The levels of a group: where its jumps start, where their targets start, where both end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Jump {
    pub(crate) from: Sigma,
    pub(crate) middle: Sigma,
    pub(crate) to: Sigma,
}

impl MomentMatchingConfig {
    /// What is out of range for this training, with paths relative to this struct.
    pub fn problems(&self, train: &TrainConfig) -> Vec<RangeError> {
        let Self { group, path: _, gap, alpha_power, shift } = *self;
        let part = train.batch / train.shards.max(1);
        let checks = [
            (
                "group",
                format!("{group} (parts of {part} images)"),
                group > 0 && part.is_multiple_of(group),
                "a divisor of the images of a part of the batch: a group's particles are compared with each other",
            ),
            ("gap", gap.to_string(), gap <= 40, "0 to 40"),
            ("alpha_power", alpha_power.to_string(), (0.0..=4.0).contains(&alpha_power), "0 to 4"),
            ("shift", shift.to_string(), (-40.0..=40.0).contains(&shift), "-40 to 40"),
        ];
        let check = |(field, given, holds, allowed)| RangeError::unless(holds, field, given, allowed);
        checks.into_iter().filter_map(check).collect()
    }

    /// The levels of a group: t uniform over the range's times, s uniform below it, r between.
    ///
    /// # Errors
    /// [`QuantityError`] if rounding leads to no level, which it does not within a range.
    pub(crate) fn draw(
        &self,
        range: SigmaRange,
        sigma_data: f64,
        random: &mut Random,
    ) -> Result<Jump, QuantityError> {
        let (min, max) = (range.min().get(), range.max().get());
        let time = |level: f32| self.path.time(f64::from(level) / sigma_data, 1.0);
        // In single precision the start lies above the lowest level by one unit at least, and the end below the start.
        let level = |time: f64| (sigma_data * self.path.level(time, 1.0)) as f32;
        let (first, last) = (time(min), time(max));
        let start = first + random.uniform_f64() * (last - first);
        let from = level(start).clamp(min.next_up(), max);
        let end = first + random.uniform_f64() * (time(from) - first);
        let to = level(end).clamp(min, from.next_down());
        let gap = (max - min) * 0.5f32.powi(self.gap as i32);
        let middle = (from - gap).clamp(to, from.next_down());
        Ok(Jump { from: Sigma::new(from)?, middle: Sigma::new(middle)?, to: Sigma::new(to)? })
    }

    /// The weight of a jump from this level.
    pub(crate) fn weight(&self, from: Sigma, sigma_data: f64) -> f64 {
        let noise = f64::from(from.get()) / sigma_data;
        let (power, shift) = (f64::from(self.alpha_power), f64::from(self.shift));
        // l = -2 ln(sigma / alpha).
        let sigmoid = 1.0 / (1.0 + libm::exp(-shift - 2.0 * libm::log(noise)));
        // alpha and the variance alpha^2 + sigma^2, and -dl/dt of t from 0 to 1.
        let (alpha, variance, fall) = match self.path {
            Path::Straight => {
                let time = noise / (1.0 + noise);
                let alpha = 1.0 / (1.0 + noise);
                (alpha, alpha * alpha + time * time, 2.0 / (time * alpha))
            }
            Path::Trig => {
                let alpha = 1.0 / (1.0 + noise * noise).sqrt();
                (alpha, 1.0, std::f64::consts::PI / (alpha * alpha * noise))
            }
        };
        0.5 * sigmoid * fall * libm::pow(alpha, power) / variance
    }
}
