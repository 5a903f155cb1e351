//! Mixtures of isotropic Gaussians.

use super::{normalise_logs, squared_distance};
use crate::{Denoiser, ModelError, Sigma};
use cm_image::random::Random;
use cm_image::{ImageBatch, ImageShape};
use rayon::prelude::*;

/// The stream of a data point's random numbers: not one of the first, which are a sampler's noise.
const DATA_STREAM: u64 = 0xDA7A << 32;

/// p(x) = sum_k w_k N(x; m_k, s_k^2 I) in d dimensions. Noise of level sigma turns it into the same mixture with
/// variances v_k = s_k^2 + sigma^2, so everything below is known in closed form but the flow (see
/// [`flow_endpoint`](Self::flow_endpoint)).
///
/// A component of s_k = 0 is a single point.
///
/// ```
/// use cm_diffusion::analytic::GaussianMixture;
/// // One Gaussian: D(x; sigma) = m + s^2 / (s^2 + sigma^2) (x - m).
/// let gaussian = GaussianMixture::new(vec![1.0], vec![vec![1.0]], vec![0.5])?;
/// assert_eq!(gaussian.posterior_mean(&[3.0], 0.5), [2.0]);
/// assert_eq!(gaussian.score(&[3.0], 0.5), [-4.0]);
/// // Two points seen from the middle between them.
/// let points = GaussianMixture::new(vec![1.0, 3.0], vec![vec![-1.0], vec![1.0]], vec![0.0, 0.0])?;
/// assert!((points.posterior_mean(&[0.0], 1.0)[0] - 0.5).abs() < 1e-15);
/// # Ok::<(), cm_diffusion::analytic::MixtureError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianMixture {
    weights: Vec<f64>,
    log_weights: Vec<f64>,
    means: Vec<Vec<f64>>,
    stds: Vec<f64>,
}

/// Why numbers do not make a mixture.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MixtureError {
    /// A mixture needs components in a space.
    #[error("a mixture needs at least one component of at least one dimension")]
    Empty,
    /// A layout must come to an end.
    #[error("{components} components of {dim} dimensions: need {allowed}")]
    Large {
        /// d.
        dim: usize,
        /// Components.
        components: usize,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Weights, means and standard deviations must be equally many.
    #[error("{weights} weights, {means} means and {stds} standard deviations: need the same number of each")]
    Count {
        /// Weights given.
        weights: usize,
        /// Means given.
        means: usize,
        /// Standard deviations given.
        stds: usize,
    },
    /// All means must lie in one space.
    #[error("mean {component} has {given} coordinates, the first has {expected}")]
    Dimension {
        /// Which mean.
        component: usize,
        /// Its coordinates.
        given: usize,
        /// Coordinates of the first mean.
        expected: usize,
    },
    /// A number is out of range.
    #[error("component {component}: need a weight > 0, a standard deviation >= 0 and all numbers finite")]
    Component {
        /// Which component.
        component: usize,
    },
    /// A layout's numbers are out of range.
    #[error(
        "radius {radius} with standard deviation {std}: need both finite and >= 0, and one of them above 0"
    )]
    Layout {
        /// Radius given.
        radius: f32,
        /// Standard deviation given.
        std: f32,
    },
}

impl GaussianMixture {
    /// A mixture from its components; `weights` need not sum to 1.
    ///
    /// # Errors
    /// [`MixtureError`] unless there are as many weights (> 0) as means (all of one dimension) and standard
    /// deviations (>= 0), at least one of each, all finite.
    pub fn new(weights: Vec<f64>, means: Vec<Vec<f64>>, stds: Vec<f64>) -> Result<Self, MixtureError> {
        if means.first().is_none_or(Vec::is_empty) {
            return Err(MixtureError::Empty);
        }
        if weights.len() != means.len() || stds.len() != means.len() {
            return Err(MixtureError::Count { weights: weights.len(), means: means.len(), stds: stds.len() });
        }
        let expected = means[0].len();
        for (component, mean) in means.iter().enumerate() {
            if mean.len() != expected {
                return Err(MixtureError::Dimension { component, given: mean.len(), expected });
            }
            let (weight, std) = (weights[component], stds[component]);
            let finite = weight.is_finite() && std.is_finite() && mean.iter().all(|m| m.is_finite());
            if !finite || weight <= 0.0 || std < 0.0 {
                return Err(MixtureError::Component { component });
            }
        }
        let total: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.into_iter().map(|weight| weight / total).collect();
        let log_weights = weights.iter().map(|weight| libm::log(*weight)).collect();
        Ok(Self { weights, log_weights, means, stds })
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.means[0].len()
    }

    /// A point as an image: 1x1 pixels, d channels.
    pub fn shape(&self) -> ImageShape {
        ImageShape::vector(self.dim())
    }

    /// The number of components.
    pub fn components(&self) -> usize {
        self.means.len()
    }

    /// w_k, summing to 1.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// m_k, each of d coordinates.
    pub fn means(&self) -> &[Vec<f64>] {
        &self.means
    }

    /// s_k.
    pub fn stds(&self) -> &[f64] {
        &self.stds
    }

    /// The standard deviation of all coordinates about their common mean, exactly: what EDM calls sigma_data.
    pub fn sigma_data(&self) -> f64 {
        let d = self.dim() as f64;
        let (mut first, mut second) = (0.0, 0.0);
        for ((weight, mean), std) in self.weights.iter().zip(&self.means).zip(&self.stds) {
            first += weight * mean.iter().sum::<f64>() / d;
            second += weight * (mean.iter().map(|m| m * m).sum::<f64>() / d + std * std);
        }
        (second - first * first).max(0.0).sqrt()
    }

