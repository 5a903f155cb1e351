//! Which noise levels a run works on.

mod cosine;
mod exponential;
mod karras;
mod linear;
#[cfg(test)]
mod tests;

pub use cosine::{Cosine, CosineConfig};
pub use exponential::Exponential;
pub use karras::{Karras, KarrasConfig};
pub use linear::Linear;

use crate::{NoiseLevels, NumLevels, QuantityError, Sigma, SigmaRange};
use serde::{Deserialize, Serialize};

/// N noise levels from sigma_max down to sigma_min, even in some function of sigma.
pub trait Discretisation: Send + Sync {
    /// The range of the levels.
    fn range(&self) -> SigmaRange;

    /// The level at `fraction` of the way, in units of sigma, for 0 < `fraction` < 1. Falls with the fraction; where
    /// rounding puts it outside the range, the nearer end is meant.
    fn between(&self, fraction: f64) -> f64;

    /// The level at `fraction` of the way: 0 is exactly sigma_max, 1 exactly sigma_min; fractions outside [0, 1]
    /// give the nearer end.
    fn at(&self, fraction: f64) -> Sigma {
        let range = self.range();
        if fraction <= 0.0 {
            range.max()
        } else if fraction >= 1.0 {
            range.min()
        } else {
            let level = (self.between(fraction) as f32).clamp(range.min().get(), range.max().get());
            Sigma::new(level).expect("a number between two noise levels is one")
        }
    }

    /// The levels at fractions 0, 1 / (N - 1), ..., 1: the first is exactly sigma_max, the last exactly sigma_min, and
    /// they fall strictly. Where levels lie closer than `f32` can tell, they are moved apart by one unit in the last
    /// place each.
    ///
    /// # Errors
    /// [`QuantityError::Crowded`] if there are fewer than N different `f32` numbers in the range.
    fn noise_levels(&self, num_levels: NumLevels) -> Result<NoiseLevels, QuantityError> {
        self.range().check_room(num_levels)?;
        let intervals = num_levels.intervals();
        let mut levels: Vec<f32> =
            (0..=intervals).map(|i| self.at(i as f64 / intervals as f64).get()).collect();
        for i in 1..intervals {
            levels[i] = levels[i].min(levels[i - 1].next_down());
        }
        for i in (1..intervals).rev() {
            levels[i] = levels[i].max(levels[i + 1].next_up());
        }
        NoiseLevels::new(levels)
    }
}

/// A range of noise levels and how they are spaced in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscretisationConfig {
    /// The paper's epsilon, data units, > 0.
    pub sigma_min: f32,
    /// The paper's T, data units, > `sigma_min`.
    pub sigma_max: f32,
    /// What the levels are evenly spaced in.
    pub spacing: SpacingConfig,
}

impl Default for DiscretisationConfig {
    fn default() -> Self {
        Self {
            sigma_min: 0.002,                  // Song et al. 2023, Section 2 (epsilon)
            sigma_max: 80.0,                   // Song et al. 2023, Section 2 (T)
            spacing: SpacingConfig::default(), // beside that type
        }
    }
}

/// What noise levels are evenly spaced in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum SpacingConfig {
    /// sigma^(1/rho): [`Karras`].
    Karras(KarrasConfig),
    /// sigma: [`Linear`].
    Linear,
    /// ln sigma: [`Exponential`].
    Exponential,
    /// arctan(sigma / scale): [`Cosine`].
    Cosine(CosineConfig),
}

impl Default for SpacingConfig {
    fn default() -> Self {
        Self::Karras(KarrasConfig::default()) // Song et al. 2023, Section 2
    }
}

impl SpacingConfig {
    /// Levels so spaced over `range`.
    ///
    /// # Errors
    /// [`QuantityError`] if a constant of the spacing is out of range.
    pub fn build(self, range: SigmaRange) -> Result<Box<dyn Discretisation>, QuantityError> {
        Ok(match self {
            Self::Karras(KarrasConfig { rho }) => Box::new(Karras::new(range, rho)?),
            Self::Linear => Box::new(Linear::new(range)),
            Self::Exponential => Box::new(Exponential::new(range)),
            Self::Cosine(CosineConfig { scale }) => Box::new(Cosine::new(range, scale)?),
        })
    }

    /// A short name for tables and files.
    pub fn name(self) -> String {
        match self {
            Self::Karras(KarrasConfig { rho }) => format!("karras-{rho}"),
            Self::Linear => "linear".to_owned(),
            Self::Exponential => "exponential".to_owned(),
            Self::Cosine(CosineConfig { scale }) => format!("cosine-{scale}"),
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
    /// [`QuantityError`] if the range is empty or a constant of the spacing is out of range.
    pub fn build(&self) -> Result<Box<dyn Discretisation>, QuantityError> {
        self.spacing.build(self.range()?)
    }
}
