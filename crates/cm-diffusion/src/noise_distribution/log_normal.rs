//! ln sigma ~ N(mean, std^2).

use super::NoiseDistribution;
use crate::{QuantityError, Sigma};
use cm_image::random::Random;
use serde::{Deserialize, Serialize};

/// ln sigma ~ N(mean, std^2): Karras et al. 2022, Table 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogNormal {
    mean: f32,
    std: f32,
}

impl LogNormal {
    /// The law with this mean and standard deviation of ln sigma.
    ///
    /// # Errors
    /// [`QuantityError::LogNormal`] unless std >= 0 and |mean| + 6 std <= 80, so that no draw can overflow
    /// ([`Random::normal`] stays within 6).
    pub fn new(mean: f32, std: f32) -> Result<Self, QuantityError> {
        if std >= 0.0 && mean.abs() + 6.0 * std <= 80.0 {
            Ok(Self { mean, std })
        } else {
            Err(QuantityError::LogNormal { mean, std })
        }
    }
}

impl NoiseDistribution for LogNormal {
    fn draw(&self, random: &mut Random) -> Sigma {
        let log = f64::from(self.mean) + f64::from(self.std) * f64::from(random.normal());
        Sigma::new(libm::exp(log) as f32).expect("|ln sigma| is at most 80")
    }
}

/// Parameters of [`LogNormal`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogNormalConfig {
    /// Mean of ln sigma, any whose law stays in single precision: |mean| + 6 std at most 80.
    pub mean: f32,
    /// Standard deviation of ln sigma, >= 0.
    pub std: f32,
}

impl Default for LogNormalConfig {
    fn default() -> Self {
        Self {
            mean: -1.2, // Karras et al. 2022, Table 1 (P_mean)
            std: 1.2,   // Karras et al. 2022, Table 1 (P_std)
        }
    }
}

impl LogNormalConfig {
    /// The law described.
    ///
    /// # Errors
    /// [`QuantityError::LogNormal`], see [`LogNormal::new`].
    pub fn build(&self) -> Result<LogNormal, QuantityError> {
        LogNormal::new(self.mean, self.std)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_have_the_given_mean_and_spread() {
        let law = LogNormalConfig::default().build().unwrap();
        let mut random = Random::new(5);
        let n = 50_000;
        let logs: Vec<f64> = (0..n).map(|_| f64::from(law.draw(&mut random).get()).ln()).collect();
        let n = f64::from(n);
        let mean = logs.iter().sum::<f64>() / n;
        let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n;
        // Five standard errors.
        assert!((mean + 1.2).abs() < 5.0 * 1.2 / n.sqrt(), "{mean}");
        assert!((variance - 1.44).abs() < 5.0 * 1.44 * (2.0 / n).sqrt(), "{variance}");
    }

    #[test]
    fn overflowing_laws_are_refused() {
        assert!(LogNormal::new(0.0, -1.0).is_err() && LogNormal::new(70.0, 2.0).is_err());
        assert!(LogNormal::new(f32::NAN, 1.0).is_err() && LogNormal::new(0.0, f32::INFINITY).is_err());
    }
}
