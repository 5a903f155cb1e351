//! Feature rows as points of a space: inner products by blocks, distances that are exact where it matters.

use super::MetricError;
use crate::features::FeatureMatrix;
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use std::ops::Range;
use std::sync::Arc;

/// Feature rows with their squared lengths. Rows stay in the precision they came in and are shared by copies of the
/// set; all arithmetic is in `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    rows: Arc<FeatureMatrix>,
    norms: Vec<f64>,
    largest_norm: f64,
}

impl Points {
    /// The rows of `features`.
    ///
    /// # Errors
    /// [`MetricError::NotFinite`] if there are infinite or NaN values.
    pub fn new(features: &FeatureMatrix) -> Result<Self, MetricError> {
        Self::shared(Arc::new(features.clone()))
    }

    /// [`new`](Self::new) without a copy.
    ///
    /// # Errors
    /// As there.
    pub fn shared(rows: Arc<FeatureMatrix>) -> Result<Self, MetricError> {
        if let Some((rows, first)) = rows.not_finite() {
            return Err(MetricError::NotFinite { rows, first });
        }
        let square = |&x: &f32| f64::from(x) * f64::from(x);
        let norms: Vec<f64> =
            (0..rows.rows()).map(|index| rows.row(index).iter().map(square).sum()).collect();
        let largest_norm = norms.iter().copied().fold(0.0, f64::max);
        Ok(Self { rows, norms, largest_norm })
    }

    /// The same points in another order, or some of them.
    pub(crate) fn gather(&self, order: &[usize]) -> Self {
        let values = order.iter().flat_map(|&index| self.rows.row(index)).copied().collect();
        let rows = FeatureMatrix::new(self.dim(), values).expect("whole rows were gathered");
        let norms = order.iter().map(|&index| self.norms[index]).collect();
        Self { rows: Arc::new(rows), norms, largest_norm: self.largest_norm }
    }

    /// The rows.
    pub fn features(&self) -> &FeatureMatrix {
        &self.rows
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.norms.len()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.norms.is_empty()
    }

    /// The number of coordinates.
    pub fn dim(&self) -> usize {
        self.rows.cols()
    }

    /// The coordinates of one point.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn point(&self, index: usize) -> &[f32] {
        self.rows.row(index)
    }

    /// Checks that both have the same number of coordinates.
    pub(crate) fn check_same_space(&self, other: &Self) -> Result<(), MetricError> {
        if self.dim() == other.dim() {
            Ok(())
        } else {
            Err(MetricError::Columns { given: self.dim(), expected: other.dim() })
        }
    }

    /// Inner products of some of these points (rows of the result) with some of `others` (columns).
    pub(crate) fn products(&self, rows: Range<usize>, others: &Self, cols: Range<usize>, out: &mut Vec<f64>) {
        let dim = self.dim();
        let wide = |points: &Self, range: &Range<usize>| -> Vec<f64> {
            points.rows.values()[range.start * dim..range.end * dim].iter().map(|&x| f64::from(x)).collect()
        };
        let (left, right) = (wide(self, &rows), wide(others, &cols));
        let (height, width) = (rows.len(), cols.len());
        out.clear();
        out.resize(height * width, 0.0);
        let left = MatRef::from_row_major_slice(&left, height, dim);
        let right = MatRef::from_row_major_slice(&right, width, dim);
        let product = MatMut::from_row_major_slice_mut(out, height, width);
        matmul(product, Accum::Replace, left, right.transpose(), 1.0, Par::Seq);
    }

    /// Squared distances like [`products`](Self::products), each good to [`distance_error`](Self::distance_error).
    pub(crate) fn rough_distances(
        &self,
        rows: Range<usize>,
        others: &Self,
        cols: Range<usize>,
        out: &mut Vec<f64>,
    ) {
        self.products(rows.clone(), others, cols.clone(), out);
        for (row, distances) in rows.zip(out.chunks_exact_mut(cols.len().max(1))) {
            for (distance, norm) in distances.iter_mut().zip(&others.norms[cols.clone()]) {
                *distance = self.norms[row] + norm - 2.0 * *distance;
            }
        }
    }

    /// How far [`rough_distances`](Self::rough_distances) of one point to any of `others` may be from
    /// [`squared_distance`]: both sides' rounding, |x|^2 + |y|^2 times a few epsilon for each coordinate.
    pub(crate) fn distance_error(&self, row: usize, others: &Self) -> f64 {
        4.0 * (self.dim() as f64 + 8.0) * f64::EPSILON * (self.norms[row] + others.largest_norm)
    }
}

/// The squared distance of two points by its definition: 0 exactly for equal points, symmetric to the last bit.
pub(crate) fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// [`squared_distance`] of two rows of features.
pub(crate) fn squared_row_distance(a: &[f32], b: &[f32]) -> f64 {
    let difference = |(&a, &b): (&f32, &f32)| f64::from(a) - f64::from(b);
    a.iter().zip(b).map(difference).map(|d| d * d).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::random::Random;

    #[test]
    fn rough_distances_keep_their_promise_even_far_from_the_origin() {
        for (offset, dim) in [(0.0, 1), (1000.0, 3), (10.0, 64)] {
            let mut values = vec![0.0; 40 * dim];
            Random::new(dim as u64).fill_normal(&mut values);
            values.iter_mut().for_each(|value| *value += offset);
            let points = Points::new(&FeatureMatrix::new(dim, values).unwrap()).unwrap();
            let mut rough = Vec::new();
            points.rough_distances(3..20, &points, 5..40, &mut rough);
            for (row, distances) in (3..20).zip(rough.chunks_exact(35)) {
                for (col, distance) in (5..40).zip(distances) {
                    let exact = squared_row_distance(points.point(row), points.point(col));
                    assert!((distance - exact).abs() <= points.distance_error(row, &points));
                }
            }
        }
    }
}
