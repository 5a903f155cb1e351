//! Averages of the weights over the past.

use crate::{Duration, PowerEma, RangeError};
use serde::{Deserialize, Serialize};

/// An average of the weights over the past. It begins at the first weights and is evaluated in place of the last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum EmaConfig {
    /// The weights themselves.
    None,
    /// average <- decay x average + (1 - decay) x weights each step; decay in [0, 1).
    PerStep(f32),
    /// The decay per step at which the past counts half after this long, > 0.
    HalfLife(Duration),
    /// A width in proportion to the run so far, given by its standard deviation as a share of the run
    /// (sigma_rel of Karras et al. 2024), 0.001 to 0.28.
    Power(f32),
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self::PerStep(0.9999) // Song et al. 2023, Table 3, CIFAR-10
    }
}

impl EmaConfig {
    /// The average of a run of `total_images` in batches of `batch`.
    pub fn build(self, batch: usize, total_images: u64) -> Ema {
        match self {
            Self::None => Ema::Constant(0.0),
            Self::PerStep(decay) => Ema::Constant(decay),
            Self::HalfLife(half_life) => {
                let half_life = half_life.images(total_images).max(1);
                Ema::Constant(0.5f64.powf(batch as f64 / half_life as f64) as f32)
            }
            Self::Power(sigma_rel) => Ema::Power(PowerEma::with_sigma_rel(sigma_rel)),
        }
    }

    /// A short name, fit for tables and file names.
    pub fn name(self) -> String {
        match self {
            Self::None => "raw".into(),
            Self::PerStep(decay) => format!("ema-{decay}"),
            Self::HalfLife(Duration::Images(images)) => format!("ema-{images}-images"),
            Self::HalfLife(Duration::Fraction(share)) => format!("ema-{share}-of-run"),
            Self::Power(sigma_rel) => format!("ema-power-{sigma_rel}"),
        }
    }

    /// What is out of range, under the name `field`.
    pub fn problem(self, field: &str) -> Option<RangeError> {
        match self {
            Self::None => None,
            Self::PerStep(decay) => {
                RangeError::unless((0.0..1.0).contains(&decay), field, decay, "in [0, 1)")
            }
            Self::HalfLife(half_life) => half_life.problem(field, false),
            Self::Power(sigma_rel) => PowerEma::problem(sigma_rel, field),
        }
    }
}

/// The decay of an average at each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ema {
    /// The same at every step.
    Constant(f32),
    /// As the width grows with the run.
    Power(PowerEma),
}

impl Ema {
    /// The decay of the update after step `step`, counted from 1.
    pub fn decay(self, step: u64) -> f32 {
        match self {
            Self::Constant(decay) => decay,
            Self::Power(power) => power.decay(step),
        }
    }

    /// What is left in the average, after `steps` updates, of the weights that it began with: from 0 to 1.
    pub fn share_of_start(self, steps: u64) -> f64 {
        match self {
            Self::Constant(decay) => f64::from(decay).powf(steps as f64),
            Self::Power(_) if steps == 0 => 1.0,
            Self::Power(_) => 0.0, // its first update forgets
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_s_half_life() {
        // openai/consistency_models: 0.9999432189950708 is a half-life of 50 million images at batch 4096.
        let half_life = EmaConfig::HalfLife(Duration::Images(50_000_000));
        let decay = half_life.build(4096, 1).decay(1);
        assert!((decay - 0.999_943_2).abs() < 1e-7);
        let share = EmaConfig::HalfLife(Duration::Fraction(0.5)).build(4096, 100_000_000);
        assert_eq!(share.decay(7), decay);
    }

    #[test]
    fn what_is_left_of_the_start_is_the_product_of_all_decays() {
        for ema in [EmaConfig::None, EmaConfig::PerStep(0.99), EmaConfig::Power(0.1)] {
            let ema = ema.build(1, 1);
            for steps in [0, 1, 2, 300] {
                let product: f64 = (1..=steps).map(|step| f64::from(ema.decay(step))).product();
                assert!((ema.share_of_start(steps) - product).abs() < 1e-12, "{ema:?} {steps}");
            }
        }
    }
}
