//! Data sets that wrap data sets, and changes of single images.

use crate::{Dataset, DatasetError};
use cm_image::ImageShape;

/// Some images of another data set, in any order.
///
/// ```
/// use cm_datasets::{Dataset, Digits, Split, Subset};
/// let digits = Digits::new(Split::Test)?;
/// let zeros = (0..digits.len()).filter(|&i| digits.label(i) == Some(0)).collect();
/// let zeros = Subset::new(digits, zeros)?;
/// assert!((0..zeros.len()).all(|i| zeros.label(i) == Some(0)));
/// # Ok::<(), cm_datasets::DatasetError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Subset<D> {
    inner: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The images of `inner` with these indices, in this order.
    ///
    /// # Errors
    /// [`DatasetError::Index`] for an index that `inner` does not have.
    pub fn new(inner: D, indices: Vec<usize>) -> Result<Self, DatasetError> {
        match indices.iter().find(|&&index| index >= inner.len()) {
            Some(&index) => Err(DatasetError::Index { index, len: inner.len() }),
            None => Ok(Self { inner, indices }),
        }
    }

    /// The first `count` images of `inner`, or all if there are fewer.
    pub fn first(inner: D, count: usize) -> Self {
        let indices = (0..count.min(inner.len())).collect();
        Self { inner, indices }
    }

    fn index(&self, index: usize) -> Option<usize> {
        self.indices.get(index).copied()
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    fn shape(&self) -> ImageShape {
        self.inner.shape()
    }

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn write_image(&self, index: usize, out: &mut [f32]) -> Result<(), DatasetError> {
        let inner = self.index(index).ok_or(DatasetError::Index { index, len: self.len() })?;
        self.inner.write_image(inner, out)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.inner.label(self.index(index)?)
    }

    fn num_classes(&self) -> Option<usize> {
        self.inner.num_classes()
    }
}

impl Dataset for Box<dyn Dataset> {
    fn shape(&self) -> ImageShape {
        (**self).shape()
    }

    fn len(&self) -> usize {
        (**self).len()
    }

    fn write_image(&self, index: usize, out: &mut [f32]) -> Result<(), DatasetError> {
        (**self).write_image(index, out)
    }

    fn label(&self, index: usize) -> Option<u32> {
        (**self).label(index)
    }

    fn num_classes(&self) -> Option<usize> {
        (**self).num_classes()
    }
}

/// Mirrors one image of `shape` left to right, in place.
///
/// ```
/// use cm_image::ImageShape;
/// let mut image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// cm_datasets::flip_horizontally(ImageShape::new(1, 3, 2), &mut image); // three pixels of two channels
/// assert_eq!(image, [5.0, 6.0, 3.0, 4.0, 1.0, 2.0]);
/// ```
///
/// # Panics
/// If `image` is not of that shape.
pub fn flip_horizontally(shape: ImageShape, image: &mut [f32]) {
    assert_eq!(image.len(), shape.len(), "one image of the shape");
    for row in image.chunks_exact_mut(shape.width * shape.channels) {
        for left in 0..shape.width / 2 {
            let right = shape.width - 1 - left;
            for channel in 0..shape.channels {
                row.swap(left * shape.channels + channel, right * shape.channels + channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digits, Split};

    #[test]
    fn a_subset_renames_indices() {
        let digits = Digits::new(Split::Test).unwrap();
        let subset = Subset::new(digits.clone(), vec![5, 2, 5]).unwrap();
        assert_eq!(subset.all_images().unwrap(), digits.images(&[5, 2, 5]).unwrap());
        assert_eq!(subset.labels(&[0, 1, 2]), digits.labels(&[5, 2, 5]));
        assert_eq!(subset.images(&[3]), Err(DatasetError::Index { index: 3, len: 3 }));
        assert_eq!(
            Subset::new(digits.clone(), vec![297]).unwrap_err(),
            DatasetError::Index { index: 297, len: 297 }
        );
        let boxed: Box<dyn Dataset> = Box::new(digits);
        assert_eq!(Subset::first(boxed, 1000).len(), 297);
    }

    #[test]
    fn flipping_twice_changes_nothing() {
        let shape = ImageShape::new(3, 4, 2);
        let image: Vec<f32> = (0..24u8).map(f32::from).collect();
        let mut flipped = image.clone();
        flip_horizontally(shape, &mut flipped);
        assert_ne!(flipped, image);
        assert_eq!(flipped[..8], [6.0, 7.0, 4.0, 5.0, 2.0, 3.0, 0.0, 1.0]);
        flip_horizontally(shape, &mut flipped);
        assert_eq!(flipped, image);
    }
}
