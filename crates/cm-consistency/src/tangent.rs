//! How a network's output changes along a trajectory: dN / d ln sigma, the total derivative.
//!
//! A path is known near its point: x + e^h-wise towards its aim D, which is exact for known noise and right to second
//! order for a teacher. So the derivative takes two more evaluations and no differentiated pass. The step is one of
//! ln sigma, not of sigma: no point lies beyond sigma = 0, and the network's noise-level input moves by a constant.

use crate::model::scaling;
use cm_diffusion::{Boundary, Sigma};
use cm_image::ImageBatch;
use cm_network::{Extra, Network};
use cm_tensor::{Graph, Images, Weights, scaled_rows};
use cm_training::RangeError;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// How the derivative along the path is worked out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum TangentConfig {
    /// By central differences: two evaluations.
    Central(CentralConfig),
}

impl Default for TangentConfig {
    fn default() -> Self {
        Self::Central(CentralConfig::default()) // ours: it needs nothing of the network but its values
    }
}

/// Constants of [`TangentConfig::Central`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CentralConfig {
    /// The step to either side, in ln sigma; from [`LEAST_STEP`](Self::LEAST_STEP) to [`MOST_STEP`](Self::MOST_STEP).
    pub step: f32,
}

impl CentralConfig {
    /// The least step: below it, single precision leaves no digit of the difference.
    pub const LEAST_STEP: f32 = 1e-5;
    /// The largest step: beyond it, this is no derivative.
    pub const MOST_STEP: f32 = 0.5;
}

impl Default for CentralConfig {
    fn default() -> Self {
        Self {
            step: 0.005, // Wang et al. 2025, TiM, in their time; in ln sigma it is ours
        }
    }
}

impl TangentConfig {
    /// The way chosen.
    pub fn build(self) -> Box<dyn Tangent> {
        match self {
            Self::Central(CentralConfig { step }) => Box::new(Central { step: f64::from(step) }),
        }
    }

    /// Evaluations of the network that it takes, in those without a way back.
    pub fn evaluations(self) -> f64 {
        match self {
            Self::Central(_) => 2.0,
        }
    }

    /// What is out of range, with paths relative to this enum.
    pub fn problems(self) -> Option<RangeError> {
        match self {
            Self::Central(CentralConfig { step }) => RangeError::unless(
                (CentralConfig::LEAST_STEP..=CentralConfig::MOST_STEP).contains(&step),
                "step",
                step,
                "0.00001 to 0.5 in ln sigma",
            ),
        }
    }
}

/// A network with weights and preconditioning: N(x, sigma), its raw output.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    /// The architecture.
    pub network: &'a dyn Network,
    /// Its weights.
    pub weights: &'a Weights,
    /// What its input is scaled by.
    pub precondition: Boundary,
    /// Classes and dropout's key: the same for all points of a path.
    pub extra: Extra<'a>,
}

impl Raw<'_> {
    /// N at the images of `x`, each at its own level.
    ///
    /// # Panics
    /// As [`Network::forward`].
    pub fn forward(&self, graph: &mut Graph, x: &ImageBatch, sigma: &[Sigma]) -> Images {
        let scaling = scaling(&self.precondition, sigma);
        let scaled = scaled_rows(&Images::from_batch(x), &scaling.input);
        self.network.forward(graph, self.weights, &scaled, &scaling.c_noise, self.extra)
    }
}

/// Trajectories near one point each: images, their levels, and where they aim.
#[derive(Clone, Copy)]
pub struct LocalPath<'a> {
    /// The points.
    pub noisy: &'a ImageBatch,
    /// Their noise levels, above 0.
    pub sigma: &'a [Sigma],
    /// D of each: dx / d ln sigma = x - D.
    pub aim: &'a ImageBatch,
}

/// The point at level `to` on the path that is at `x` at level `from` and aims at `aim`.
pub(crate) fn moved(x: f64, aim: f64, from: f64, to: f64) -> f64 {
    aim + to / from * (x - aim)
}

impl LocalPath<'_> {
    /// The points `step` further in ln sigma, at levels rounded to single precision.
    pub(crate) fn moved(&self, step: f64) -> (ImageBatch, Vec<Sigma>) {
        let factor = libm::exp(step);
        let level = |sigma: &Sigma| {
            Sigma::new((f64::from(sigma.get()) * factor) as f32).expect("near a noise level is one")
        };
        let levels: Vec<Sigma> = self.sigma.iter().map(level).collect();
        let mut points = self.noisy.clone();
        let images = points.images_mut().zip(self.aim.images()).zip(self.sigma.iter().zip(&levels));
        for ((image, aim), (&from, &to)) in images {
            let [from, to] = [from, to].map(|sigma| f64::from(sigma.get()));
            for (x, &aim) in image.iter_mut().zip(aim) {
                *x = moved(f64::from(*x), f64::from(aim), from, to) as f32;
            }
        }
        (points, levels)
    }

    /// The central difference of `at` over `step` to either side, for each unit of ln sigma between the levels as they were
    /// rounded.
    pub(crate) fn central<E>(
        &self,
        step: f64,
        at: impl Fn(&ImageBatch, &[Sigma]) -> Result<ImageBatch, E>,
    ) -> Result<ImageBatch, E> {
        let [(above, upper), (below, lower)] = [self.moved(step), self.moved(-step)];
        let (mut there, here) = (at(&above, &upper)?, at(&below, &lower)?);
        let images = there.images_mut().zip(here.images()).zip(widths(&upper, &lower));
        for ((there, here), width) in images {
            for (there, &here) in there.iter_mut().zip(here) {
                *there = ((f64::from(*there) - f64::from(here)) / width) as f32;
            }
        }
        Ok(there)
    }
}

