//! Heun's method.

use super::{
    OdeSolver,
    two_stage::{stages, two_stage},
};
use crate::{Denoiser, ModelError, Sigma};
use cm_image::ImageBatch;

/// The mean of the slopes at both ends: Karras et al. 2022, Algorithm 1; Song et al. 2023, Section 6.1.
///
/// d = (x - D(x; from)) / from, x~ = x + (to - from) d, d' = (x~ - D(x~; to)) / to,
/// x' = x + (to - from) (d + d') / 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heun;

impl OdeSolver for Heun {
    fn order(&self) -> u32 {
        2
    }

    fn asks_at(&self, from: Sigma, to: Sigma) -> Vec<Sigma> {
        stages(from, to, |_, to| to)
    }

    fn step(
        &self,
        denoiser: &dyn Denoiser,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        two_stage(denoiser, x, (from, to), labels, |_, to| to, [0.5, 0.5])
    }
}
