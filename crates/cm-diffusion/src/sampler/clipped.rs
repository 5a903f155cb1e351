//! Images inside the range of the data.

use super::Sampler;
use crate::ModelError;
use cm_image::{ImageBatch, ImageShape};

/// Another sampler's images with every value brought into [-1, 1], as both original code bases do before they judge
/// or store samples: 8-bit data has nothing outside, so what lies there is the model's noise. Not for points of
/// generated densities, which have no such range.
#[derive(Clone, Copy)]
pub struct Clipped<'a> {
    /// The sampler.
    pub inner: &'a dyn Sampler,
}

impl Sampler for Clipped<'_> {
    fn shape(&self) -> ImageShape {
        self.inner.shape()
    }

    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
        // NaN stays NaN, and is found by whoever judges.
        Ok(self.inner.sample(seeds)?.map(|value| value.clamp(-1.0, 1.0)))
    }

    fn evaluations(&self) -> usize {
        self.inner.evaluations()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConsistencyFunction, OneStep, Sigma};

    struct Same;

    impl ConsistencyFunction for Same {
        fn endpoint(&self, noisy: &ImageBatch, _: &[Sigma]) -> Result<ImageBatch, ModelError> {
            Ok(noisy.clone())
        }
    }

    #[test]
    fn values_outside_are_brought_to_the_border_and_others_stay() {
        let plain =
            OneStep { model: &Same, shape: ImageShape::vector(8), sigma_max: Sigma::new(2.0).unwrap() };
        let seeds = [1, 2, 3];
        let (free, clipped) =
            (plain.sample(&seeds).unwrap(), Clipped { inner: &plain }.sample(&seeds).unwrap());
        assert!(free.values().iter().any(|v| v.abs() > 1.0));
        for (free, clipped) in free.values().iter().zip(clipped.values()) {
            assert_eq!(*clipped, free.clamp(-1.0, 1.0));
        }
    }
}
