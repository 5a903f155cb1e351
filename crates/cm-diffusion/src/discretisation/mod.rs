//! Which noise levels a run works on.

mod karras;

pub use karras::Karras;

use crate::{NoiseLevels, NumLevels, QuantityError, SigmaRange};
use serde::{Deserialize, Serialize};

/// N noise levels from sigma_max down to sigma_min.
pub trait Discretisation: Send + Sync {
    /// The levels; the first is exactly sigma_max, the last exactly sigma_min.
    fn noise_levels(&self, num_levels: NumLevels) -> NoiseLevels;
}

/// A discretisation and its range of levels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscretisationConfig {
    /// The paper's epsilon, data units, > 0.
    pub sigma_min: f32,
    /// The paper's T, data units, > `sigma_min`.
    pub sigma_max: f32,
    /// Curvature of the Karras levels, > 0.
    pub rho: f32,
}

impl Default for DiscretisationConfig {
    fn default() -> Self {
        Self {
            sigma_min: 0.002, // Song et al. 2023, Section 2 (epsilon)
            sigma_max: 80.0,  // Song et al. 2023, Section 2 (T)
            rho: 7.0,         // Karras et al. 2022, Table 1
        }
    }
}

impl DiscretisationConfig {
    /// The checked range of levels.
    ///
    /// # Errors
    /// [`QuantityError::Range`] unless 0 < sigma_min < sigma_max.
    pub fn range(&self) -> Result<SigmaRange, QuantityError> {
        SigmaRange::new(self.sigma_min, self.sigma_max)
    }

    /// The discretisation described.
    ///
    /// # Errors
    /// [`QuantityError`] if the range is empty or rho is not positive.
    pub fn build(&self) -> Result<Karras, QuantityError> {
        Karras::new(self.range()?, self.rho)
    }
}
