//! The probability-flow ODE, solved from noise to data.

use super::{Labels, Sampler, starting_noise};
use crate::{Denoiser, ModelError, NoiseLevels, OdeSolver, Sigma};
use cm_image::{ImageBatch, ImageShape};

/// Deterministic sampling: Karras et al. 2022, Algorithm 1. One solver step between adjacent levels and a last one
/// to 0, so n levels cost 2n - 1 evaluations with Heun (18 levels: 35) and n with Euler.
#[derive(Clone, Copy)]
pub struct ProbabilityFlow<'a> {
    /// D.
    pub denoiser: &'a dyn Denoiser,
    /// The one-step method.
    pub solver: &'a dyn OdeSolver,
    /// The shape of the denoiser's images.
    pub shape: ImageShape,
    /// Levels visited before 0; sampling starts from noise at the first.
    pub levels: &'a NoiseLevels,
    /// The classes asked for.
    pub labels: Labels,
}

impl ProbabilityFlow<'_> {
    /// The images at sigma = 0 on the trajectories through `x` at the noisiest level; `labels` are their classes, or
    /// empty.
    ///
    /// # Errors
    /// [`ModelError`] if the denoiser fails.
    pub fn integrate(&self, mut x: ImageBatch, labels: &[u32]) -> Result<ImageBatch, ModelError> {
        for (from, to) in steps(self.levels) {
            x = self.solver.step(self.denoiser, &x, &vec![from; x.count()], &vec![to; x.count()], labels)?;
        }
        Ok(x)
    }
}

impl Sampler for ProbabilityFlow<'_> {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
        let noise = starting_noise(self.shape, self.levels.as_slice()[0], seeds);
        self.integrate(noise, &self.labels.of(seeds))
    }

    fn evaluations(&self) -> usize {
        evaluations(self.solver, self.levels)
    }
}

/// (from, to) of each step: the intervals of `levels`, then the step from the last level to 0.
pub(super) fn steps(levels: &NoiseLevels) -> impl Iterator<Item = (Sigma, Sigma)> {
    let levels = levels.as_slice();
    levels.iter().copied().zip(levels[1..].iter().copied().chain([Sigma::ZERO]))
}

/// Denoiser calls over all [`steps`].
pub(super) fn evaluations(solver: &dyn OdeSolver, levels: &NoiseLevels) -> usize {
    steps(levels).map(|(_, to)| solver.evaluations(to == Sigma::ZERO)).sum()
}
