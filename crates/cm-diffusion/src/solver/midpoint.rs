//! The midpoint method.

use super::{OdeSolver, two_stage::two_stage};
use crate::{Denoiser, ModelError, Sigma};
use cm_image::ImageBatch;

/// The slope in the middle of the step, where the middle is that of ln sigma, sqrt(from to): DPM-Solver-2 with
/// r_1 = 1/2 (Lu et al. 2022, Algorithm 1), written for x = x_0 + sigma n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Midpoint;

impl OdeSolver for Midpoint {
    fn order(&self) -> u32 {
        2
    }

    fn evaluations(&self, to_zero: bool) -> usize {
        if to_zero { 1 } else { 2 }
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

/// sqrt(from to), both positive.
fn middle(from: Sigma, to: Sigma) -> Sigma {
    let product = f64::from(from.get()) * f64::from(to.get());
    Sigma::new(libm::sqrt(product) as f32).expect("the geometric mean lies between its arguments")
}
