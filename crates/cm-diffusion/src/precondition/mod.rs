//! How a raw network F becomes a denoiser or a consistency function: D(x; sigma) = c_skip x + c_out F(c_in x, c_noise).

mod boundary;
mod edm;
mod iddpm;
mod ve;
mod vp;

pub use boundary::Boundary;
pub use edm::Edm;
pub use iddpm::Iddpm;
pub use ve::Ve;
pub use vp::Vp;

use crate::Sigma;

/// D(x; sigma) = c_skip x + c_out F(c_in x, c_noise): Karras et al. 2022, Equation 7.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// Factor of the noisy image in the output.
    pub c_skip: f32,
    /// Factor of the network's output.
    pub c_out: f32,
    /// Factor of the network's input.
    pub c_in: f32,
    /// The network's noise-level input.
    pub c_noise: f32,
}

/// The choice of [`Coefficients`] at each noise level.
pub trait Precondition: Send + Sync {
    /// The coefficients at `sigma`.
    fn coefficients(&self, sigma: Sigma) -> Coefficients;
}

#[cfg(test)]
mod tests;
