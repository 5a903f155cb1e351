//! The Fréchet distance that infinitely many samples would have, so that scores of different counts compare.
//!
//! The distance of finite sets lies above that of their distributions by an amount that falls as one over the number of
//! samples. Chong and Forsyth 2020 ("Effectively Unbiased FID and Inception Score", Section 4) fit a line through the
//! distances of subsets of growing size against one over that size, and read it off at 0. The bias that comes from the
//! reference's own count is the same for every set compared with it, and stays.

use super::frechet::FrechetSide;
use super::{EXTRAPOLATION_IMAGES, MetricError};
use crate::features::FeatureMatrix;
use crate::statistics::Statistics;
use cm_image::random::{Random, derive_seed};

/// Subsets that the line goes through.
const SUBSETS: usize = 15; // Chong and Forsyth 2020, Section 5
/// The smallest subset is the set over this number. They begin at a tenth; with a half the second term of the bias,
/// which a line does not have, is small for hundreds of samples too.
const SMALLEST: usize = 2;

/// The distance of `rows` from `reference`, extrapolated to infinitely many rows. It may fall below 0, as unbiased
/// estimates of small numbers do. `seed` decides the subsets.
///
/// # Errors
/// [`MetricError::TooFew`] below 30 rows, and those of [`FrechetSide::distance`].
pub fn extrapolated_frechet(
    rows: &FeatureMatrix,
    reference: &FrechetSide,
    seed: u64,
) -> Result<f64, MetricError> {
    let count = rows.rows();
    if count < EXTRAPOLATION_IMAGES {
        let what = "rows of features to extrapolate from";
        return Err(MetricError::TooFew { what, given: count, needed: EXTRAPOLATION_IMAGES });
    }
    let smallest = count / SMALLEST;
    let points = (0..SUBSETS)
        .map(|index| {
            let size = smallest + (count - smallest) * index / (SUBSETS - 1);
            let order = Random::new(derive_seed(seed, index as u64)).permutation(count);
            let values = order[..size].iter().flat_map(|&row| rows.row(row)).copied().collect();
            let subset = FeatureMatrix::new(rows.cols(), values).expect("whole rows were gathered");
            let distance = FrechetSide::new(&Statistics::of(&subset)?)?.distance(reference)?;
            Ok((1.0 / size as f64, distance))
        })
        .collect::<Result<Vec<_>, MetricError>>()?;
    Ok(intercept(&points))
}

/// Where the line of least squares through `points` meets the axis at 0.
fn intercept(points: &[(f64, f64)]) -> f64 {
    let mean = |f: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / points.len() as f64;
    let (x, y) = (mean(&|point| point.0), mean(&|point| point.1));
    let slope = mean(&|point| (point.0 - x) * (point.1 - y)) / mean(&|point| (point.0 - x) * (point.0 - x));
    y - slope * x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let points: Vec<_> = [0.5, 0.25, 0.125].map(|x| (x, 3.0 + 7.0 * x)).to_vec();
        assert!((intercept(&points) - 3.0).abs() < 1e-12);
    }

    /// Two Gaussians whose distance is known: 16 features, apart by 0.5 in each, deviations 1 and 1.25.
    #[test]
    fn hundreds_of_samples_tell_the_exact_distance_that_they_do_not_have() {
        const DIM: usize = 16;
        let exact = DIM as f64 * (0.5f64.powi(2) + 0.25f64.powi(2));
        let identity = (0..DIM * DIM).map(|at| if at % (DIM + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let reference = Statistics::from_parts(vec![0.0; DIM], identity, None).unwrap();
        let reference = FrechetSide::new(&reference).unwrap();
        let (mut plain, mut extrapolated) = (0.0, 0.0);
        let repeats = 40;
        for seed in 0..repeats {
            let mut values = vec![0.0; 300 * DIM];
            Random::new(seed).fill_normal(&mut values);
            values.iter_mut().for_each(|value| *value = 0.5 + 1.25 * *value);
            let rows = FeatureMatrix::new(DIM, values).unwrap();
            let side = FrechetSide::new(&Statistics::of(&rows).unwrap()).unwrap();
            plain += side.distance(&reference).unwrap() / repeats as f64;
            extrapolated += extrapolated_frechet(&rows, &reference, seed).unwrap() / repeats as f64;
        }
        let (before, after) = (plain - exact, (extrapolated - exact).abs());
        // 5.33 and 4.95 of 5.
        assert!(before > 0.3 && after < 0.2 * before, "{plain} {extrapolated} {exact}");
    }

    #[test]
    fn too_few_samples_are_refused() {
        let rows = FeatureMatrix::new(1, vec![0.0; 29]).unwrap();
        let reference = Statistics::from_parts(vec![0.0], vec![1.0], None).unwrap();
        let error = extrapolated_frechet(&rows, &FrechetSide::new(&reference).unwrap(), 0).unwrap_err();
        assert!(matches!(error, MetricError::TooFew { given: 29, needed: 30, .. }), "{error}");
    }
}
