//! lambda: how much each noise level counts in a loss.

use crate::Sigma;
use serde::{Deserialize, Serialize};

/// The weight lambda of a training pair.
pub trait Weighting: Send + Sync {
    /// The weight of the pair of levels `upper` > `lower` >= 0. Only [`WeightingConfig::InverseGap`] looks at
    /// `lower`.
    fn weight(&self, upper: Sigma, lower: Sigma) -> f32;
}

/// The choice among the weightings. SNR stands for sigma^-2 at the upper level.
///
/// ```
/// use cm_diffusion::{Sigma, WeightingConfig};
/// let (upper, lower) = (Sigma::new(2.0)?, Sigma::new(1.5)?);
/// let weight = |config: WeightingConfig| config.build(0.5).weight(upper, lower);
/// assert_eq!(weight(WeightingConfig::Uniform), 1.0);
/// assert_eq!(weight(WeightingConfig::Snr), 0.25);
/// assert_eq!(weight(WeightingConfig::SnrPlusOne), 1.25);
/// assert_eq!(weight(WeightingConfig::TruncatedSnr), 1.0);
/// assert_eq!(weight(WeightingConfig::Karras), 4.25);
/// assert_eq!(weight(WeightingConfig::InverseGap), 2.0);
/// assert_eq!(weight(WeightingConfig::TrigFlow), 4.25);
/// # Ok::<(), cm_diffusion::QuantityError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightingConfig {
    /// 1.
    #[default] // Song et al. 2023, Section 5 (lambda = 1 in all experiments)
    Uniform,
    /// SNR (Salimans and Ho 2022, Section 4).
    Snr,
    /// SNR + 1 (Salimans and Ho 2022, Section 4).
    SnrPlusOne,
    /// max(SNR, 1) (Salimans and Ho 2022, Section 4).
    TruncatedSnr,
    /// SNR + 1 / sigma_data^2, the weight that gives every level the same initial loss (Karras et al. 2022,
    /// Table 1).
    Karras,
    /// 1 / (upper - lower) (Song and Dhariwal 2023, Section 3.1).
    InverseGap,
    /// sigma / sigma_data + sigma_data / sigma = 1 / (sin t cos t), t = arctan(sigma / sigma_data): the prior weight
    /// 1 / (sigma_data tan t) of sCM in the variables here, where a loss per sigma is weighted (Lu and Song 2025,
    /// Section 4.2).
    TrigFlow,
}

impl WeightingConfig {
    /// The weighting chosen, for data of standard deviation `sigma_data` > 0.
    pub fn build(self, sigma_data: f32) -> Box<dyn Weighting> {
        match self {
            Self::Uniform => Box::new(Uniform),
            Self::Snr => Box::new(Snr),
            Self::SnrPlusOne => Box::new(SnrPlusOne),
            Self::TruncatedSnr => Box::new(TruncatedSnr),
            Self::Karras => Box::new(Karras { sigma_data }),
            Self::InverseGap => Box::new(InverseGap),
            Self::TrigFlow => Box::new(TrigFlow { sigma_data }),
        }
    }
}

struct Uniform;
struct Snr;
struct SnrPlusOne;
struct TruncatedSnr;
struct Karras {
    sigma_data: f32,
}
struct InverseGap;
struct TrigFlow {
    sigma_data: f32,
}

/// sigma^-2.
fn snr(sigma: Sigma) -> f64 {
    f64::from(sigma.get()).powi(-2)
}

impl Weighting for Uniform {
    fn weight(&self, _: Sigma, _: Sigma) -> f32 {
        1.0
    }
}

impl Weighting for Snr {
    fn weight(&self, upper: Sigma, _: Sigma) -> f32 {
        snr(upper) as f32
    }
}

impl Weighting for SnrPlusOne {
    fn weight(&self, upper: Sigma, _: Sigma) -> f32 {
        (snr(upper) + 1.0) as f32
    }
}

impl Weighting for TruncatedSnr {
    fn weight(&self, upper: Sigma, _: Sigma) -> f32 {
        snr(upper).max(1.0) as f32
    }
}

impl Weighting for Karras {
    fn weight(&self, upper: Sigma, _: Sigma) -> f32 {
        (snr(upper) + f64::from(self.sigma_data).powi(-2)) as f32
    }
}

impl Weighting for InverseGap {
    fn weight(&self, upper: Sigma, lower: Sigma) -> f32 {
        (1.0 / (f64::from(upper.get()) - f64::from(lower.get()))) as f32
    }
}

impl Weighting for TrigFlow {
    fn weight(&self, upper: Sigma, _: Sigma) -> f32 {
        let ratio = f64::from(upper.get()) / f64::from(self.sigma_data);
        (ratio + ratio.recip()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Edm, Precondition};

    /// Karras et al. 2022, Equation 8: lambda c_out^2 = 1.
    #[test]
    fn the_karras_weight_cancels_the_output_scale() {
        for sigma in [0.002, 0.1, 0.5, 3.0, 80.0] {
            let sigma = Sigma::new(sigma).unwrap();
            let c_out = Edm { sigma_data: 0.75 }.coefficients(sigma).c_out;
            let weight = WeightingConfig::Karras.build(0.75).weight(sigma, Sigma::ZERO);
            assert!((weight * c_out * c_out - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn the_truncated_weight_is_the_snr_below_one() {
        let low = Sigma::new(0.5).unwrap();
        assert_eq!(WeightingConfig::TruncatedSnr.build(0.5).weight(low, Sigma::ZERO), 4.0);
    }
}
