//! Mean and covariance of features, streaming and in `f64`, and the scaling they define.

#[cfg(test)]
mod tests;

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
