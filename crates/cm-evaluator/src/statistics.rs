//! Mean and covariance of features, streaming and in `f64`, and the scaling they define.

use crate::features::FeatureMatrix;
use crate::metric::MetricError;
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;

/// Rows that are folded into the sums at once.
const BLOCK_ROWS: usize = 256;
/// Rows of the covariance that one task updates.
const TILE_ROWS: usize = 128;
/// How far a covariance from elsewhere may be from symmetric, relative to its largest variance: single precision.
const ASYMMETRY: f64 = 1e-5;

/// Mean and covariance of a set of feature rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    count: Option<usize>,
    mean: Vec<f64>,
    covariance: Vec<f64>,
}

impl Statistics {
    /// Mean and covariance (divisor N - 1) of the rows of `features`.
    ///
    /// Fewer rows than features give a covariance without full rank. That is allowed, but distances between such
    /// estimates are far above those of the distributions: compare scores of the same number of rows only.
    ///
    /// # Errors
    /// [`MetricError::TooFew`] below two rows, [`MetricError::NotFinite`] for infinite or NaN values.
    pub fn of(features: &FeatureMatrix) -> Result<Self, MetricError> {
        let mut running = RunningStatistics::new(features.cols());
        running.push(features)?;
        running.finish()
    }

    /// Statistics that were worked out elsewhere, such as those of a published file: `count` rows, if that is known.
    ///
    /// # Errors
    /// [`MetricError::NotSquare`] unless the covariance has a row and a column for each mean,
    /// [`MetricError::NotFinite`] for infinite or NaN values (row 0 for the means), [`MetricError::NotCovariance`]
    /// for a negative variance or a matrix that is not symmetric.
    pub fn from_parts(
        mean: Vec<f64>,
        covariance: Vec<f64>,
        count: Option<usize>,
    ) -> Result<Self, MetricError> {
        let dim = mean.len();
        if dim == 0 || covariance.len() != dim * dim {
            return Err(MetricError::NotSquare { values: covariance.len(), dim });
        }
        for values in [&mean, &covariance] {
            let finite = |row: &[f64]| row.iter().all(|value| value.is_finite());
            let mut bad = values.chunks_exact(dim).enumerate().filter(|(_, row)| !finite(row));
            if let Some((first, _)) = bad.next() {
                return Err(MetricError::NotFinite { rows: 1 + bad.count(), first });
            }
        }
        let largest = covariance.iter().step_by(dim + 1).copied().fold(0.0, f64::max);
        for i in 0..dim {
            for j in 0..=i {
                let (a, b) = (covariance[i * dim + j], covariance[j * dim + i]);
                if (a - b).abs() > ASYMMETRY * largest || covariance[i * dim + i] < 0.0 {
                    return Err(MetricError::NotCovariance { row: i, column: j });
                }
            }
        }
        Ok(Self { count, mean, covariance })
    }

    /// The number of rows, if it is known.
    pub fn count(&self) -> Option<usize> {
        self.count
    }

    /// The mean of each feature.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The covariance of features, row by row, divisor N - 1.
    pub fn covariance(&self) -> &[f64] {
        &self.covariance
    }
}

impl Statistics {
    /// The statistics of the rows after [`Standardiser::apply`].
    ///
    /// # Errors
    /// [`MetricError::Columns`] for another number of features.
    pub fn standardised(&self, by: &Standardiser) -> Result<Self, MetricError> {
        let cols = self.mean.len();
        if by.mean.len() != cols {
            return Err(MetricError::Columns { given: cols, expected: by.mean.len() });
        }
        let mean = (0..cols).map(|j| (self.mean[j] - by.mean[j]) * by.scale[j]).collect();
        let entry = |at: usize| self.covariance[at] * by.scale[at / cols] * by.scale[at % cols];
        Ok(Self { count: self.count, mean, covariance: (0..cols * cols).map(entry).collect() })
    }
}

/// Sums from which [`Statistics`] come, fed a few rows at a time.
///
/// Rows are folded in by blocks of a fixed size counted from the first row, with the update of Chan, Golub and
/// LeVeque (1983), so the result does not depend on how the rows were divided among calls, nor on threads.
#[derive(Clone, Debug)]
pub struct RunningStatistics {
    count: usize,
    mean: Vec<f64>,
    /// Sums of products of deviations from the mean, row by row.
    scatter: Vec<f64>,
    /// Rows that do not fill a block yet.
    pending: Vec<f64>,
}

