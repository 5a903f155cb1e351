//! The cosine schedule's noise levels.

use super::Discretisation;
use crate::{QuantityError, SigmaRange};
use serde::{Deserialize, Serialize};

/// sigma = scale tan(phi) with the angle phi evenly spaced: the cosine schedule of Nichol and Dhariwal 2021, Equation
/// 17.
///
/// That schedule keeps variance: x = cos(phi) x_0 + sin(phi) n, with phi linear in time. Divided by cos(phi) it is
/// x_0 + tan(phi) n, which is the form used here. Their offset s only keeps the first angle above 0, as sigma_min does
/// here. A `scale` other than 1 moves the whole schedule to other noise, ln SNR by -2 ln scale: the shifted cosine
/// schedule of Hoogeboom et al. 2023. With the data's standard deviation as the scale, phi is the time of TrigFlow (Lu
/// and Song 2025).
///
/// ```
/// use cm_diffusion::{Cosine, Discretisation, NumLevels, SigmaRange};
/// // tan(75 degrees) = 2 + sqrt(3), tan(15 degrees) = 2 - sqrt(3): the middle is 45 degrees.
/// let range = SigmaRange::new(2.0 - 3f32.sqrt(), 2.0 + 3f32.sqrt())?;
/// let levels = Cosine::new(range, 1.0)?.noise_levels(NumLevels::new(3)?)?;
/// assert!((levels.as_slice()[1].get() - 1.0).abs() < 1e-6);
/// # Ok::<(), cm_diffusion::QuantityError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    range: SigmaRange,
    scale: f64,
    /// The angles of sigma_max and sigma_min, in (0, pi / 2).
    angles: [f64; 2],
}

/// Constants of [`Cosine`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosineConfig {
    /// The noise level at 45 degrees, data units, > 0.
    pub scale: f32,
}

impl Default for CosineConfig {
    fn default() -> Self {
        Self {
            scale: 1.0, // Nichol and Dhariwal 2021, Equation 17, on data in [-1, 1]
        }
    }
}

impl Cosine {
    /// Levels over `range`; `scale` is the level at 45 degrees.
    ///
    /// # Errors
    /// [`QuantityError::Scale`] unless `scale` is positive and finite, and so large or small that the ends of the
    /// range keep angles of their own.
    pub fn new(range: SigmaRange, scale: f32) -> Result<Self, QuantityError> {
        let angles =
            [range.max(), range.min()].map(|sigma| libm::atan(f64::from(sigma.get()) / f64::from(scale)));
        // So near a right angle that the tangent of the level is lost to rounding.
        let lost = |angle: f64| std::f64::consts::FRAC_PI_2 - angle < 1e-9;
        if scale > 0.0 && scale.is_finite() && angles[0] > angles[1] && !lost(angles[0]) {
            Ok(Self { range, scale: f64::from(scale), angles })
        } else {
            Err(QuantityError::Scale(scale))
        }
    }
}

impl Discretisation for Cosine {
    fn range(&self) -> SigmaRange {
        self.range
    }

    fn between(&self, fraction: f64) -> f64 {
        let [start, end] = self.angles;
        self.scale * libm::tan(start + fraction * (end - start))
    }
}
