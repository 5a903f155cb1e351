//! The preconditioning of the variance-preserving formulation.

use super::{Coefficients, Precondition};
use crate::Sigma;

/// Karras et al. 2022, Table 1, column "VP": the network foretells the noise, and is told the time of Song et al. 2021.
///
/// ```
/// use cm_diffusion::{Precondition, Sigma, Vp};
/// let c = Vp::default().coefficients(Sigma::new(1.0).unwrap());
/// assert_eq!((c.c_skip, c.c_out), (1.0, -1.0));
/// assert!((c.c_in - 0.5f32.sqrt()).abs() < 1e-7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vp {
    /// Extent of the noise schedule, positive.
    pub beta_d: f32,
    /// Its slope at the beginning.
    pub beta_min: f32,
    /// The steps of the discrete formulation it stems from, M.
    pub steps: f32,
}

impl Default for Vp {
    fn default() -> Self {
        Self { beta_d: 19.9, beta_min: 0.1, steps: 1000.0 } // Karras et al. 2022, Table 1
    }
}

impl Vp {
    /// The time at which the noise level is `sigma`.
    fn time(self, sigma: f32) -> f32 {
        // Step by step in single precision, as the original: a time is multiplied by 999 and by frequencies.
        let log = libm::log(f64::from(1.0 + sigma * sigma)) as f32;
        let (d, min) = (self.beta_d, self.beta_min);
        ((min * min + (2.0 * d) * log).sqrt() - min) / d
    }
}

impl Precondition for Vp {
    fn coefficients(&self, sigma: Sigma) -> Coefficients {
        let s = f64::from(sigma.get());
        Coefficients {
            c_skip: 1.0,
            c_out: -sigma.get(),
            c_in: (1.0 / s.hypot(1.0)) as f32,
            c_noise: (self.steps - 1.0) * self.time(sigma.get()),
        }
    }
}
