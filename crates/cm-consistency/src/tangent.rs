//! How a network's output changes along a trajectory: dN / d ln sigma, the total derivative.
//!
//! A path is known near its point: x + e^h-wise towards its aim D, which is exact for known noise and right to second
//! order for a teacher. So the derivative takes two more evaluations and no differentiated pass; or it is carried along
//! with the values in the very pass that is recorded. The step is one of ln sigma, not of sigma: no point lies beyond
//! sigma = 0, and the network's noise-level input moves by a constant.

use crate::model::scaling;
use cm_diffusion::{Boundary, Sigma};
use cm_image::ImageBatch;
use cm_network::{Extra, Network};
use cm_tensor::devices::{self, DeviceError};
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
    /// By each operation's own rule, beside its values (forward mode, JVP): no step, and no error but rounding. On the CPU
    /// only: a GPU has no such rules, and a study with it is refused there.
    Forward,
}

impl Default for TangentConfig {
    fn default() -> Self {
        Self::Central(CentralConfig::default()) // ours: values of the network are enough, so GPUs do as well
    }
}

/// Constants of [`TangentConfig::Central`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CentralConfig {
    /// The step to either side, in ln sigma; 1e-5 to 0.5 ([`LEAST_STEP`](Self::LEAST_STEP), [`MOST_STEP`](Self::MOST_STEP)).
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
            Self::Forward => Box::new(Forward),
        }
    }

    /// What it takes beside the recorded pass, in evaluations of the network without a way back.
    pub fn evaluations(self) -> f64 {
        match self {
            Self::Central(_) => 2.0,
            // Every product is done a second time with the tangent.
            Self::Forward => 1.0,
        }
    }

    /// Whether this process can work it out so.
    ///
    /// # Errors
    /// [`DeviceError::Tangents`] for forward mode on a GPU.
    pub fn check(self) -> Result<(), DeviceError> {
        match self {
            Self::Central(_) => Ok(()),
            Self::Forward => devices::check_tangents(),
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
            Self::Forward => None,
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

    /// N at the points of `path` and, if `graph` is [with tangents](Graph::with_tangents), dN / d ln sigma as its tangent.
    ///
    /// # Panics
    /// As [`Network::forward`].
    pub fn forward_along(&self, graph: &mut Graph, path: &LocalPath<'_>) -> Images {
        let scaling = scaling(&self.precondition, path.sigma);
        let scaled =
            scaled_rows(&Images::from_batch(path.noisy), &scaling.input).moving(self.input_slope(path));
        let extra = Extra { c_noise_tangent: Some(&vec![C_NOISE_SLOPE; path.sigma.len()]), ..self.extra };
        self.network.forward(graph, self.weights, &scaled, &scaling.c_noise, extra)
    }

    /// d(c_in x) / d ln sigma, with c_in = 1 / sqrt(sigma^2 + sigma_data^2) = 1 / n:
    /// (x - D) / n - sigma^2 x / n^3 = (sigma_data^2 x / n^2 - D) / n.
    fn input_slope(&self, path: &LocalPath<'_>) -> Vec<f32> {
        let data = f64::from(self.precondition.sigma_data);
        let images = path.noisy.images().zip(path.aim.images()).zip(path.sigma);
        let of_image = |((noisy, aim), sigma): ((&'_ [f32], &'_ [f32]), &Sigma)| -> Vec<f32> {
            let norm = f64::from(sigma.get()).hypot(data);
            let kept = (data / norm).powi(2);
            let slope = |(&x, &aim): (&f32, &f32)| ((kept * f64::from(x) - f64::from(aim)) / norm) as f32;
            noisy.iter().zip(aim).map(slope).collect()
        };
        images.flat_map(of_image).collect()
    }
}

/// d c_noise / d ln sigma, of c_noise = ln(sigma) / 4.
const C_NOISE_SLOPE: f32 = 0.25;

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
    ///
    /// # Errors
    /// What `at` returns.
    pub fn central<E>(
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
    /// N at the points of `path` in a pass that records, and dN / d ln sigma there, as many values. No gradient flows through
    /// the derivative.
    ///
    /// # Panics
    /// As [`Network::forward`]; in forward mode if this process computes on a GPU, see [`TangentConfig::check`].
    fn recorded(&self, raw: &Raw<'_>, path: &LocalPath<'_>) -> (Graph, Images, ImageBatch);
}

/// Central differences.
struct Central {
    step: f64,
}

impl Tangent for Central {
    fn recorded(&self, raw: &Raw<'_>, path: &LocalPath<'_>) -> (Graph, Images, ImageBatch) {
        let at = |x: &ImageBatch, sigma: &[Sigma]| raw.forward(&mut Graph::inference(), x, sigma).to_batch();
        let Ok(derivative) = path.central(self.step, |x, sigma| Ok::<_, Infallible>(at(x, sigma)));
        let mut graph = Graph::recording();
        let output = raw.forward(&mut graph, path.noisy, path.sigma);
        (graph, output, derivative)
    }
}

/// Forward mode.
struct Forward;

impl Tangent for Forward {
    fn recorded(&self, raw: &Raw<'_>, path: &LocalPath<'_>) -> (Graph, Images, ImageBatch) {
        let mut graph = Graph::recording().with_tangents();
        let output = raw.forward_along(&mut graph, path);
        let derivative = output.tangent_batch();
        (graph, output, derivative)
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

    /// The error of central differences falls with the square of the step until rounding takes over: that is, towards the
    /// derivative in forward mode. Dropout drops the same values at all points.
    #[test]
    fn differences_are_of_second_order_and_tend_to_the_forward_derivative() {
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
        let of = |config: TangentConfig| config.build().recorded(&raw, &path);
        let at = |step: f32| of(TangentConfig::Central(CentralConfig { step })).2;
        let distance = |a: &ImageBatch, b: &ImageBatch| {
            let squares = a.values().iter().zip(b.values()).map(|(a, b)| f64::from(a - b).powi(2));
            (squares.sum::<f64>() / a.values().len() as f64).sqrt()
        };
        let (_, values, forward) = of(TangentConfig::Forward);
        assert_eq!(values.to_batch(), raw.forward(&mut Graph::inference(), &noisy, &sigma).to_batch());
        let size = distance(&forward, &ImageBatch::zeros(SHAPE, 4));
        let errors = [0.4, 0.2, 0.1].map(|step| distance(&at(step), &forward));
        for pair in errors.windows(2) {
            assert!((3.3..4.7).contains(&(pair[0] / pair[1])), "{errors:?}");
        }
        let error = distance(&at(0.01), &forward);
        assert!(error < 2e-4 * size, "{error} of {size}");
    }

    #[test]
    fn steps_that_are_no_steps_are_refused() {
        let of = |step| TangentConfig::Central(CentralConfig { step }).problems().is_some();
        assert!([0.0, -0.01, 0.6, f32::NAN, 1e-6].into_iter().all(of));
        assert!(![CentralConfig::default().step, 1e-5, 0.5].into_iter().any(of));
        assert_eq!(TangentConfig::Forward.problems(), None);
    }
}
