//! A batch of images.

use crate::ImageShape;
use std::ops::Range;

/// Owned images of one shape: `f32`, NHWC (channels contiguous). Data lies in [-1, 1]; noisy images do not.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageBatch {
    shape: ImageShape,
    values: Vec<f32>,
}

/// Why values do not form a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The number of values is not a multiple of an image's.
    #[error("{values} values do not make whole images of {shape}")]
    NotWhole {
        /// Values given.
        values: usize,
        /// The shape of one image.
        shape: ImageShape,
    },
}

impl ImageBatch {
    /// Images from their values, one image after the other.
    ///
    /// # Errors
    /// [`BatchError::NotWhole`] if the values are not a whole number of images.
    pub fn new(shape: ImageShape, values: Vec<f32>) -> Result<Self, BatchError> {
        if shape.is_empty() || !values.len().is_multiple_of(shape.len()) {
            return Err(BatchError::NotWhole { values: values.len(), shape });
        }
        Ok(Self { shape, values })
    }

    /// `count` images whose values are all 0.
    pub fn zeros(shape: ImageShape, count: usize) -> Self {
        Self { shape, values: vec![0.0; count * shape.len()] }
    }

    /// `count` images, each written by `fill(index, values)` into zeros.
    pub fn from_fn(shape: ImageShape, count: usize, mut fill: impl FnMut(usize, &mut [f32])) -> Self {
        let mut batch = Self::zeros(shape, count);
        for (index, image) in batch.values.chunks_exact_mut(shape.len()).enumerate() {
            fill(index, image);
        }
        batch
    }

    /// The shape of one image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The number of images.
    pub fn count(&self) -> usize {
        self.values.len() / self.shape.len()
    }

    /// All values, image after image.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, to be changed in place.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The values, without copying.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The values of one image.
    ///
    /// # Panics
    /// If `index` is not below [`count`](Self::count).
    pub fn image(&self, index: usize) -> &[f32] {
        &self.values[index * self.shape.len()..][..self.shape.len()]
    }

    /// One image after the other.
    pub fn images(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.shape.len())
    }

    /// One image after the other, to be changed in place.
    pub fn images_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [f32]> {
        self.values.chunks_exact_mut(self.shape.len())
    }

    /// A copy of some consecutive images.
    ///
    /// # Panics
    /// If the range leaves the batch.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let values = self.values[range.start * self.shape.len()..range.end * self.shape.len()].to_vec();
        Self { shape: self.shape, values }
    }

    /// Adds the images of `other` behind these.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn append(&mut self, other: &Self) {
        assert_eq!(self.shape, other.shape, "batches of different shapes");
        self.values.extend_from_slice(&other.values);
    }

    /// The same images with every value passed through `f`.
    pub fn map(mut self, f: impl Fn(f32) -> f32) -> Self {
        self.values.iter_mut().for_each(|value| *value = f(*value));
        self
    }

    /// Whether no value is infinite or NaN.
    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_must_be_whole_images() {
        let shape = ImageShape::new(2, 2, 1);
        assert_eq!(ImageBatch::new(shape, vec![0.0; 7]), Err(BatchError::NotWhole { values: 7, shape }));
        assert_eq!(ImageBatch::new(shape, vec![0.0; 8]).unwrap().count(), 2);
        assert!(ImageBatch::new(ImageShape::new(0, 2, 1), vec![]).is_err());
    }

    #[test]
    fn slices_and_appends_are_inverse() {
        let batch = ImageBatch::from_fn(ImageShape::vector(3), 5, |i, v| v.fill(i as f32));
        let mut front = batch.slice(0..2);
        front.append(&batch.slice(2..5));
        assert_eq!(front, batch);
        assert_eq!(batch.image(4), [4.0; 3]);
    }
}
