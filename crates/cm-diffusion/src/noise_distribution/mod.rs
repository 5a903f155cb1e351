//! At which noise levels a denoiser is trained.

mod log_normal;
mod log_uniform;

pub use log_normal::{LogNormal, LogNormalConfig};
pub use log_uniform::{LogUniform, LogUniformConfig};

use crate::{QuantityError, Sigma};
use cm_image::random::Random;
use serde::{Deserialize, Serialize};

/// A law of noise levels.
pub trait NoiseDistribution: Send + Sync {
    /// The next level, positive and finite.
    fn draw(&self, random: &mut Random) -> Sigma;
}

/// The choice among the laws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NoiseDistributionConfig {
    /// ln sigma is normal.
    LogNormal(LogNormalConfig),
    /// ln sigma is uniform.
    LogUniform(LogUniformConfig),
}

impl Default for NoiseDistributionConfig {
    fn default() -> Self {
        Self::LogNormal(LogNormalConfig::default()) // Karras et al. 2022, Table 1 (noise distribution)
    }
}

impl NoiseDistributionConfig {
    /// The law described.
    ///
    /// # Errors
    /// [`QuantityError`] if its parameters are out of range.
    pub fn build(&self) -> Result<Box<dyn NoiseDistribution>, QuantityError> {
        Ok(match self {
            Self::LogNormal(config) => Box::new(config.build()?),
            Self::LogUniform(config) => Box::new(config.build()?),
        })
    }
}
