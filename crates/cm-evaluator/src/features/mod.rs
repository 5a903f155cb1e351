//! What images are compared by: rows of numbers, one row for each image, and the trait that makes them.
//!
//! Deliberately absent: training. A classifier arrives with its weights.

mod activations;
mod inception;
mod network;
mod pixels;

pub use activations::{ActivationExtractor, Activations};
pub use inception::{InceptionJudge, InceptionResize};
pub use network::NetworkJudge;
pub use pixels::Pixels;

/// One row of `cols` features for each image, row after row, `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMatrix {
    cols: usize,
    values: Vec<f32>,
}

/// Why values are not a matrix of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// The number of values is not a multiple of a row's.
    #[error("{values} values do not make whole rows of {cols} features (at least 1)")]
    NotWhole {
        /// Values given.
        values: usize,
        /// Features of a row.
        cols: usize,
    },
}

impl FeatureMatrix {
    /// A matrix from its rows of `cols` values, one after the other.
    ///
    /// # Errors
    /// [`FeatureError::NotWhole`] if the values are not a whole number of rows, or `cols` is 0.
    pub fn new(cols: usize, values: Vec<f32>) -> Result<Self, FeatureError> {
        if cols == 0 || !values.len().is_multiple_of(cols) {
            return Err(FeatureError::NotWhole { values: values.len(), cols });
        }
        Ok(Self { cols, values })
    }

    /// The number of rows: images.
    pub fn rows(&self) -> usize {
        self.values.len() / self.cols
    }

    /// The number of features of an image.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The features of one image.
    ///
    /// # Panics
    /// If `index` is not below [`rows`](Self::rows).
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.cols..][..self.cols]
    }

    /// Adds the rows of `other` below these.
    ///
    /// # Panics
    /// If the numbers of features differ.
    pub fn append(&mut self, other: &Self) {
        assert_eq!(self.cols, other.cols, "matrices with different numbers of features");
        self.values.extend_from_slice(&other.values);
    }

    /// How many rows hold infinite or NaN values, and the first of them.
    pub fn not_finite(&self) -> Option<(usize, usize)> {
        not_finite(&self.values, self.cols)
    }
}

/// How many rows of `cols` values hold infinite or NaN values, and the first of them.
pub(crate) fn not_finite(values: &[f32], cols: usize) -> Option<(usize, usize)> {
    let mut bad = values
        .chunks_exact(cols)
        .enumerate()
        .filter(|(_, row)| !row.iter().all(|value| value.is_finite()))
        .map(|(index, _)| index);
    let first = bad.next()?;
    Some((1 + bad.count(), first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_must_be_whole_rows() {
        assert_eq!(FeatureMatrix::new(3, vec![0.0; 7]), Err(FeatureError::NotWhole { values: 7, cols: 3 }));
        assert!(FeatureMatrix::new(0, vec![]).is_err());
        let mut matrix = FeatureMatrix::new(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        matrix.append(&FeatureMatrix::new(2, vec![5.0, 6.0]).unwrap());
        assert_eq!((matrix.rows(), matrix.cols(), matrix.row(2)), (3, 2, [5.0, 6.0].as_slice()));
    }

    #[test]
    fn rows_that_are_not_finite_are_counted_and_the_first_is_named() {
        let matrix = |values: &[f32]| FeatureMatrix::new(2, values.to_vec()).unwrap().not_finite();
        assert_eq!(matrix(&[0.0; 6]), None);
        assert_eq!(matrix(&[0.0, 0.0, f32::NAN, f32::NAN, 0.0, 0.0, 1.0, f32::INFINITY]), Some((2, 1)));
    }
}
