//! The second-order multistep DPM-Solver++.

use super::probability_flow::steps;
use super::{FlowEnd, Labels, Sampler, starting_noise};
use crate::solver::{denoise, euler_value};
use crate::{Denoiser, ModelError, NoiseLevels, Sigma};
use cm_image::{ImageBatch, ImageShape};

/// DPM-Solver++(2M): Lu et al. 2022b, Algorithm 2, deterministic, written for x = x_0 + sigma n.
///
/// Second order with one evaluation a level: in h = ln(from / to) the denoiser's output is extrapolated from the level
/// before, D~ = D_i + (D_i - D_(i-1)) h_i / (2 h_(i-1)), and x' = (to / from) x + (1 - to / from) D~. The first step
/// has no level before it, and the step to 0 has no finite h: both take D~ = D_i, which is Euler's step. It keeps a
/// memory from step to step, so it is a sampler and not an [`OdeSolver`](crate::OdeSolver).
#[derive(Clone, Copy)]
pub struct DpmSolverPlusPlus<'a> {
    /// D.
    pub denoiser: &'a dyn Denoiser,
    /// The shape of the denoiser's images.
    pub shape: ImageShape,
    /// Levels visited; sampling starts from noise at the first.
    pub levels: &'a NoiseLevels,
    /// Whether a step to 0 follows the last level.
    pub end: FlowEnd,
    /// The classes asked for.
    pub labels: Labels,
}

impl DpmSolverPlusPlus<'_> {
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
        let mut before: Option<(Sigma, ImageBatch)> = None;
        for (from, to) in steps(self.levels, self.end) {
            let denoised = denoise(self.denoiser, &x, &vec![from; x.count()], labels)?;
            match &before {
                Some((level, earlier)) if to > Sigma::ZERO => {
                    let weight = 0.5 * log_ratio(from, to) / log_ratio(*level, from);
                    let values = denoised.values().iter().zip(earlier.values());
                    for (value, (&now, &earlier)) in x.values_mut().iter_mut().zip(values) {
                        let (now, earlier) = (f64::from(now), f64::from(earlier));
                        let kept = f64::from(to.get()) / f64::from(from.get());
                        let extrapolated = now + weight * (now - earlier);
                        *value = (extrapolated + kept * (f64::from(*value) - extrapolated)) as f32;
                    }
                }
                _ => {
                    for (value, &denoised) in x.values_mut().iter_mut().zip(denoised.values()) {
                        *value = euler_value(*value, denoised, from, to);
                    }
                }
            }
            before = Some((from, denoised));
            visit(&x);
        }
        Ok(x)
    }
}

/// ln(upper / lower).
fn log_ratio(upper: Sigma, lower: Sigma) -> f64 {
    libm::log(f64::from(upper.get()) / f64::from(lower.get()))
}

impl Sampler for DpmSolverPlusPlus<'_> {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
        let noise = starting_noise(self.shape, self.levels.as_slice()[0], seeds);
        self.integrate(noise, &self.labels.of(seeds))
    }

    fn evaluations(&self) -> usize {
        steps(self.levels, self.end).map(|(from, _)| self.denoiser.evaluations(from)).sum()
    }
}
