//! The two things a trained network can be.

use crate::Sigma;
use cm_image::{ImageBatch, ImageShape};

/// Why a model could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The images are not of the model's shape.
    #[error("images of {given}, but the model works on {expected}")]
    Shape {
        /// Shape of the images.
        given: ImageShape,
        /// Shape the model was made for.
        expected: ImageShape,
    },
    /// There must be one noise level for each image.
    #[error("{sigmas} noise levels for {images} images")]
    Count {
        /// Images given.
        images: usize,
        /// Noise levels given.
        sigmas: usize,
    },
    /// The model returned infinite or NaN values.
    #[error("the model's output is not finite at noise level {0}")]
    NotFinite(Sigma),
    /// An ODE step must go down.
    #[error("a step from noise level {from} to {to} does not go down")]
    Step {
        /// Where the step starts.
        from: Sigma,
        /// Where it should end.
        to: Sigma,
    },
    /// What stands behind the model failed: a file, a device.
    #[error("the model failed: {0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ModelError {
    /// The failure of what stands behind a model.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// Checks a model's arguments: images of the `expected` shape, one noise level for each.
    ///
    /// # Errors
    /// [`ModelError::Shape`] or [`ModelError::Count`] if they are not.
    pub fn check(noisy: &ImageBatch, sigma: &[Sigma], expected: ImageShape) -> Result<(), Self> {
        if noisy.shape() != expected {
            return Err(Self::Shape { given: noisy.shape(), expected });
        }
        if noisy.count() != sigma.len() {
            return Err(Self::Count { images: noisy.count(), sigmas: sigma.len() });
        }
        Ok(())
    }
}

/// D(x; sigma): an estimate of E[x_0 | x_0 + sigma n = x]. The score is (D - x) / sigma^2.
pub trait Denoiser {
    /// The posterior mean of each image of `noisy` at its own level. `sigma` has one entry for each image; so has
    /// `labels`, their classes, or it is empty. A model that knows no classes ignores them.
    ///
    /// # Errors
    /// [`ModelError`] if shapes or counts disagree or the model fails.
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError>;

    /// NFE of an answer: evaluations of a network for an image at this level, its class told where there are classes.
    fn evaluations(&self, sigma: Sigma) -> usize {
        let _ = sigma; // only a guided one's depend on it
        1
    }
}

impl<D: Denoiser + ?Sized> Denoiser for &D {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
        (**self).denoise(noisy, sigma, labels)
    }

    fn evaluations(&self, sigma: Sigma) -> usize {
        (**self).evaluations(sigma)
    }
}

impl<D: Denoiser + ?Sized> Denoiser for Box<D> {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
        (**self).denoise(noisy, sigma, labels)
    }

    fn evaluations(&self, sigma: Sigma) -> usize {
        (**self).evaluations(sigma)
    }
}

/// f(x, sigma): where the probability-flow ODE through (x, sigma) arrives at sigma_min.
pub trait ConsistencyFunction {
    /// The endpoint of each image of `noisy` from its own level. `sigma` has one entry for each image; so has
    /// `labels`, their classes, or it is empty. A model that knows no classes ignores them.
    ///
    /// # Errors
    /// [`ModelError`] if shapes or counts disagree or the model fails.
    fn endpoint(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32])
    -> Result<ImageBatch, ModelError>;
}