impl RunningStatistics {
    /// No rows yet, of `cols` features each.
    ///
    /// # Panics
    /// If `cols` is 0.
    pub fn new(cols: usize) -> Self {
        assert!(cols > 0, "rows need at least one feature");
        Self { count: 0, mean: vec![0.0; cols], scatter: vec![0.0; cols * cols], pending: Vec::new() }
    }

    /// The number of rows so far.
    pub fn count(&self) -> usize {
        self.count + self.pending.len() / self.mean.len()
    }

    /// Adds the rows of `features`.
    ///
    /// # Errors
    /// [`MetricError::Columns`] for another number of features, [`MetricError::NotFinite`] for infinite or NaN
    /// values (rows counted within `features`); then nothing is added.
    pub fn push(&mut self, features: &FeatureMatrix) -> Result<(), MetricError> {
        let cols = self.mean.len();
        if features.cols() != cols {
            return Err(MetricError::Columns { given: features.cols(), expected: cols });
        }
        if let Some((rows, first)) = features.not_finite() {
            return Err(MetricError::NotFinite { rows, first });
        }
        for row in 0..features.rows() {
            self.pending.extend(features.row(row).iter().map(|&value| f64::from(value)));
            if self.pending.len() == BLOCK_ROWS * cols {
                self.fold_pending();
            }
        }
        Ok(())
    }

    /// Adds the rows of `other` behind these.
    ///
    /// The sums agree with those of pushing all rows to one up to rounding, and depend on the order of merging.
    ///
    /// # Errors
    /// [`MetricError::Columns`] for another number of features.
    pub fn merge(&mut self, mut other: Self) -> Result<(), MetricError> {
        if other.mean.len() != self.mean.len() {
            return Err(MetricError::Columns { given: other.mean.len(), expected: self.mean.len() });
        }
        self.fold_pending();
        other.fold_pending();
        self.combine(other.count, &other.mean, &other.scatter);
        Ok(())
    }

    /// Mean and covariance of all rows.
    ///
    /// # Errors
    /// [`MetricError::TooFew`] below two rows.
    pub fn finish(mut self) -> Result<Statistics, MetricError> {
        self.fold_pending();
        if self.count < 2 {
            return Err(MetricError::TooFew { what: "rows of features", given: self.count, needed: 2 });
        }
        let scale = 1.0 / (self.count - 1) as f64;
        let covariance = self.scatter.iter().map(|sum| sum * scale).collect();
        Ok(Statistics { count: Some(self.count), mean: self.mean, covariance })
    }

    fn fold_pending(&mut self) {
        let cols = self.mean.len();
        let mut block = std::mem::take(&mut self.pending);
        let rows = block.len() / cols;
        if rows == 0 {
            return;
        }
        let mut mean = vec![0.0; cols];
        for row in block.chunks_exact(cols) {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= rows as f64);
        for row in block.chunks_exact_mut(cols) {
            row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
        }
        // Tiles of rows of the scatter: the sum over the block's rows is never split.
        let mut scatter = vec![0.0; cols * cols];
        let deviations = MatRef::from_row_major_slice(&block, rows, cols);
        scatter.par_chunks_mut(TILE_ROWS * cols).enumerate().for_each(|(tile, out)| {
            let height = out.len() / cols;
            let out = MatMut::from_row_major_slice_mut(out, height, cols);
            let left = deviations.subcols(tile * TILE_ROWS, height).transpose();
            matmul(out, Accum::Replace, left, deviations, 1.0, Par::Seq);
        });
        self.combine(rows, &mean, &scatter);
        block.clear();
        self.pending = block;
    }

    /// Chan, Golub and LeVeque 1983, Equation 2.1, for vectors.
    fn combine(&mut self, count: usize, mean: &[f64], scatter: &[f64]) {
        if count == 0 {
            return;
        }
        let cols = self.mean.len();
        let (before, added) = (self.count as f64, count as f64);
        let total = before + added;
        let shift: Vec<f64> = mean.iter().zip(&self.mean).map(|(new, old)| new - old).collect();
        let weight = before * added / total;
        self.scatter.par_chunks_mut(cols).enumerate().for_each(|(i, out)| {
            for (j, value) in out.iter_mut().enumerate() {
                // Products in this order keep the matrix symmetric to the last bit.
                *value += scatter[i * cols + j] + weight * (shift[i] * shift[j]);
            }
        });
        self.mean.iter_mut().zip(&shift).for_each(|(mean, shift)| *mean += shift * (added / total));
        self.count += count;
    }
}

