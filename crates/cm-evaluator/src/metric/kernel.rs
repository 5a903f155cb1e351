//! Kernel distance: the unbiased squared maximum mean discrepancy of two sets of features under a cubic kernel.
//!
//! Bińkowski et al. 2018, Section 4: k(x, y) = (x.y / d + 1)^3 with d features. The usual estimate averages random
//! subsets; here all pairs are used at once, which is unbiased too and has less variance, and the standard error
//! comes from a jackknife over groups of rows. That is possible because every estimate, the whole and those
//! without a group, is a combination of the kernel's sums over pairs of groups, each computed once.

use super::MetricError;
use super::points::Points;
use cm_image::random::Random;
use rayon::prelude::*;

/// Rows of a block of inner products.
const BLOCK_ROWS: usize = 256;

/// A kernel distance and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelDistance {
    /// Unbiased MMD^2: about as often below 0 as above if both sets are of one law.
    pub value: f64,
    /// Delete-a-group jackknife standard error over the draw of both sets; when both sets are of one law it is
    /// too large by about the root of 2, as always for estimates that are degenerate there.
    pub standard_error: f64,
}

/// The kernel's sums over all pairs of groups of two sets.
struct GroupSums {
    groups: usize,
    sums: Vec<f64>,
}

/// The squared kernel distance of `a` and `b`, with the standard error from `groups` random groups of equal size
/// (up to one), drawn from `seed`.
///
/// ```
/// use cm_evaluator::{FeatureMatrix, metric::{Points, kernel::kernel_distance}};
/// let set = |values: &[f32]| Points::new(&FeatureMatrix::new(1, values.to_vec()).unwrap()).unwrap();
/// // Pairs within a: k = 1; within b: k = (1 + 1)^3 = 8; across: k = 1.
/// let d = kernel_distance(&set(&[0.0; 4]), &set(&[1.0; 4]), 2, 0).unwrap();
/// assert_eq!((d.value, d.standard_error), (1.0 + 8.0 - 2.0, 0.0));
/// ```
///
/// # Errors
/// [`MetricError::TooFew`] for fewer than 2 groups, or fewer than two rows a group; [`MetricError::Columns`] for
/// different numbers of features.
pub fn kernel_distance(
    a: &Points,
    b: &Points,
    groups: usize,
    seed: u64,
) -> Result<KernelDistance, MetricError> {
    a.check_same_space(b)?;
    if groups < 2 {
        return Err(MetricError::TooFew { what: "groups of a jackknife", given: groups, needed: 2 });
    }
    let rows = a.len().min(b.len());
    if rows < 2 * groups {
        return Err(MetricError::TooFew { what: "rows of features", given: rows, needed: 2 * groups });
    }
    // In random order, so that a data set sorted by class does not put a class into a group.
    let shuffled =
        |points: &Points, stream| points.gather(&Random::with_stream(seed, stream).permutation(points.len()));
    let (a, b) = (shuffled(a, 0), shuffled(b, 1));
    let within_a = GroupSums::new(&a, &a, groups, true);
    let within_b = GroupSums::new(&b, &b, groups, true);
    let across = GroupSums::new(&a, &b, groups, false);
    let estimate = |without: Option<usize>| {
        let left =
            |points: &Points| points.len() - without.map_or(0, |g| bounds(points.len(), groups, g).len());
        let (n, m) = (left(&a) as f64, left(&b) as f64);
        within_a.total(without) / (n * (n - 1.0)) + within_b.total(without) / (m * (m - 1.0))
            - 2.0 * across.total(without) / (n * m)
    };
    let without_one: Vec<f64> = (0..groups).map(|group| estimate(Some(group))).collect();
    let mean = without_one.iter().sum::<f64>() / groups as f64;
    let squares: f64 = without_one.iter().map(|value| (value - mean) * (value - mean)).sum();
    let standard_error = (squares * (groups - 1) as f64 / groups as f64).sqrt();
    Ok(KernelDistance { value: estimate(None), standard_error })
}

/// The rows of one of `groups` groups.
fn bounds(rows: usize, groups: usize, group: usize) -> std::ops::Range<usize> {
    rows * group / groups..rows * (group + 1) / groups
}

impl GroupSums {
    /// Sums of k(x, y) over x in a group of `a` and y in a group of `b`, for all pairs of groups; `distinct` leaves
    /// out the pairs of a row with itself.
    fn new(a: &Points, b: &Points, groups: usize, distinct: bool) -> Self {
        let scale = 1.0 / a.dim() as f64;
        let pair = |index: usize| {
            let (rows, cols) =
                (bounds(a.len(), groups, index / groups), bounds(b.len(), groups, index % groups));
            let mut products = Vec::new();
            let mut sum = 0.0;
            for from in rows.clone().step_by(BLOCK_ROWS) {
                let block = from..(from + BLOCK_ROWS).min(rows.end);
                a.products(block.clone(), b, cols.clone(), &mut products);
                for (row, products) in block.zip(products.chunks_exact(cols.len())) {
                    for (col, product) in cols.clone().zip(products) {
                        if !(distinct && row == col) {
                            let base = product * scale + 1.0;
                            sum += base * base * base;
                        }
                    }
                }
            }
            sum
        };
        Self { groups, sums: (0..groups * groups).into_par_iter().map(pair).collect() }
    }

