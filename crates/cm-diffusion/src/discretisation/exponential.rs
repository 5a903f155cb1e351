//! Noise levels that fall by the same factor each time.

use super::Discretisation;
use crate::SigmaRange;

/// Levels evenly spaced in ln sigma, a geometric sequence: the variance-exploding levels of Song et al. 2021, Appendix
/// C; the even log-SNR spacing of Lu et al. 2022, as ln SNR = -2 ln sigma.
///
/// The limit of [`Karras`](crate::Karras) for rho to infinity.
///
/// ```
/// use cm_diffusion::{Discretisation, Exponential, NumLevels, SigmaRange};
/// let levels = Exponential::new(SigmaRange::new(0.5, 8.0)?).noise_levels(NumLevels::new(5)?)?;
/// let levels: Vec<f32> = levels.as_slice().iter().map(|sigma| sigma.get()).collect();
/// assert_eq!(levels, [8.0, 4.0, 2.0, 1.0, 0.5]);
/// # Ok::<(), cm_diffusion::QuantityError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponential {
    range: SigmaRange,
}

impl Exponential {
    /// Levels over `range`.
    pub fn new(range: SigmaRange) -> Self {
        Self { range }
    }
}

impl Discretisation for Exponential {
    fn range(&self) -> SigmaRange {
        self.range
    }

    fn between(&self, fraction: f64) -> f64 {
        let [min, max] = [self.range.min(), self.range.max()].map(|sigma| libm::log(f64::from(sigma.get())));
        libm::exp(max + fraction * (min - max))
    }
}
