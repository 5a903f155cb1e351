//! Does f say the same along a trajectory: the property that defines a consistency function.
//!
//! f(x_t, t) = x_epsilon for all t of one probability-flow trajectory (Song et al. 2023, Definition 1). The points
//! come from the caller, who has the exact or a finely solved flow; this module knows no solver.

use crate::metric::MetricError;
use cm_diffusion::{ConsistencyFunction, ModelError, Sigma};
use cm_image::ImageBatch;

/// How far f strays from its mean along trajectories; RMS over values, in data units.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Over all trajectories and levels; 0 for an exact consistency function.
    pub rms: f64,
    /// At each level, in the order of the points given: where along the trajectory f strays.
    pub per_level: Vec<f64>,
}

/// Why the spread could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum SpreadError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The points or the model's answers are not usable.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The points do not form trajectories.
    #[error(
        "point batch {index} holds {given} images at its level, the first holds {expected}; {levels} levels"
    )]
    Ragged {
        /// Which batch of points.
        index: usize,
        /// Its number of images.
        given: usize,
        /// The number of trajectories, from the first batch.
        expected: usize,
        /// The number of levels given.
        levels: usize,
    },
}

/// The root-mean-square deviation of f from its mean along each trajectory.
///
/// `points` holds for each level the batch of all trajectories' points there: image `i` of every batch lies on
/// trajectory `i`, whose class is `labels[i]`; no labels for a model that knows no classes.
///
/// # Errors
/// [`SpreadError`] for fewer than two levels, batches of different sizes, no images, or values that are not finite.
pub fn trajectory_spread(
    function: &dyn ConsistencyFunction,
    points: &[(Sigma, ImageBatch)],
    labels: &[u32],
) -> Result<Spread, SpreadError> {
    let levels = points.len();
    let Some(((_, first), true)) = points.first().map(|first| (first, levels >= 2)) else {
        return Err(MetricError::TooFew { what: "levels of a trajectory", given: levels, needed: 2 }.into());
    };
    if first.count() == 0 {
        return Err(MetricError::TooFew { what: "trajectories", given: 0, needed: 1 }.into());
    }
    let mut endpoints = Vec::with_capacity(levels);
    for (index, (sigma, batch)) in points.iter().enumerate() {
        if batch.values().len() != first.values().len() {
            let (given, expected) = (batch.count(), first.count());
            return Err(SpreadError::Ragged { index, given, expected, levels });
        }
        let answer = function.endpoint(batch, &vec![*sigma; batch.count()], labels)?;
        if !answer.is_finite() {
            return Err(ModelError::NotFinite(*sigma).into());
        }
        endpoints.push(answer);
    }
    let values = first.values().len();
    let mut squares = vec![0.0; levels];
    for position in 0..values {
        let at = |level: usize| f64::from(endpoints[level].values()[position]);
        let mean = (0..levels).map(at).sum::<f64>() / levels as f64;
        for (level, sum) in squares.iter_mut().enumerate() {
            *sum += (at(level) - mean).powi(2);
        }
    }
    let rms = (squares.iter().sum::<f64>() / (values * levels) as f64).sqrt();
    Ok(Spread { rms, per_level: squares.into_iter().map(|sum| (sum / values as f64).sqrt()).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_diffusion::Denoiser;
    use cm_diffusion::analytic::{ExactConsistency, GaussianMixture, MixtureConfig};
    use cm_diffusion::noise::batch_noise;
    use cm_image::ImageShape;

    /// f(x, sigma) = x + slope sigma.
    struct Shift(f32);

    impl ConsistencyFunction for Shift {
        fn endpoint(&self, noisy: &ImageBatch, sigma: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
            let mut out = noisy.clone();
            for (image, sigma) in out.images_mut().zip(sigma) {
                image.iter_mut().for_each(|value| *value += self.0 * sigma.get());
            }
            Ok(out)
        }
    }

    /// Points x0 - sigma, on which `Shift(1.0)` is exactly consistent.
    fn points(sigmas: &[f32]) -> Vec<(Sigma, ImageBatch)> {
        let shape = ImageShape::vector(2);
        let at = |sigma: f32| ImageBatch::from_fn(shape, 3, |i, v| v.fill(i as f32 - sigma));
        sigmas.iter().map(|&sigma| (Sigma::new(sigma).unwrap(), at(sigma))).collect()
    }

    #[test]
    fn an_exact_function_has_no_spread_and_another_a_known_one() {
        let exact = trajectory_spread(&Shift(1.0), &points(&[0.5, 1.0, 2.0]), &[]).unwrap();
        assert_eq!(exact, Spread { rms: 0.0, per_level: vec![0.0; 3] });
        // f = x0 + sigma at sigma 1, 2, 3: deviations -1, 0, 1.
        let off = trajectory_spread(&Shift(2.0), &points(&[1.0, 2.0, 3.0]), &[]).unwrap();
        assert_eq!(off, Spread { rms: (2.0f64 / 3.0).sqrt(), per_level: vec![1.0, 0.0, 1.0] });
    }

    #[test]
    fn the_exact_function_of_a_mixture_is_consistent_and_its_denoiser_is_not() {
        /// D(x; sigma) passed off as f.
        struct DenoiserAsEndpoint(GaussianMixture);
        impl ConsistencyFunction for DenoiserAsEndpoint {
            fn endpoint(
                &self,
                noisy: &ImageBatch,
                sigma: &[Sigma],
                labels: &[u32],
            ) -> Result<ImageBatch, ModelError> {
                self.0.denoise(noisy, sigma, labels)
            }
        }
        let mixture = MixtureConfig::default().build().unwrap();
        let level = |sigma: f32| Sigma::new(sigma).unwrap();
        let start = batch_noise(mixture.shape(), &[1, 2, 3, 4], 0).map(|z| 10.0 * z);
        let at =
            |sigma: f32| (level(sigma), mixture.flow(&start, &[level(10.0); 4], &[level(sigma); 4]).unwrap());
        let points = [10.0, 3.0, 1.0, 0.3, 0.1].map(at);
        let exact = ExactConsistency { mixture: mixture.clone(), sigma_min: level(0.002) };
        // f32 points at sigma 10 are known to 1e-6, and the flow to one of eight modes is no contraction everywhere.
        let spread = trajectory_spread(&exact, &points, &[]).unwrap();
        assert!(spread.rms < 1e-4, "{spread:?}");
        let wrong = trajectory_spread(&DenoiserAsEndpoint(mixture), &points, &[]).unwrap();
        assert!(wrong.rms > 0.1, "{wrong:?}");
    }

    #[test]
    fn what_is_no_trajectory_is_refused() {
        assert!(trajectory_spread(&Shift(1.0), &points(&[1.0]), &[]).is_err());
        assert!(trajectory_spread(&Shift(1.0), &[], &[]).is_err());
        let mut ragged = points(&[1.0, 2.0]);
        ragged[1].1 = ragged[1].1.slice(0..2);
        let error = trajectory_spread(&Shift(1.0), &ragged, &[]).unwrap_err();
        assert!(matches!(error, SpreadError::Ragged { index: 1, given: 2, expected: 3, .. }), "{error}");
        assert!(trajectory_spread(&Shift(f32::INFINITY), &points(&[1.0, 2.0]), &[]).is_err());
    }
}
