//! A consistency function, followed part of the way down and noised the rest of the way up.

use super::{Labels, Sampler, add_noise, check_times, starting_noise};
use crate::{ConsistencyFunction, ModelError, QuantityError, Sigma, SigmaRange};
use cm_image::{ImageBatch, ImageShape};

/// The gamma-sampling of consistency trajectory models (Kim et al. 2024) for a plain consistency function.
///
/// From x at t to each next time: a jump down to a level s below it, then noise that fills up to it. Kim et al.'s
/// network jumps to any s along the trajectory; a consistency function only knows where the trajectory ends, f(x, t) at
/// sigma_min, so the jump is along the straight line to there: x_s = f + (s - sigma_min) / (t - sigma_min) (x - f). The
/// line is the trajectory where that is straight, and is followed exactly at s = sigma_min.
///
/// With v = next^2 - sigma_min^2, the variance that [`Multistep`](crate::Multistep) adds to an endpoint, gamma^2 v of
/// it is fresh noise and s^2 = sigma_min^2 + (1 - gamma^2) v; for sigma_min = 0 these are Kim et al.'s
/// s = sqrt(1 - gamma^2) next and gamma next. gamma = 1 is [`Multistep`](crate::Multistep), to the bit; gamma = 0 is
/// deterministic: Euler's method (DDIM) with the line's other end in place of the denoiser's output.
#[derive(Clone)]
pub struct Gamma<'a> {
    model: &'a dyn ConsistencyFunction,
    shape: ImageShape,
    range: SigmaRange,
    times: Vec<Sigma>,
    gamma: f32,
    clip: bool,
    labels: Labels,
}

impl<'a> Gamma<'a> {
    /// A sampler of `1 + times.len()` evaluations. With `clip`, endpoints from which a jump starts are clamped to
    /// [-1, 1] first; the images returned are never clamped.
    ///
    /// # Errors
    /// [`QuantityError::Gamma`] unless `gamma` is in [0, 1]; [`QuantityError::Outside`] for a time outside sigma_min <=
    /// t < sigma_max, [`QuantityError::NotFalling`] for one that is not below its predecessor.
    pub fn new(
        model: &'a dyn ConsistencyFunction,
        shape: ImageShape,
        range: SigmaRange,
        times: Vec<Sigma>,
        gamma: f32,
        clip: bool,
        labels: Labels,
    ) -> Result<Self, QuantityError> {
        if !(0.0..=1.0).contains(&gamma) {
            return Err(QuantityError::Gamma(gamma));
        }
        check_times(range, &times)?;
        Ok(Self { model, shape, range, times, gamma, clip, labels })
    }

    /// How much of x - f is left after the jump from `time` on the way to `next`, and the standard deviation of the
    /// noise that follows.
    fn split(&self, time: Sigma, next: Sigma) -> (f64, f32) {
        let [t, next, min] = [time, next, self.range.min()].map(|sigma| f64::from(sigma.get()));
        let gamma = f64::from(self.gamma);
        let missing = (next - min) * (next + min);
        let s = (min * min + (1.0 - gamma * gamma) * missing).sqrt();
        let added = gamma * missing.sqrt();
        (((s - min) / (t - min)).max(0.0), added as f32)
    }
}

impl Sampler for Gamma<'_> {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
        let labels = self.labels.of(seeds);
        let mut time = self.range.max();
        let mut x = starting_noise(self.shape, time, seeds);
        for (draw, &next) in (1..).zip(&self.times) {
            let mut end = self.model.endpoint(&x, &vec![time; seeds.len()], &labels)?;
            if self.clip {
                end = end.map(|value| value.clamp(-1.0, 1.0));
            }
            let (kept, added) = self.split(time, next);
            for (value, &end) in x.values_mut().iter_mut().zip(end.values()) {
                let end = f64::from(end);
                *value = (end + kept * (f64::from(*value) - end)) as f32;
            }
            if added > 0.0 {
                add_noise(&mut x, added, seeds, draw);
            }
            time = next;
        }
        self.model.endpoint(&x, &vec![time; seeds.len()], &labels)
    }

    fn evaluations(&self) -> usize {
        1 + self.times.len()
    }
}
