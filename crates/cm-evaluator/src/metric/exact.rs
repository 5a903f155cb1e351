//! Metrics against what is known exactly: the endpoint of each noise, the density's modes, another sample's values.
//!
//! Deliberately absent: the exact answers themselves; `cm-diffusion`'s analytic densities give them.

use super::MetricError;
use super::classification::{share, total_variation};
use super::points::squared_distance;
use crate::features::not_finite;
use cm_diffusion::{Sigma, analytic::GaussianMixture};
use cm_image::ImageBatch;
use cm_image::random::Random;
use rayon::prelude::*;

/// Errors of samples against the exact endpoints of the same noise, in data units.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointErrors {
    /// Of each image: the root of the mean over its values of the squared error.
    pub per_image: Vec<f64>,
    /// The root of the mean over all values of all images.
    pub rmse: f64,
    /// Standard error of `rmse` over the draw of the noise (delta method); 0 for a single image.
    pub standard_error: f64,
    /// The median over images: unlike `rmse` it is not ruled by the few trajectories that end on another mode.
    pub median: f64,
}

/// Compares samples with exact endpoints, image by image.
///
/// ```
/// use cm_evaluator::metric::exact::endpoint_errors;
/// use cm_image::{ImageBatch, ImageShape};
/// let points = |values: &[f32]| ImageBatch::new(ImageShape::vector(2), values.to_vec()).unwrap();
/// let errors = endpoint_errors(&points(&[3.0, 4.0, 0.0, 0.0]), &points(&[0.0; 4])).unwrap();
/// assert_eq!(errors.rmse, 2.5); // (9 + 16) / 4 values
/// assert_eq!(errors.median, 12.5f64.sqrt() / 2.0);
/// ```
///
/// # Errors
/// [`MetricError::TooFew`] without images, [`MetricError::Columns`] or [`MetricError::Rows`] if the batches differ
/// in shape or count, [`MetricError::NotFinite`].
pub fn endpoint_errors(samples: &ImageBatch, exact: &ImageBatch) -> Result<EndpointErrors, MetricError> {
    check_comparable(samples, exact)?;
    if samples.count() != exact.count() {
        return Err(MetricError::Rows { given: samples.count(), expected: exact.count() });
    }
    let dim = samples.shape().len() as f64;
    let square = |a: f32, b: f32| (f64::from(a) - f64::from(b)).powi(2);
    let mean_square =
        |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(&a, &b)| square(a, b)).sum::<f64>() / dim;
    let squares: Vec<f64> = samples.images().zip(exact.images()).map(mean_square).collect();
    let (mean, sd) = crate::report::mean_and_sd(&squares);
    let rmse = mean.sqrt();
    let spread = sd.unwrap_or(0.0) / (squares.len() as f64).sqrt();
    let standard_error = if rmse > 0.0 { spread / (2.0 * rmse) } else { 0.0 };
    let per_image: Vec<f64> = squares.into_iter().map(f64::sqrt).collect();
    let median = median(&per_image);
    Ok(EndpointErrors { per_image, rmse, standard_error, median })
}

/// The middle value, or the mean of the two middle ones.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}

/// Sliced Wasserstein-2 distance between the values of two sets of images, in data units.
///
/// The root of the mean over `projections` uniformly random directions (drawn from `seed`) of the squared
/// Wasserstein-2 distance of the two projected sets (Bonneel et al. 2015, Section 2), each exact by coupling
/// quantiles; the sets may have different sizes. Two finite sets of one law are not at distance 0: compare with
/// the floor.
///
/// # Errors
/// [`MetricError::TooFew`] without images or directions, [`MetricError::Columns`] for different shapes,
/// [`MetricError::NotFinite`].
pub fn sliced_wasserstein(
    a: &ImageBatch,
    b: &ImageBatch,
    projections: usize,
    seed: u64,
) -> Result<f64, MetricError> {
    check_comparable(a, b)?;
    if projections == 0 {
        return Err(MetricError::TooFew { what: "directions", given: 0, needed: 1 });
    }
    let squares: Vec<f64> = (0..projections as u64)
        .into_par_iter()
        .map(|stream| {
            let direction = direction(a.shape().len(), seed, stream);
            wasserstein_1d_squared(&projected(a, &direction), &projected(b, &direction))
        })
        .collect();
    Ok((squares.iter().sum::<f64>() / projections as f64).sqrt())
}

