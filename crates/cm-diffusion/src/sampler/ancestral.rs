//! Euler steps that go too far down and are noised back up.

use super::probability_flow::steps;
use super::{FlowEnd, Labels, Sampler, add_noise, starting_noise};
use crate::{Denoiser, Euler, ModelError, NoiseLevels, OdeSolver, QuantityError, Sigma};
use cm_image::{ImageBatch, ImageShape};

/// Ancestral sampling: of each step's end `to` a part of the variance, up^2 = eta^2 to^2 (from^2 - to^2) / from^2, is
/// fresh noise; Euler's step goes down to sqrt(to^2 - up^2).
///
/// At eta = 1 the variance is that of the posterior q(x_to | x_from, x_0), as in DDPM (Ho et al. 2020, Equation 7; for
/// these variables Song et al. 2021, Appendix F): Euler's step ends at to^2 / from. At eta = 0 it is Euler's method, DDIM
/// (Song, Meng and Ermon 2021, Equation 16, whose eta this is). The last step, to 0, adds no noise.
#[derive(Clone, Copy)]
pub struct Ancestral<'a> {
    denoiser: &'a dyn Denoiser,
    shape: ImageShape,
    levels: &'a NoiseLevels,
    eta: f32,
    labels: Labels,
}

impl<'a> Ancestral<'a> {
    /// A sampler over `levels` and a last step to 0; `eta` is the share of the posterior's standard deviation that is
    /// fresh noise.
    ///
    /// # Errors
    /// [`QuantityError::Eta`] unless `eta` is in [0, 1].
    pub fn new(
        denoiser: &'a dyn Denoiser,
        shape: ImageShape,
        levels: &'a NoiseLevels,
        eta: f32,
        labels: Labels,
    ) -> Result<Self, QuantityError> {
        if (0.0..=1.0).contains(&eta) {
            Ok(Self { denoiser, shape, levels, eta, labels })
        } else {
            Err(QuantityError::Eta(eta))
        }
    }

    /// The level Euler's step goes down to, and the standard deviation of the noise that follows.
    fn split(&self, from: Sigma, to: Sigma) -> (Sigma, f32) {
        let [high, low] = [from, to].map(|sigma| f64::from(sigma.get()));
        let up = f64::from(self.eta) * low * ((high - low) * (high + low)).sqrt() / high;
        let down = ((low - up) * (low + up)).max(0.0).sqrt() as f32;
        (Sigma::new(down.min(to.get())).expect("between 0 and a noise level"), up as f32)
    }
}

impl Sampler for Ancestral<'_> {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
        let mut x = starting_noise(self.shape, self.levels.as_slice()[0], seeds);
        let labels = self.labels.of(seeds);
        for (draw, (from, to)) in (1..).zip(steps(self.levels, FlowEnd::Zero)) {
            let (down, up) = self.split(from, to);
            let (from, down) = (vec![from; seeds.len()], vec![down; seeds.len()]);
            x = Euler.step(self.denoiser, &x, &from, &down, &labels)?;
            if up > 0.0 {
                add_noise(&mut x, up, seeds, draw);
            }
        }
        Ok(x)
    }

    fn evaluations(&self) -> usize {
        steps(self.levels, FlowEnd::Zero).map(|(from, _)| self.denoiser.evaluations(from)).sum()
    }
}
