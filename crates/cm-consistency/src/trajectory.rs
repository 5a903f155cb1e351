//! How the lower point of a pair is reached: the one place where distillation and training differ.

use cm_diffusion::{Denoiser, ModelError, OdeSolver, Sigma, noise};
use cm_image::ImageBatch;

/// Images at the upper level of their pairs, and what they were made from.
pub struct NoisyPair<'a> {
    /// The data.
    pub clean: &'a ImageBatch,
    /// Standard normal noise.
    pub noise: &'a ImageBatch,
    /// clean + upper x noise.
    pub noisy: &'a ImageBatch,
    /// The upper level of each image.
    pub upper: &'a [Sigma],
    /// The lower level of each image.
    pub lower: &'a [Sigma],
    /// The class of each image, or nothing.
    pub labels: &'a [u32],
}

/// From the upper to the lower level along the (estimated) probability-flow ODE.
pub trait Trajectory {
    /// The images at the lower level.
    ///
    /// # Errors
    /// [`ModelError`] if a teacher fails.
    fn lower_point(&self, pair: &NoisyPair<'_>) -> Result<ImageBatch, ModelError>;

    /// Where the trajectories through `noisy` at `sigma` aim: D, with dx / d ln sigma = x - D. `clean` is what `noisy` was
    /// made from.
    ///
    /// # Errors
    /// [`ModelError`] if a teacher fails.
    fn aim(
        &self,
        clean: &ImageBatch,
        noisy: &ImageBatch,
        sigma: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError>;
}

/// One step of a solver with the teacher's score: consistency distillation, Song et al. 2023, Algorithm 2.
pub struct TeacherStep<'a> {
    /// The teacher.
    pub denoiser: &'a dyn Denoiser,
    /// The solver.
    pub solver: Box<dyn OdeSolver>,
}

impl Trajectory for TeacherStep<'_> {
    fn lower_point(&self, pair: &NoisyPair<'_>) -> Result<ImageBatch, ModelError> {
        self.solver.step(self.denoiser, pair.noisy, pair.upper, pair.lower, pair.labels)
    }

    /// The teacher's denoised images.
    fn aim(
        &self,
        _: &ImageBatch,
        noisy: &ImageBatch,
        sigma: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        let aim = self.denoiser.denoise(noisy, sigma, labels)?;
        ModelError::check(&aim, sigma, noisy.shape())?;
        Ok(aim)
    }
}

/// The same noise at the lower level: consistency training, Song et al. 2023, Algorithm 3. It is an Euler step with
/// the unbiased score estimate of the one image at hand (their Theorem 2).
pub struct KnownNoise;

impl Trajectory for KnownNoise {
    fn lower_point(&self, pair: &NoisyPair<'_>) -> Result<ImageBatch, ModelError> {
        Ok(noise::perturb(pair.clean, pair.lower, pair.noise))
    }

    /// The images themselves.
    fn aim(
        &self,
        clean: &ImageBatch,
        _: &ImageBatch,
        _: &[Sigma],
        _: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        Ok(clean.clone())
    }
}