/// How far each level is above the other, in ln sigma.
pub(crate) fn widths<'a>(upper: &'a [Sigma], lower: &'a [Sigma]) -> impl Iterator<Item = f64> + 'a {
    let width = |(u, l): (&Sigma, &Sigma)| libm::log(f64::from(u.get()) / f64::from(l.get()));
    upper.iter().zip(lower).map(width)
}

/// A way to the derivative along a path.
pub trait Tangent: Send + Sync {
    /// dN / d ln sigma at the points of `path`, as many values as there.
    fn along(&self, raw: &Raw<'_>, path: &LocalPath<'_>) -> ImageBatch;
}

/// Central differences.
struct Central {
    step: f64,
}

impl Tangent for Central {
    fn along(&self, raw: &Raw<'_>, path: &LocalPath<'_>) -> ImageBatch {
        let at = |x: &ImageBatch, sigma: &[Sigma]| raw.forward(&mut Graph::inference(), x, sigma).to_batch();
        let Ok(derivative) = path.central(self.step, |x, sigma| Ok::<_, Infallible>(at(x, sigma)));
        derivative
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::ImageShape;
    use cm_image::random::Random;
    use cm_network::{Conditions, MlpConfig, NetworkConfig};

    const SHAPE: ImageShape = ImageShape::vector(5);

    fn sigmas(values: &[f32]) -> Vec<Sigma> {
        values.iter().map(|&value| Sigma::new(value).unwrap()).collect()
    }

    /// Known noise at another level is the same noise, and a path moved forth and back is where it was.
    #[test]
    fn points_keep_the_noise_they_have() {
        let mut random = Random::new(3);
        let mut batch = || ImageBatch::from_fn(SHAPE, 3, |_, v| random.fill_normal(v));
        let (clean, noise) = (batch(), batch());
        let sigma = sigmas(&[0.002, 0.7, 80.0]);
        let noisy = cm_diffusion::noise::perturb(&clean, &sigma, &noise);
        let path = LocalPath { noisy: &noisy, sigma: &sigma, aim: &clean };
        for step in [0.01, -0.01, 0.3] {
            let (points, levels) = path.moved(step);
            let expected = cm_diffusion::noise::perturb(&clean, &levels, &noise);
            for ((a, b), level) in points.images().zip(expected.images()).zip(&levels) {
                let scale = 1e-6 * level.get().max(1.0);
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 4.0 * scale), "{a:?} {b:?}");
            }
        }
        assert_eq!(path.moved(0.0), (noisy.clone(), sigma.clone()));
    }

    /// The error of central differences falls with the square of the step until rounding takes over, and dropout drops
    /// the same values on both sides.
    #[test]
    fn differences_are_of_second_order() {
        let config = NetworkConfig::Mlp(MlpConfig { width: 16, dropout: 0.3, ..MlpConfig::default() });
        let (network, mut weights) = config.build(SHAPE, Conditions::default(), 0).unwrap();
        let mut random = Random::new(2);
        weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.2 * random.normal()));
        let mut batch = |scale: f32| {
            ImageBatch::from_fn(SHAPE, 4, |_, v| random.fill_normal(v)).map(|value| scale * value)
        };
        let (noisy, aim) = (batch(1.0), batch(0.5));
        let sigma = sigmas(&[0.05, 0.4, 1.0, 6.0]);
        let raw = Raw {
            network: network.as_ref(),
            weights: &weights,
            precondition: Boundary { sigma_data: 0.5, sigma_min: 0.002 },
            extra: Extra { dropout_key: Some(5), ..Extra::default() },
        };
        let path = LocalPath { noisy: &noisy, sigma: &sigma, aim: &aim };
        let at = |step: f32| TangentConfig::Central(CentralConfig { step }).build().along(&raw, &path);
        let distance = |a: &ImageBatch, b: &ImageBatch| {
            let squares = a.values().iter().zip(b.values()).map(|(a, b)| f64::from(a - b).powi(2));
            (squares.sum::<f64>() / a.values().len() as f64).sqrt()
        };
        let size = distance(&at(0.01), &ImageBatch::zeros(SHAPE, 4));
        // (h^2 - h^2/4) over (h^2/4 - h^2/16) is 4.
        let [wide, middle, near] = [0.4, 0.2, 0.1].map(at);
        let ratio = distance(&wide, &middle) / distance(&middle, &near);
        assert!((3.3..4.7).contains(&ratio), "{ratio}");
        let error = distance(&at(0.01), &at(0.02));
        assert!(error < 1e-3 * size, "{error} of {size}");
    }

    #[test]
    fn steps_that_are_no_steps_are_refused() {
        let of = |step| TangentConfig::Central(CentralConfig { step }).problems().is_some();
        assert!([0.0, -0.01, 0.6, f32::NAN, 1e-6].into_iter().all(of));
        assert!(![CentralConfig::default().step, 1e-5, 0.5].into_iter().any(of));
    }
}