/// Features less the mean, over the standard deviation, of a reference set.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardiser {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Standardiser {
    /// The scaling that gives the rows behind `reference` mean 0 and variance 1.
    ///
    /// A feature that does not vary in the reference is only shifted: it has no scale of its own.
    pub fn new(reference: &Statistics) -> Self {
        let cols = reference.mean.len();
        let scale_of = |variance: &f64| if *variance > 0.0 { 1.0 / variance.sqrt() } else { 1.0 };
        let scale = reference.covariance.iter().step_by(cols + 1).map(scale_of).collect();
        Self { mean: reference.mean.clone(), scale }
    }

    /// The scaled features.
    ///
    /// # Errors
    /// [`MetricError::Columns`] for another number of features, [`MetricError::NotFinite`] if a feature is not
    /// finite or leaves the range of `f32`.
    pub fn apply(&self, features: &FeatureMatrix) -> Result<FeatureMatrix, MetricError> {
        let cols = self.mean.len();
        if features.cols() != cols {
            return Err(MetricError::Columns { given: features.cols(), expected: cols });
        }
        let scaled = |(at, &value): (usize, &f32)| {
            ((f64::from(value) - self.mean[at % cols]) * self.scale[at % cols]) as f32
        };
        let values = features.values().iter().enumerate().map(scaled).collect();
        let scaled = FeatureMatrix::new(cols, values).expect("as many values as in whole rows before");
        match scaled.not_finite() {
            Some((rows, first)) => Err(MetricError::NotFinite { rows, first }),
            None => Ok(scaled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::random::Random;
    use proptest::prelude::*;

    fn normal_features(seed: u64, rows: usize, cols: usize) -> FeatureMatrix {
        let mut values = vec![0.0; rows * cols];
        Random::new(seed).fill_normal(&mut values);
        FeatureMatrix::new(cols, values).unwrap()
    }

    /// Two passes, by the definition.
    fn naive(features: &FeatureMatrix) -> (Vec<f64>, Vec<f64>) {
        let (rows, cols) = (features.rows(), features.cols());
        let at = |i: usize, j: usize| f64::from(features.row(i)[j]);
        let mean: Vec<f64> =
            (0..cols).map(|j| (0..rows).map(|i| at(i, j)).sum::<f64>() / rows as f64).collect();
        let product = |j: usize, k: usize| -> f64 {
            (0..rows).map(|i| (at(i, j) - mean[j]) * (at(i, k) - mean[k])).sum::<f64>() / (rows - 1) as f64
        };
        let covariance = (0..cols * cols).map(|index| product(index / cols, index % cols)).collect();
        (mean, covariance)
    }

    fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance), "{a:?}\n{b:?}");
    }

    #[test]
    fn small_numbers_by_hand() {
        let features = FeatureMatrix::new(2, vec![1.0, 0.0, 3.0, 4.0]).unwrap();
        let statistics = Statistics::of(&features).unwrap();
        assert_eq!(statistics.mean(), [2.0, 2.0]);
        assert_eq!(statistics.covariance(), [2.0, 4.0, 4.0, 8.0]);
    }

    #[test]
    fn blocks_agree_with_the_definition_around_every_block_edge() {
        for rows in [2, 3, 255, 256, 257, 511, 512, 700] {
            let features = normal_features(rows as u64, rows, 5);
            let (mean, covariance) = naive(&features);
            let statistics = Statistics::of(&features).unwrap();
            assert_close(statistics.mean(), &mean, 1e-14);
            assert_close(statistics.covariance(), &covariance, 1e-13);
            assert_eq!(statistics.count(), Some(rows));
        }
    }

    #[test]
    fn more_features_than_a_tile() {
        let features = normal_features(4, 300, 2 * TILE_ROWS + 3);
        let (mean, covariance) = naive(&features);
        let statistics = Statistics::of(&features).unwrap();
        assert_close(statistics.mean(), &mean, 1e-14);
        assert_close(statistics.covariance(), &covariance, 1e-13);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| Statistics::of(&features).unwrap()), statistics, "{threads} threads");
        }
    }

    #[test]
    fn a_large_offset_does_not_cost_the_variance() {
        let values: Vec<f32> = (0..1000).map(|i| 1e6 + (i % 2) as f32).collect();
        let statistics = Statistics::of(&FeatureMatrix::new(1, values).unwrap()).unwrap();
        assert_eq!(statistics.mean(), [1e6 + 0.5]);
        assert!((statistics.covariance()[0] - 0.25 * 1000.0 / 999.0).abs() < 1e-12);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_division_into_pushes_changes_no_bit(seed: u64, cuts in prop::collection::vec(0usize..300, 0..5)) {
            let all = normal_features(seed, 600, 3);
            let whole = Statistics::of(&all).unwrap();
            let mut running = RunningStatistics::new(3);
            let mut from = 0;
            for cut in cuts.into_iter().chain([600]) {
                let to = (from + cut).min(600);
                running.push(&FeatureMatrix::new(3, all.values()[from * 3..to * 3].to_vec()).unwrap()).unwrap();
                from = to;
            }
            prop_assert_eq!(running.count(), 600);
            prop_assert_eq!(running.finish().unwrap(), whole);
        }

        #[test]
        fn merging_agrees_with_pushing_all(seed: u64, first in 0usize..400) {
            let all = normal_features(seed, 400, 3);
            let part = |from: usize, to: usize| {
                let mut running = RunningStatistics::new(3);
                running.push(&FeatureMatrix::new(3, all.values()[from * 3..to * 3].to_vec()).unwrap()).unwrap();
                running
            };
            let mut merged = part(0, first);
            merged.merge(part(first, 400)).unwrap();
            let (mean, covariance) = naive(&all);
            let merged = merged.finish().unwrap();
            assert_close(merged.mean(), &mean, 1e-13);
            assert_close(merged.covariance(), &covariance, 1e-13);
        }
    }

    #[test]
    fn statistics_from_elsewhere_are_checked() {
        let parts = |mean: &[f64], covariance: &[f64]| {
            Statistics::from_parts(mean.to_vec(), covariance.to_vec(), None)
        };
        let whole = parts(&[1.0, 2.0], &[2.0, 1.0, 1.0, 3.0]).unwrap();
        assert_eq!((whole.count(), whole.mean()), (None, [1.0, 2.0].as_slice()));
        assert_eq!(parts(&[1.0], &[1.0, 2.0]), Err(MetricError::NotSquare { values: 2, dim: 1 }));
        assert!(parts(&[], &[]).is_err());
        let broken = parts(&[1.0, 2.0], &[2.0, 1.0, f64::NAN, 3.0]);
        assert_eq!(broken, Err(MetricError::NotFinite { rows: 1, first: 1 }));
        let askew = parts(&[1.0, 2.0], &[2.0, 1.0, 0.5, 3.0]);
        assert_eq!(askew, Err(MetricError::NotCovariance { row: 1, column: 0 }));
        assert!(parts(&[1.0], &[-1.0]).is_err());
    }

    #[test]
    fn too_few_wrong_and_broken_rows_are_refused() {
        let one = FeatureMatrix::new(2, vec![1.0, 2.0]).unwrap();
        let error = MetricError::TooFew { what: "rows of features", given: 1, needed: 2 };
        assert_eq!(Statistics::of(&one), Err(error));
        let mut running = RunningStatistics::new(3);
        assert_eq!(running.push(&one), Err(MetricError::Columns { given: 2, expected: 3 }));
        assert!(running.merge(RunningStatistics::new(2)).is_err());
        let broken = FeatureMatrix::new(3, vec![0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0]).unwrap();
        assert_eq!(running.push(&broken), Err(MetricError::NotFinite { rows: 1, first: 1 }));
        assert_eq!(running.count(), 0);
    }

    #[test]
    fn standardised_references_have_mean_0_and_variance_1() {
        let stretched = |(at, v): (usize, &f32)| if at % 3 == 2 { 7.0 } else { 5.0 + 3.0 * v };
        let values = normal_features(8, 500, 3).values().iter().enumerate().map(stretched).collect();
        let reference = FeatureMatrix::new(3, values).unwrap();
        let scaler = Standardiser::new(&Statistics::of(&reference).unwrap());
        let scaled = Statistics::of(&scaler.apply(&reference).unwrap()).unwrap();
        assert_close(scaled.mean(), &[0.0; 3], 1e-7);
        let directly = Statistics::of(&reference).unwrap().standardised(&scaler).unwrap();
        assert_close(directly.mean(), scaled.mean(), 1e-6);
        assert_close(directly.covariance(), scaled.covariance(), 1e-6);
        for (at, expected) in [(0, 1.0), (4, 1.0), (8, 0.0)] {
            assert!((scaled.covariance()[at] - expected).abs() < 1e-6);
        }
        // A constant feature keeps its own unit.
        let other = FeatureMatrix::new(3, vec![5.0, 5.0, 9.0]).unwrap();
        assert_eq!(scaler.apply(&other).unwrap().row(0)[2], 2.0);
        let far = FeatureMatrix::new(3, vec![f32::INFINITY, 0.0, 0.0]).unwrap();
        assert!(matches!(scaler.apply(&far), Err(MetricError::NotFinite { rows: 1, first: 0 })));
    }
}
