//! A consistency function, noised and evaluated again.

use super::{Labels, OneStep, Sampler, add_noise, check_times};
use crate::{ConsistencyFunction, ModelError, QuantityError, Sigma, SigmaRange};
use cm_image::{ImageBatch, ImageShape};

/// Multistep consistency sampling: Song et al. 2023, Algorithm 1.
///
/// x <- f(x_T, T); then for each time t, x <- f(x + sqrt(t^2 - sigma_min^2) z, t) with fresh noise z.
#[derive(Clone)]
pub struct Multistep<'a> {
    model: &'a dyn ConsistencyFunction,
    shape: ImageShape,
    range: SigmaRange,
    times: Vec<Sigma>,
    clip: bool,
    labels: Labels,
}

impl<'a> Multistep<'a> {
    /// A sampler of `1 + times.len()` evaluations. With `clip`, endpoints that will be noised again are clamped to
    /// [-1, 1] first, as the original code does; the images returned are never clamped.
    ///
    /// # Errors
    /// [`QuantityError::Outside`] for a time outside sigma_min <= t < sigma_max, [`QuantityError::NotFalling`] for
    /// one that is not below its predecessor.
    pub fn new(
        model: &'a dyn ConsistencyFunction,
        shape: ImageShape,
        range: SigmaRange,
        times: Vec<Sigma>,
        clip: bool,
        labels: Labels,
    ) -> Result<Self, QuantityError> {
        check_times(range, &times)?;
        Ok(Self { model, shape, range, times, clip, labels })
    }
}

impl Sampler for Multistep<'_> {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
        let first = OneStep {
            model: self.model,
            shape: self.shape,
            sigma_max: self.range.max(),
            labels: self.labels,
        };
        let labels = self.labels.of(seeds);
        let mut x = first.sample(seeds)?;
        let sigma_min = f64::from(self.range.min().get());
        for (draw, &time) in (1..).zip(&self.times) {
            if self.clip {
                x = x.map(|value| value.clamp(-1.0, 1.0));
            }
            let t = f64::from(time.get());
            let added = ((t - sigma_min) * (t + sigma_min)).sqrt() as f32;
            add_noise(&mut x, added, seeds, draw);
            x = self.model.endpoint(&x, &vec![time; seeds.len()], &labels)?;
        }
        Ok(x)
    }

    fn evaluations(&self) -> usize {
        1 + self.times.len()
    }
}
