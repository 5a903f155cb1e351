//! One evaluation of a consistency function.

use super::{Labels, Sampler, starting_noise};
use crate::{ConsistencyFunction, ModelError, Sigma};
use cm_image::{ImageBatch, ImageShape};

/// f(x_T, T), x_T ~ N(0, T^2): Song et al. 2023, Section 3.
#[derive(Clone, Copy)]
pub struct OneStep<'a> {
    /// f.
    pub model: &'a dyn ConsistencyFunction,
    /// The shape of the model's images.
    pub shape: ImageShape,
    /// The paper's T.
    pub sigma_max: Sigma,
    /// The classes asked for.
    pub labels: Labels,
}

impl Sampler for OneStep<'_> {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
        let noise = starting_noise(self.shape, self.sigma_max, seeds);
        self.model.endpoint(&noise, &vec![self.sigma_max; seeds.len()], &self.labels.of(seeds))
    }

    fn evaluations(&self) -> usize {
        1
    }
}