    /// ln (w_k N(x; m_k, v_k I)) for each component; needs some v_k > 0, or components of v_k = 0 count for nothing.
    fn log_terms(&self, x: &[f64], sigma: f64) -> Vec<f64> {
        assert_eq!(x.len(), self.dim(), "a point of the mixture's space");
        let half_d = x.len() as f64 / 2.0;
        // Components are often equally wide: the logarithm is taken again only where the variance changes.
        let (mut last_v, mut log_volume) = (f64::NAN, 0.0);
        let components = self.log_weights.iter().zip(&self.means).zip(&self.stds);
        components
            .map(|((log_weight, mean), std)| {
                let v = std * std + sigma * sigma;
                if v == 0.0 {
                    return f64::NEG_INFINITY;
                }
                if v != last_v {
                    (last_v, log_volume) = (v, half_d * libm::log(std::f64::consts::TAU * v));
                }
                let distance = squared_distance(x.iter().copied(), mean.iter().copied());
                log_weight - log_volume - distance / (2.0 * v)
            })
            .collect()
    }

    /// The posterior probability of each component given x at noise level `sigma`. At sigma = 0 components of a
    /// single point count for nothing, unless all are: then the nearest one has probability 1.
    ///
    /// # Panics
    /// If `x` has not d coordinates.
    pub fn responsibilities(&self, x: &[f64], sigma: f64) -> Vec<f64> {
        let mut terms = self.log_terms(x, sigma);
        if terms.iter().all(|term| *term == f64::NEG_INFINITY) {
            let nearest = self.nearest(x);
            terms.fill(0.0);
            terms[nearest] = 1.0;
        } else {
            normalise_logs(&mut terms);
        }
        terms
    }

    /// The component whose mean is nearest to x; the first of equals.
    ///
    /// # Panics
    /// If `x` has not d coordinates.
    pub fn nearest(&self, x: &[f64]) -> usize {
        assert_eq!(x.len(), self.dim(), "a point of the mixture's space");
        let distances = self.means.iter().map(|m| squared_distance(x.iter().copied(), m.iter().copied()));
        let nearest = distances.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
        nearest.expect("a mixture has a component").0
    }

    /// ln p(x; sigma), the density of data with noise of level `sigma`; minus infinity where it is 0. Points
    /// (s_k = 0) have no density at sigma = 0 and count for nothing there.
    ///
    /// # Panics
    /// If `x` has not d coordinates.
    pub fn log_density(&self, x: &[f64], sigma: f64) -> f64 {
        let mut terms = self.log_terms(x, sigma);
        if terms.iter().all(|term| *term == f64::NEG_INFINITY) {
            return f64::NEG_INFINITY;
        }
        normalise_logs(&mut terms)
    }

    /// The gradient of [`log_density`](Self::log_density): sum_k r_k (m_k - x) / v_k.
    ///
    /// # Panics
    /// If `x` has not d coordinates.
    pub fn score(&self, x: &[f64], sigma: f64) -> Vec<f64> {
        let mut score = vec![0.0; x.len()];
        for (k, r) in self.responsibilities(x, sigma).into_iter().enumerate().filter(|(_, r)| *r > 0.0) {
            let factor = r / (self.stds[k] * self.stds[k] + sigma * sigma);
            for ((out, m), x) in score.iter_mut().zip(&self.means[k]).zip(x) {
                *out += factor * (m - x);
            }
        }
        score
    }

    /// E[x_0 | x_0 + sigma n = x] = sum_k r_k (m_k + s_k^2 / v_k (x - m_k)). At sigma = 0 that is x, or the nearest
    /// mean if all components are points.
    ///
    /// # Panics
    /// If `x` has not d coordinates.
    pub fn posterior_mean(&self, x: &[f64], sigma: f64) -> Vec<f64> {
        let mut posterior = vec![0.0; x.len()];
        for (k, r) in self.responsibilities(x, sigma).into_iter().enumerate().filter(|(_, r)| *r > 0.0) {
            let variance = self.stds[k] * self.stds[k];
            let kept = if variance > 0.0 { variance / (variance + sigma * sigma) } else { 0.0 };
            for ((out, m), x) in posterior.iter_mut().zip(&self.means[k]).zip(x) {
                *out += r * (m + kept * (x - m));
            }
        }
        posterior
    }

    /// Writes a draw from the mixture to `out` and returns its component.
    ///
    /// # Panics
    /// If `out` has not d coordinates.
    pub fn draw(&self, random: &mut Random, out: &mut [f32]) -> usize {
        assert_eq!(out.len(), self.dim(), "a point of the mixture's space");
        let u = random.uniform_f64();
        let mut reached = 0.0;
        let below = self.weights.iter().take_while(|weight| {
            reached += *weight;
            reached <= u
        });
        let component = below.count().min(self.components() - 1);
        for (out, m) in out.iter_mut().zip(&self.means[component]) {
            *out = (m + self.stds[component] * f64::from(random.normal())) as f32;
        }
        component
    }

    /// One draw for each seed, independent of a sampler's noise of the same seed.
    pub fn sample(&self, seeds: &[u64]) -> ImageBatch {
        ImageBatch::from_fn(self.shape(), seeds.len(), |i, out| {
            self.draw(&mut Random::with_stream(seeds[i], DATA_STREAM), out);
        })
    }
}

impl Denoiser for GaussianMixture {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
        ModelError::check(noisy, sigma, self.shape())?;
        let mut denoised = noisy.clone();
        denoised.values_mut().par_chunks_exact_mut(self.dim()).zip(sigma).for_each(|(image, sigma)| {
            let x: Vec<f64> = image.iter().map(|&value| f64::from(value)).collect();
            for (out, value) in image.iter_mut().zip(self.posterior_mean(&x, f64::from(sigma.get()))) {
                *out = value as f32;
            }
        });
        Ok(denoised)
    }
}
