//! Fréchet distance between the Gaussians that share mean and covariance with two sets of features.

use super::MetricError;
use crate::statistics::Statistics;
use crate::symmetric_sqrt::{nuclear_norm_of_product, symmetric_sqrt};

/// One side of the distance, with the square root of its covariance already taken.
#[derive(Clone, Debug)]
pub struct FrechetSide {
    mean: Vec<f64>,
    trace: f64,
    root: Vec<f64>,
}

impl FrechetSide {
    /// Prepares a set of features; for a reference that many sets are compared with, once.
    ///
    /// # Errors
    /// [`MetricError::NoConvergence`] or [`MetricError::NotFinite`] from the square root.
    pub fn new(statistics: &Statistics) -> Result<Self, MetricError> {
        let dim = statistics.mean().len();
        Ok(Self {
            mean: statistics.mean().to_vec(),
            trace: statistics.covariance().iter().step_by(dim + 1).sum(),
            root: symmetric_sqrt(statistics.covariance(), dim)?,
        })
    }

    /// |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Dowson and Landau 1982; Heusel et al. 2017), at least 0.
    ///
    /// The trace of the root is taken as the sum of the singular values of S1^(1/2) S2^(1/2), which needs neither a
    /// root of a non-symmetric matrix nor the original code's offset on the diagonal. Sets with fewer rows than
    /// features are allowed (see [`Statistics::of`]). The estimate from finite sets lies above the distance of the
    /// distributions, by an amount that falls with the number of rows.
    ///
    /// # Errors
    /// [`MetricError::Columns`] for different numbers of features, [`MetricError::NoConvergence`].
    pub fn distance(&self, other: &Self) -> Result<f64, MetricError> {
        let (given, expected) = (self.mean.len(), other.mean.len());
        if given != expected {
            return Err(MetricError::Columns { given, expected });
        }
        let shift: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b) * (a - b)).sum();
        let overlap = nuclear_norm_of_product(&self.root, &other.root, given)?;
        // Rounding can leave a hair below 0, which no distance is.
        Ok((shift + self.trace + other.trace - 2.0 * overlap).max(0.0))
    }
}

