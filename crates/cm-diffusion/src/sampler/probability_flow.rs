//! The probability-flow ODE, solved from noise to data.

use super::{Labels, Sampler, starting_noise};
use crate::{Denoiser, ModelError, NoiseLevels, OdeSolver, Sigma};
use cm_image::{ImageBatch, ImageShape};
use serde::{Deserialize, Serialize};

/// Where the way from level to level ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowEnd {
    /// At 0: a last step leads there from sigma_min.
    #[default] // Karras et al. 2022, Algorithm 1
    Zero,
    /// At sigma_min, the last of the levels.
    SigmaMin,
}

/// Deterministic sampling: Karras et al. 2022, Algorithm 1. One solver step between adjacent levels and a last one
/// to 0, so n levels cost 2n - 1 evaluations with Heun (18 levels: 35) and n with Euler.
///
/// With Euler's steps, [`FlowEnd::SigmaMin`] and N + 1 levels it is how a progressively distilled model is sampled in
/// N steps (the original code of Song et al. 2023; Salimans and Ho 2022 end at 0).
#[derive(Clone, Copy)]
pub struct ProbabilityFlow<'a> {
    /// D.
    pub denoiser: &'a dyn Denoiser,
    /// The one-step method.
    pub solver: &'a dyn OdeSolver,
    /// The shape of the denoiser's images.
    pub shape: ImageShape,
    /// Levels visited; sampling starts from noise at the first.
    pub levels: &'a NoiseLevels,
    /// Whether a step to 0 follows the last level.
    pub end: FlowEnd,
    /// The classes asked for.
    pub labels: Labels,
}

impl ProbabilityFlow<'_> {
    /// The images at the end of the trajectories through `x` at the noisiest level; `labels` are their classes, or
    /// empty.
    ///
    /// # Errors
    /// [`ModelError`] if the denoiser fails.
    pub fn integrate(&self, x: ImageBatch, labels: &[u32]) -> Result<ImageBatch, ModelError> {
        self.follow(x, labels, &mut |_| ())
    }

    /// The same, and `visit` sees the images after every step: the trajectories themselves.
    ///
    /// # Errors
    /// [`ModelError`] if the denoiser fails.
    pub fn follow(
        &self,
        mut x: ImageBatch,
        labels: &[u32],
        visit: &mut dyn FnMut(&ImageBatch),
    ) -> Result<ImageBatch, ModelError> {
        for (from, to) in steps(self.levels, self.end) {
            x = self.solver.step(self.denoiser, &x, &vec![from; x.count()], &vec![to; x.count()], labels)?;
            visit(&x);
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
        let asked = steps(self.levels, self.end).flat_map(|(from, to)| self.solver.asks_at(from, to));
        asked.map(|sigma| self.denoiser.evaluations(sigma)).sum()
    }
}

/// (from, to) of each step: the intervals of `levels`, then the step from the last level to 0 if that is the end.
pub(super) fn steps(levels: &NoiseLevels, end: FlowEnd) -> impl Iterator<Item = (Sigma, Sigma)> {
    let levels = levels.as_slice();
    let last = match end {
        FlowEnd::Zero => Some(Sigma::ZERO),
        FlowEnd::SigmaMin => None,
    };
    levels.iter().copied().zip(levels[1..].iter().copied().chain(last))
}
