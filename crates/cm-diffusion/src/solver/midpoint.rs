//! The midpoint method.

use super::{
    OdeSolver,
    two_stage::{stages, two_stage},
};
use crate::{Denoiser, ModelError, Sigma};
use cm_image::ImageBatch;

/// The slope at (from + to) / 2: the midpoint method of the textbooks, for dx/dsigma as it stands.
///
/// [`DpmSolver2`](super::DpmSolver2) and [`Rho3Midpoint`](super::Rho3Midpoint) differ in where the middle is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Midpoint;

impl OdeSolver for Midpoint {
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

/// The mean of two levels.
fn middle(from: Sigma, to: Sigma) -> Sigma {
    let mean = 0.5 * (f64::from(from.get()) + f64::from(to.get()));
    Sigma::new(mean as f32).expect("the mean lies between its arguments")
}
