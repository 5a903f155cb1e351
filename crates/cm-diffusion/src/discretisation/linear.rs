//! Noise levels that are evenly spaced.

use super::Discretisation;
use crate::SigmaRange;

/// Levels evenly spaced in sigma: [`Karras`](crate::Karras) with rho = 1 (Karras et al. 2022, Equation 5). Most of them
/// are above the data's scale; here for comparison.
///
/// ```
/// use cm_diffusion::{Discretisation, Linear, NumLevels, SigmaRange};
/// let levels = Linear::new(SigmaRange::new(1.0, 9.0)?).noise_levels(NumLevels::new(5)?)?;
/// let levels: Vec<f32> = levels.as_slice().iter().map(|sigma| sigma.get()).collect();
/// assert_eq!(levels, [9.0, 7.0, 5.0, 3.0, 1.0]);
/// # Ok::<(), cm_diffusion::QuantityError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    range: SigmaRange,
}

impl Linear {
    /// Levels over `range`.
    pub fn new(range: SigmaRange) -> Self {
        Self { range }
    }
}

impl Discretisation for Linear {
    fn range(&self) -> SigmaRange {
        self.range
    }

    fn between(&self, fraction: f64) -> f64 {
        let (min, max) = (f64::from(self.range.min().get()), f64::from(self.range.max().get()));
        max + fraction * (min - max)
    }
}
