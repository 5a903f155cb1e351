//! The second-order DPM-Solver.

use super::{
    OdeSolver,
    two_stage::{stages, two_stage},
};
use crate::{Denoiser, ModelError, Sigma};
use cm_image::ImageBatch;

/// The slope in the middle of the step, where the middle is that of ln sigma, sqrt(from to): DPM-Solver-2 with
/// r_1 = 1/2 (Lu et al. 2022, Algorithm 1), written for x = x_0 + sigma n.
///
/// Their exponential integrator in ln sigma is in these variables an Euler step to the middle and another with the
/// slope found there: sigma_s (exp(h) - 1) with h = ln(from / sigma_s) is from - sigma_s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DpmSolver2;

impl OdeSolver for DpmSolver2 {
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

/// sqrt(from to), both positive.
fn middle(from: Sigma, to: Sigma) -> Sigma {
    let product = f64::from(from.get()) * f64::from(to.get());
    Sigma::new(libm::sqrt(product) as f32).expect("the geometric mean lies between its arguments")
}
