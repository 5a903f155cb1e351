//! Images from seeds.
//!
//! There is one seed for each image, and all of an image's noise comes from its own seed: draw 0 is what it starts
//! from, draw k the noise of the k-th step. So image i is the same whatever the batch it is drawn in (as long as the
//! model itself treats images independently), and two samplers given the same seed start from the same noise. Its
//! class, where the model knows classes, comes from its seed as well. Samplers do not cut their seeds into batches:
//! that is the caller's choice.
//!
//! Those of a [`Denoiser`](crate::Denoiser) go down a grid of levels: [`ProbabilityFlow`] and [`DpmSolverPlusPlus`]
//! along the deterministic trajectory, [`Stochastic`] and [`Ancestral`] with fresh noise on the way. Those of a
//! [`ConsistencyFunction`](crate::ConsistencyFunction) need few evaluations: [`OneStep`], [`Multistep`], [`Gamma`].

mod ancestral;
mod dpm_solver_plus_plus;
mod gamma;
mod jumps;
mod labels;
mod multistep;
mod one_step;
mod probability_flow;
mod stochastic;

pub use ancestral::Ancestral;
pub use dpm_solver_plus_plus::DpmSolverPlusPlus;
pub use gamma::Gamma;
pub use jumps::Jumps;
pub use labels::Labels;
pub use multistep::Multistep;
pub use one_step::OneStep;
pub use probability_flow::{FlowEnd, ProbabilityFlow};
pub use stochastic::{Churn, Stochastic};

use crate::noise::batch_noise;
use crate::{ModelError, QuantityError, Sigma, SigmaRange};
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

/// x + std z, with z the `draw`-th noise of each image's seed; draw 0 is taken by [`starting_noise`].
fn add_noise(x: &mut ImageBatch, std: f32, seeds: &[u64], draw: u64) {
    let noise = batch_noise(x.shape(), seeds, draw);
    for (value, z) in x.values_mut().iter_mut().zip(noise.values()) {
        *value += std * z;
    }
}

/// Times at which a consistency function can be evaluated again: strictly falling, sigma_min <= t < sigma_max.
fn check_times(range: SigmaRange, times: &[Sigma]) -> Result<(), QuantityError> {
    for (index, &time) in times.iter().enumerate() {
        if time < range.min() || time >= range.max() {
            let (min, max) = (range.min().get(), range.max().get());
            return Err(QuantityError::Outside { index, level: time.get(), min, max });
        }
        if index > 0 && time >= times[index - 1] {
            let before = times[index - 1].get();
            return Err(QuantityError::NotFalling { index, level: time.get(), before });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
