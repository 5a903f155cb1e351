//! The midpoint method with its middle in sigma^(1/3).

use super::{
    OdeSolver,
    two_stage::{stages, two_stage},
};
use crate::{Denoiser, ModelError, Sigma};
use cm_image::ImageBatch;

/// The slope at ((from^(1/3) + to^(1/3)) / 2)^3, the middle on Karras levels of rho = 3: what the original code of
/// Song et al. 2023 calls its `dpm` sampler. The middle lies between those of [`Midpoint`](super::Midpoint) (rho = 1)
/// and [`DpmSolver2`](super::DpmSolver2) (rho to infinity).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rho3Midpoint;

impl OdeSolver for Rho3Midpoint {
    fn order(&self) -> u32 {
        2
    }

    fn asks_at(&self, from: Sigma, to: Sigma) -> Vec<Sigma> {
        stages(from, to, middle)
    }

    fn step(
        &self,
        denoiser: &dyn Denoiser,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        two_stage(denoiser, x, (from, to), labels, middle, [0.0, 1.0])
    }
}

/// The mean of two levels' cube roots, cubed.
fn middle(from: Sigma, to: Sigma) -> Sigma {
    let root = |sigma: Sigma| libm::cbrt(f64::from(sigma.get()));
    let mean = 0.5 * (root(from) + root(to));
    Sigma::new((mean * mean * mean) as f32).expect("the mean lies between its arguments")
}
