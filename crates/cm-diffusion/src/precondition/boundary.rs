//! The preconditioning of a consistency model.

use super::{Coefficients, Precondition, edm::c_noise};
use crate::Sigma;

/// Song et al. 2023, Appendix C: EDM's coefficients shifted so that f(x, sigma_min) = x exactly.
///
/// c_out's denominator keeps plain sigma, as in the paper and both original code bases.
///
/// ```
/// use cm_diffusion::{Boundary, Precondition, Sigma};
/// let boundary = Boundary { sigma_data: 0.5, sigma_min: 0.002 };
/// let c = boundary.coefficients(Sigma::new(0.002).unwrap());
/// assert_eq!((c.c_skip, c.c_out), (1.0, 0.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Boundary {
    /// Standard deviation of the data, positive.
    pub sigma_data: f32,
    /// The paper's epsilon, where the function is the identity.
    pub sigma_min: f32,
}

impl Precondition for Boundary {
    fn coefficients(&self, sigma: Sigma) -> Coefficients {
        let (s, d) = (f64::from(sigma.get()), f64::from(self.sigma_data));
        let above = s - f64::from(self.sigma_min);
        let norm = s.hypot(d);
        Coefficients {
            c_skip: (d * d / (above * above + d * d)) as f32,
            c_out: (above * d / norm) as f32,
            c_in: (1.0 / norm) as f32,
            c_noise: c_noise(s),
        }
    }
}
