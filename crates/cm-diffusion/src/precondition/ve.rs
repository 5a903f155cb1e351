//! The preconditioning of the variance-exploding formulation.

use super::{Coefficients, Precondition};
use crate::Sigma;

/// Karras et al. 2022, Table 1, column "VE": the network foretells the noise with the sign turned.
///
/// ```
/// use cm_diffusion::{Precondition, Sigma, Ve};
/// let c = Ve.coefficients(Sigma::new(2.0).unwrap());
/// assert_eq!((c.c_skip, c.c_out, c.c_in, c.c_noise), (1.0, 2.0, 1.0, 0.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ve;

impl Precondition for Ve {
    fn coefficients(&self, sigma: Sigma) -> Coefficients {
        let s = f64::from(sigma.get()).max(f64::from(f32::MIN_POSITIVE));
        Coefficients { c_skip: 1.0, c_out: sigma.get(), c_in: 1.0, c_noise: libm::log(0.5 * s) as f32 }
    }
}