    /// The sum over all pairs of groups, without those of one group.
    fn total(&self, without: Option<usize>) -> f64 {
        let keep = |index: usize| {
            without.is_none_or(|group| index / self.groups != group && index % self.groups != group)
        };
        self.sums.iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, sum)| sum).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureMatrix;

    fn gaussian(seed: u64, count: usize, dim: usize, shift: f32) -> Points {
        let mut random = Random::new(seed);
        let values = (0..count * dim).map(|_| random.normal() + shift).collect();
        Points::new(&FeatureMatrix::new(dim, values).unwrap()).unwrap()
    }

    /// Gretton et al. 2012, Equation 3, by the definition.
    fn naive(a: &Points, b: &Points) -> f64 {
        let kernel = |x: &[f32], y: &[f32]| {
            let product = |(&x, &y): (&f32, &f32)| f64::from(x) * f64::from(y);
            (x.iter().zip(y).map(product).sum::<f64>() / x.len() as f64 + 1.0).powi(3)
        };
        let mean = |a: &Points, b: &Points, distinct: bool| {
            let (mut sum, mut pairs) = (0.0, 0.0);
            for i in 0..a.len() {
                for j in (0..b.len()).filter(|&j| !(distinct && i == j)) {
                    sum += kernel(a.point(i), b.point(j));
                    pairs += 1.0;
                }
            }
            sum / pairs
        };
        mean(a, a, true) + mean(b, b, true) - 2.0 * mean(a, b, false)
    }

    #[test]
    fn the_value_is_that_of_the_double_loop() {
        for (n, m, dim, groups) in [(4, 4, 1, 2), (7, 20, 3, 3), (201, 150, 16, 10)] {
            let (a, b) = (gaussian(1, n, dim, 0.0), gaussian(2, m, dim, 0.3));
            let distance = kernel_distance(&a, &b, groups, 5).unwrap();
            assert!((distance.value - naive(&a, &b)).abs() < 1e-12 * (1.0 + distance.value.abs()));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            assert_eq!(pool.install(|| kernel_distance(&a, &b, groups, 5).unwrap()), distance, "3 threads");
        }
    }

    #[test]
    fn the_standard_error_is_that_of_recomputing_without_each_group() {
        let (a, b, groups, seed) = (gaussian(1, 33, 2, 0.0), gaussian(2, 25, 2, 0.5), 4, 9);
        let order = |n, stream| Random::with_stream(seed, stream).permutation(n);
        let without = |group: usize| {
            let keep = |points: &Points, stream| {
                let gone = bounds(points.len(), groups, group);
                let order = order(points.len(), stream);
                let kept: Vec<usize> =
                    (0..points.len()).filter(|i| !gone.contains(i)).map(|i| order[i]).collect();
                points.gather(&kept)
            };
            naive(&keep(&a, 0), &keep(&b, 1))
        };
        let values: Vec<f64> = (0..groups).map(without).collect();
        let mean = values.iter().sum::<f64>() / 4.0;
        let expected = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() * 3.0 / 4.0).sqrt();
        let distance = kernel_distance(&a, &b, groups, seed).unwrap();
        assert!((distance.standard_error - expected).abs() < 1e-12, "{distance:?} {expected}");
    }

    #[test]
    fn the_standard_error_matches_the_spread_over_draws() {
        let draws: Vec<KernelDistance> = (0..60)
            .map(|i| kernel_distance(&gaussian(2 * i, 100, 3, 0.0), &gaussian(2 * i + 1, 100, 3, 0.5), 10, i))
            .collect::<Result<_, _>>()
            .unwrap();
        let values: Vec<f64> = draws.iter().map(|d| d.value).collect();
        let (_, spread) = crate::report::mean_and_sd(&values);
        let claimed = draws.iter().map(|d| d.standard_error).sum::<f64>() / 60.0;
        // A standard deviation of 60 draws is good to 9%, a jackknife of 10 groups is biased by a few percent.
        let ratio = claimed / spread.unwrap();
        assert!((0.7..1.4).contains(&ratio), "{ratio}");
    }

    #[test]
    fn for_equal_laws_it_is_unbiased_and_the_standard_error_too_large() {
        let draws: Vec<KernelDistance> = (0..200)
            .map(|i| kernel_distance(&gaussian(2 * i, 40, 3, 0.0), &gaussian(2 * i + 1, 44, 3, 0.0), 10, i))
            .collect::<Result<_, _>>()
            .unwrap();
        let values: Vec<f64> = draws.iter().map(|draw| draw.value).collect();
        let (mean, sd) = crate::report::mean_and_sd(&values);
        let sd = sd.unwrap();
        assert!(mean.abs() < 4.0 * sd / 200f64.sqrt(), "{mean}");
        assert!(values.iter().any(|&value| value < 0.0));
        let claimed = draws.iter().map(|draw| draw.standard_error.powi(2)).sum::<f64>() / 200.0;
        let ratio = claimed.sqrt() / sd;
        assert!((1.1..1.9).contains(&ratio), "{ratio}");
    }

    #[test]
    fn too_few_rows_or_groups_are_refused() {
        let set = |n, dim| gaussian(1, n, dim, 0.0);
        assert!(matches!(
            kernel_distance(&set(9, 1), &set(30, 1), 5, 0),
            Err(MetricError::TooFew { given: 9, needed: 10, .. })
        ));
        assert!(kernel_distance(&set(9, 1), &set(9, 1), 1, 0).is_err());
        assert!(kernel_distance(&set(9, 1), &set(9, 2), 2, 0).is_err());
    }
}
