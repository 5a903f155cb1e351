//! Images from seeds.
//!
//! There is one seed for each image, and all of an image's noise comes from its own seed, so image i is the same
//! whatever the batch it is drawn in (as long as the model itself treats images independently). So does its class,
//! where the model knows classes. Samplers do not cut their seeds into batches: that is the caller's choice.

mod labels;
mod multistep;
mod one_step;
mod probability_flow;
mod stochastic;

pub use labels::Labels;
pub use multistep::Multistep;
pub use one_step::OneStep;
pub use probability_flow::ProbabilityFlow;
pub use stochastic::{Churn, Stochastic};

use crate::noise::batch_noise;
use crate::{ModelError, Sigma};
use cm_image::{ImageBatch, ImageShape};

/// A way to draw images.
pub trait Sampler {
    /// The shape of the images drawn.
    fn shape(&self) -> ImageShape;

    /// One image for each seed; the same seed gives the same image.
    ///
    /// # Errors
    /// [`ModelError`] if the model fails.
    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError>;

    /// NFE: network evaluations for each image.
    fn evaluations(&self) -> usize;
}

/// Where every sampler starts: sigma_max z, with z the first noise (draw 0) of each seed.
fn starting_noise(shape: ImageShape, sigma_max: Sigma, seeds: &[u64]) -> ImageBatch {
    batch_noise(shape, seeds, 0).map(|z| sigma_max.get() * z)
}

#[cfg(test)]
mod tests;
