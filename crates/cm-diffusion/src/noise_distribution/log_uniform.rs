//! ln sigma uniform over a range.

use super::NoiseDistribution;
use crate::{QuantityError, Sigma, SigmaRange};
use cm_image::random::Random;
use serde::{Deserialize, Serialize};

/// ln sigma is uniform over a range: every octave of noise is equally likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogUniform {
    range: SigmaRange,
}

impl LogUniform {
    /// The law over `range`.
    pub fn new(range: SigmaRange) -> Self {
        Self { range }
    }
}

impl NoiseDistribution for LogUniform {
    fn draw(&self, random: &mut Random) -> Sigma {
        let (min, max) = (self.range.min().get(), self.range.max().get());
        let start = libm::log(f64::from(min));
        let log = start + random.uniform_f64() * (libm::log(f64::from(max)) - start);
        Sigma::new((libm::exp(log) as f32).clamp(min, max)).expect("a number between two noise levels is one")
    }
}

/// Parameters of [`LogUniform`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogUniformConfig {
    /// Smallest level, data units, > 0.
    pub sigma_min: f32,
    /// Largest level, data units, > `sigma_min`.
    pub sigma_max: f32,
}

impl Default for LogUniformConfig {
    fn default() -> Self {
        Self {
            sigma_min: 0.002, // Song et al. 2023, Section 2 (epsilon)
            sigma_max: 80.0,  // Song et al. 2023, Section 2 (T)
        }
    }
}

impl LogUniformConfig {
    /// The law described.
    ///
    /// # Errors
    /// [`QuantityError::Range`] unless 0 < sigma_min < sigma_max.
    pub fn build(&self) -> Result<LogUniform, QuantityError> {
        Ok(LogUniform::new(SigmaRange::new(self.sigma_min, self.sigma_max)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decade_is_drawn_equally_often() {
        let law = LogUniformConfig { sigma_min: 0.01, sigma_max: 100.0 }.build().unwrap();
        let mut random = Random::new(1);
        let mut decades = [0i32; 4];
        for _ in 0..40_000 {
            let sigma = law.draw(&mut random).get();
            assert!((0.01..=100.0).contains(&sigma));
            decades[(sigma.log10() + 2.0).clamp(0.0, 3.0) as usize] += 1;
        }
        // Five standard deviations of a count of 10,000 in 40,000.
        assert!(decades.iter().all(|&n| (n - 10_000).abs() < 434), "{decades:?}");
    }
}