/// A uniformly random unit vector.
fn direction(dim: usize, seed: u64, stream: u64) -> Vec<f64> {
    let mut random = Random::with_stream(seed, stream);
    loop {
        let vector: Vec<f64> = (0..dim).map(|_| f64::from(random.normal())).collect();
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm > 0.0 {
            return vector.into_iter().map(|x| x / norm).collect();
        }
    }
}

/// The images' components along a direction, ascending.
fn projected(images: &ImageBatch, direction: &[f64]) -> Vec<f64> {
    let along = |image: &[f32]| image.iter().zip(direction).map(|(&x, d)| f64::from(x) * d).sum();
    let mut values: Vec<f64> = images.images().map(along).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Squared Wasserstein-2 distance of two ascending lists of numbers of equal weight: the integral of the squared
/// difference of their quantile functions, which are steps of widths 1/n and 1/m.
fn wasserstein_1d_squared(a: &[f64], b: &[f64]) -> f64 {
    // In units of 1/(n m) the steps end at whole numbers, so they are matched without rounding.
    let (n, m) = (a.len() as u64, b.len() as u64);
    let (mut i, mut j, mut at, mut sum) = (0, 0, 0, 0.0);
    while i < n && j < m {
        let end = ((i + 1) * m).min((j + 1) * n);
        sum += (end - at) as f64 * (a[i as usize] - b[j as usize]).powi(2);
        i += u64::from(end == (i + 1) * m);
        j += u64::from(end == (j + 1) * n);
        at = end;
    }
    sum / (n as f64 * m as f64)
}

/// Where samples lie with respect to a mixture's modes.
#[derive(Clone, Debug, PartialEq)]
pub struct ModeShares {
    /// For each mode the share of samples on it.
    pub shares: Vec<f64>,
    /// The share of samples on no mode, and its binomial standard error.
    pub off_mode: (f64, f64),
    /// Total variation distance to the true weights, with "on no mode" as one more class of weight 0.
    pub total_variation: f64,
}

/// Assigns each sample to the nearest mean, if it is within `radius`, and compares shares with the weights.
///
/// A sample is on a mode up to the distance s (sqrt(d) + `radius`), where s^2 = s_k^2 + `sigma_min`^2 is the
/// variance with which samples end there. In d dimensions a plain distance of 4 s would cut off half of the mass
/// for d = 16 already; with the root of d added, the exact law has at most exp(-radius^2 / 2) of its mass outside in
/// any dimension (concentration of the norm of a Gaussian vector), 0.03% for 4.
///
/// # Errors
/// [`MetricError::TooFew`] without samples, [`MetricError::Columns`] if they have not the mixture's dimension,
/// [`MetricError::NotFinite`].
pub fn mode_weights(
    samples: &ImageBatch,
    mixture: &GaussianMixture,
    sigma_min: Sigma,
    radius: f64,
) -> Result<ModeShares, MetricError> {
    check_images(samples)?;
    let dim = mixture.dim();
    if samples.shape().len() != dim {
        return Err(MetricError::Columns { given: samples.shape().len(), expected: dim });
    }
    let mut counts = vec![0usize; mixture.components()];
    for image in samples.images() {
        let x: Vec<f64> = image.iter().map(|&value| f64::from(value)).collect();
        let mode = mixture.nearest(&x);
        let std = mixture.stds()[mode].hypot(f64::from(sigma_min.get()));
        let reach = std * ((dim as f64).sqrt() + radius);
        counts[mode] += usize::from(squared_distance(&x, &mixture.means()[mode]) <= reach * reach);
    }
    let total = samples.count();
    let off_mode = share(total - counts.iter().sum::<usize>(), total);
    let shares: Vec<f64> = counts.into_iter().map(|count| count as f64 / total as f64).collect();
    // The class "on no mode" has weight 0.
    let on_modes = total_variation(&shares, mixture.weights())?;
    Ok(ModeShares { shares, off_mode, total_variation: on_modes + 0.5 * off_mode.0 })
}

/// Refuses no images, and images that are not finite.
fn check_images(images: &ImageBatch) -> Result<(), MetricError> {
    if images.count() == 0 {
        return Err(MetricError::TooFew { what: "images", given: 0, needed: 1 });
    }
    match not_finite(images.values(), images.shape().len()) {
        Some((rows, first)) => Err(MetricError::NotFinite { rows, first }),
        None => Ok(()),
    }
}

/// Refuses images that cannot be compared.
fn check_comparable(a: &ImageBatch, b: &ImageBatch) -> Result<(), MetricError> {
    check_images(a)?;
    check_images(b)?;
    if a.shape() == b.shape() {
        Ok(())
    } else {
        Err(MetricError::Columns { given: a.shape().len(), expected: b.shape().len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::ImageShape;
    use proptest::prelude::*;

    fn line(values: &[f32]) -> ImageBatch {
        ImageBatch::new(ImageShape::vector(1), values.to_vec()).unwrap()
    }

    fn gaussian(seed: u64, count: usize, dim: usize) -> ImageBatch {
        let mut random = Random::new(seed);
        ImageBatch::from_fn(ImageShape::vector(dim), count, |_, image| random.fill_normal(image))
    }

    #[test]
    fn the_median_ignores_one_lost_trajectory() {
        let exact = line(&[0.0; 5]);
        let errors = endpoint_errors(&line(&[1.0, -2.0, 3.0, 1.0, 100.0]), &exact).unwrap();
        assert_eq!(errors.per_image, [1.0, 2.0, 3.0, 1.0, 100.0]);
        assert_eq!(errors.median, 2.0);
        assert_eq!(errors.rmse, (10015.0f64 / 5.0).sqrt());
        let same = endpoint_errors(&exact, &exact).unwrap();
        assert_eq!((same.rmse, same.standard_error, same.median), (0.0, 0.0, 0.0));
    }

    #[test]
    fn the_standard_error_of_the_rmse_matches_its_spread() {
        let zeros = ImageBatch::zeros(ImageShape::vector(2), 200);
        let draws: Vec<_> =
            (0..200).map(|seed| endpoint_errors(&gaussian(seed, 200, 2), &zeros).unwrap()).collect();
        let (_, sd) = crate::report::mean_and_sd(&draws.iter().map(|d| d.rmse).collect::<Vec<_>>());
        let claimed = draws.iter().map(|d| d.standard_error).sum::<f64>() / 200.0;
        // A standard deviation of 200 draws is good to 5%.
        assert!((0.85..1.15).contains(&(claimed / sd.unwrap())), "{claimed} {sd:?}");
    }

    #[test]
    fn wasserstein_of_lists_by_hand() {
        assert_eq!(wasserstein_1d_squared(&[0.0, 1.0], &[0.0, 1.0]), 0.0);
        assert_eq!(wasserstein_1d_squared(&[0.0, 1.0], &[3.0, 4.0]), 9.0);
        // Halves against thirds: 1/3 of 0-0, 1/6 of 0-3, 1/6 of 6-3, 1/3 of 6-6.
        assert!((wasserstein_1d_squared(&[0.0, 6.0], &[0.0, 3.0, 6.0]) - 3.0).abs() < 1e-15);
        assert_eq!(wasserstein_1d_squared(&[2.0], &[0.0, 4.0]), 4.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn unequal_sizes_agree_with_copies_of_equal_size(
            a in prop::collection::vec(-5f64..5.0, 1..9), b in prop::collection::vec(-5f64..5.0, 1..9),
        ) {
            let sorted = |mut v: Vec<f64>| { v.sort_by(f64::total_cmp); v };
            let copies = |v: &[f64], n: usize| -> Vec<f64> {
                v.iter().flat_map(|&x| std::iter::repeat_n(x, n)).collect()
            };
            let (a, b) = (sorted(a), sorted(b));
            let (many_a, many_b) = (copies(&a, b.len()), copies(&b, a.len()));
            let expected = many_a.iter().zip(&many_b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>()
                / many_a.len() as f64;
            prop_assert!((wasserstein_1d_squared(&a, &b) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn sliced_distances_of_shifts_and_scalings() {
        // In one dimension every direction is +-1: the distance is the plain one.
        let shifted = sliced_wasserstein(&line(&[0.0, 1.0, 5.0]), &line(&[2.0, 3.0, 7.0]), 7, 3).unwrap();
        assert!((shifted - 2.0).abs() < 1e-12);
        // A shift by v in d dimensions: mean of (v . direction)^2 is |v|^2 / d.
        let a = gaussian(1, 300, 4);
        let shift = |mut images: ImageBatch| {
            images.images_mut().for_each(|image| image[2] += 3.0);
            images
        };
        let distance = sliced_wasserstein(&a, &shift(a.clone()), 4000, 0).unwrap();
        // The squared cosine in 4 dimensions has mean 1/4 and variance 1/16 - ... < 1/16: five standard errors.
        assert!((distance.powi(2) - 9.0 / 4.0).abs() < 5.0 * 9.0 * 0.25 / 4000f64.sqrt(), "{distance}");
        assert_eq!(sliced_wasserstein(&a, &a, 10, 0), Ok(0.0));
        let other = gaussian(2, 200, 4);
        assert_eq!(sliced_wasserstein(&a, &other, 10, 0), sliced_wasserstein(&other, &a, 10, 0));
    }

    fn two_modes() -> GaussianMixture {
        GaussianMixture::new(vec![0.75, 0.25], vec![vec![0.0, 0.0], vec![10.0, 0.0]], vec![1.0, 0.5]).unwrap()
    }

    #[test]
    fn modes_by_hand() {
        let points = [[0.0, 0.0], [5.0, 0.0], [10.0, 0.0], [10.0, 2.8]];
        let images = ImageBatch::new(ImageShape::vector(2), points.concat()).unwrap();
        // Reach sqrt(2) + 4 = 5.41 on the first mode (which 5 ties to), 2.7 on the second.
        let shares = mode_weights(&images, &two_modes(), Sigma::ZERO, 4.0).unwrap();
        assert_eq!(shares.shares, [0.5, 0.25]);
        assert_eq!(shares.off_mode, (0.25, (0.25f64 * 0.75 / 4.0).sqrt()));
        assert_eq!(shares.total_variation, 0.25);
        // With more noise left in the samples the second mode reaches further.
        let blurred = mode_weights(&images, &two_modes(), Sigma::new(0.5).unwrap(), 4.0).unwrap();
        assert_eq!((blurred.shares, blurred.off_mode.0), (vec![0.5, 0.5], 0.0));
    }

    #[test]
    fn exact_samples_are_on_modes_in_any_dimension() {
        for dim in [1, 2, 16, 100] {
            let far: Vec<f64> = (0..dim).map(|_| 50.0).collect();
            let mixture =
                GaussianMixture::new(vec![0.5, 0.5], vec![vec![0.0; dim], far], vec![0.1, 0.1]).unwrap();
            let samples = mixture.sample(&(0..2000).collect::<Vec<_>>());
            let shares = mode_weights(&samples, &mixture, Sigma::ZERO, 4.0).unwrap();
            // At most exp(-8) in expectation: 0.7 of 2,000.
            assert!(shares.off_mode.0 <= 4.0 / 2000.0, "{dim}: {shares:?}");
            assert!(shares.total_variation < 4.0 * 0.5 / 2000f64.sqrt(), "{dim}: {shares:?}");
        }
    }

    #[test]
    fn batches_that_cannot_be_compared_are_refused() {
        let one = line(&[0.0]);
        let none = line(&[]);
        let broken = line(&[0.0, f32::NAN]);
        assert_eq!(endpoint_errors(&one, &line(&[0.0; 2])), Err(MetricError::Rows { given: 1, expected: 2 }));
        assert!(endpoint_errors(&none, &none).is_err());
        assert_eq!(
            sliced_wasserstein(&broken, &one, 1, 0),
            Err(MetricError::NotFinite { rows: 1, first: 1 })
        );
        assert!(sliced_wasserstein(&one, &gaussian(0, 1, 2), 1, 0).is_err());
        assert!(sliced_wasserstein(&one, &one, 0, 0).is_err());
        assert!(mode_weights(&one, &two_modes(), Sigma::ZERO, 4.0).is_err());
    }
}
