//! The preconditioning of a denoiser.

use super::{Coefficients, Precondition};
use crate::Sigma;

/// Karras et al. 2022, Table 1 ("EDM", network and preconditioning).
///
/// ```
/// use cm_diffusion::{Edm, Precondition, Sigma};
/// // At sigma = sigma_data the skip and the network share the output evenly.
/// let c = Edm { sigma_data: 0.5 }.coefficients(Sigma::new(0.5).unwrap());
/// assert_eq!(c.c_skip, 0.5);
/// assert!((c.c_out - 0.5 / 2f32.sqrt()).abs() < 1e-7);
/// assert!((c.c_in - 2f32.sqrt()).abs() < 1e-6);
/// assert!((c.c_noise - 0.5f32.ln() / 4.0).abs() < 1e-7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edm {
    /// Standard deviation of the data, positive.
    pub sigma_data: f32,
}

impl Precondition for Edm {
    fn coefficients(&self, sigma: Sigma) -> Coefficients {
        let (s, d) = (f64::from(sigma.get()), f64::from(self.sigma_data));
        let norm = s.hypot(d);
        Coefficients {
            c_skip: (d * d / (norm * norm)) as f32,
            c_out: (s * d / norm) as f32,
            c_in: (1.0 / norm) as f32,
            c_noise: c_noise(s),
        }
    }
}

/// ln(sigma) / 4, kept finite at sigma = 0 (Karras et al. 2022, Table 1; the smallest normal number in place of 0).
pub(super) fn c_noise(sigma: f64) -> f32 {
    (libm::log(sigma.max(f64::from(f32::MIN_POSITIVE))) / 4.0) as f32
}