/// The Fréchet distance (squared, as is the custom) between two sets of features.
///
/// ```
/// use cm_evaluator::{FeatureMatrix, Statistics, metric::frechet::frechet_distance};
/// let rows = |shift: f32| FeatureMatrix::new(1, vec![shift - 1.0, shift + 1.0]).unwrap();
/// let (a, b) = (Statistics::of(&rows(0.0)).unwrap(), Statistics::of(&rows(2.0)).unwrap());
/// assert!((frechet_distance(&a, &b).unwrap() - 4.0).abs() < 1e-12); // a shift by 2 and nothing else
/// ```
///
/// # Errors
/// As [`FrechetSide::distance`].
pub fn frechet_distance(a: &Statistics, b: &Statistics) -> Result<f64, MetricError> {
    FrechetSide::new(a)?.distance(&FrechetSide::new(b)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureMatrix;
    use cm_image::random::Random;
    use proptest::prelude::*;

    fn features(seed: u64, rows: usize, cols: usize) -> FeatureMatrix {
        let mut values = vec![0.0; rows * cols];
        Random::new(seed).fill_normal(&mut values);
        FeatureMatrix::new(cols, values).unwrap()
    }

    fn statistics(features: &FeatureMatrix) -> Statistics {
        Statistics::of(features).unwrap()
    }

    fn map(features: &FeatureMatrix, f: impl Fn(usize, f32) -> f32) -> FeatureMatrix {
        let cols = features.cols();
        let values = features.values().iter().enumerate().map(|(at, &v)| f(at % cols, v)).collect();
        FeatureMatrix::new(cols, values).unwrap()
    }

    #[test]
    fn a_set_is_at_distance_0_from_itself_whatever_its_rank() {
        for rows in [2, 5, 16, 200] {
            let statistics = statistics(&features(1, rows, 16));
            assert!(frechet_distance(&statistics, &statistics).unwrap() < 1e-12, "{rows} rows");
        }
    }

    #[test]
    fn a_shift_by_2_is_4_in_any_dimension() {
        for cols in [1, 3, 20] {
            // Multiples of 1/64 stay exact when shifted.
            let a = map(&features(2, 50, cols), |_, v| (v * 64.0).round() / 64.0);
            let b = map(&a, |col, v| if col == 0 { v + 2.0 } else { v });
            let distance = frechet_distance(&statistics(&a), &statistics(&b)).unwrap();
            assert!((distance - 4.0).abs() < 1e-12, "{distance}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn independent_gaussians_add_their_1d_distances(
            (shift, s1, s2) in ([-3f32..3.0, -3.0..3.0], [0.1f32..3.0, 0.1..3.0], [0.1f32..3.0, 0.1..3.0])
                .prop_map(|(a, b, c)| (a, b, c)),
        ) {
            // Four points with the identity as covariance times 4/3.
            let square = FeatureMatrix::new(2, vec![1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0]).unwrap();
            let a = statistics(&map(&square, |col, v| s1[col] * v));
            let b = statistics(&map(&square, |col, v| s2[col] * v + shift[col]));
            let unit = (4.0f64 / 3.0).sqrt();
            let expected: f64 = (0..2)
                .map(|i| {
                    let (d1, d2) = (f64::from(s1[i]) * unit, f64::from(s2[i]) * unit);
                    f64::from(shift[i]).powi(2) + (d1 - d2).powi(2)
                })
                .sum();
            let distance = frechet_distance(&a, &b).unwrap();
            // The features themselves are rounded to f32.
            prop_assert!((distance - expected).abs() < 1e-5 * (1.0 + expected), "{distance} {expected}");
        }

        #[test]
        fn it_is_symmetric(seed: u64, rows in 2usize..40) {
            let a = statistics(&features(seed, rows, 8));
            let b = statistics(&features(seed ^ 1, 30, 8));
            let (ab, ba) = (frechet_distance(&a, &b).unwrap(), frechet_distance(&b, &a).unwrap());
            prop_assert!((ab - ba).abs() < 1e-12 * ab && ab > 0.0);
        }
    }

    #[test]
    fn covariances_that_do_not_commute_have_the_closed_form_of_two_dimensions() {
        // The eigenvalues of A B are p, q >= 0, and (sqrt p + sqrt q)^2 = tr(A B) + 2 sqrt(det(A B)).
        for seed in 0..20 {
            let (sheared, turned) = (features(seed, 30, 2), features(seed + 100, 50, 2));
            let a = statistics(&map(&sheared, |col, v| v * (1.0 + 3.0 * col as f32)));
            let mixed = (0..50).flat_map(|i| {
                let row = turned.row(i);
                [row[0] + 2.0 * row[1], row[1] - 0.5 * row[0] + 1.0]
            });
            let b = statistics(&FeatureMatrix::new(2, mixed.collect()).unwrap());
            let (p, q) = (a.covariance(), b.covariance());
            assert!((p[0] * q[1] + p[1] * q[3] - q[0] * p[1] - q[1] * p[3]).abs() > 0.1, "these commute");
            let trace = p[0] * q[0] + p[1] * q[2] + p[2] * q[1] + p[3] * q[3];
            let det = (p[0] * p[3] - p[1] * p[2]) * (q[0] * q[3] - q[1] * q[2]);
            let shift = (0..2).map(|i| (a.mean()[i] - b.mean()[i]).powi(2)).sum::<f64>();
            let expected = shift + p[0] + p[3] + q[0] + q[3] - 2.0 * (trace + 2.0 * det.sqrt()).sqrt();
            let distance = frechet_distance(&a, &b).unwrap();
            assert!((distance - expected).abs() < 1e-12 * expected, "{distance} {expected}");
        }
    }

    #[test]
    fn different_numbers_of_features_are_refused() {
        let error = frechet_distance(&statistics(&features(1, 5, 2)), &statistics(&features(1, 5, 3)));
        assert_eq!(error, Err(MetricError::Columns { given: 2, expected: 3 }));
    }
}
