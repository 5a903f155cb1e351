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

/// The images of some classes of another data set, which get new numbers.
pub(crate) struct ClassSubset<D> {
    images: Subset<D>,
    /// Old numbers, in the order of the new ones.
    classes: Vec<u32>,
}

impl<D: Dataset> ClassSubset<D> {
    /// The images of `inner` whose class is one of `classes`.
    ///
    /// # Errors
    /// [`DatasetError`] for classes that are not there or are given twice, and if no image is left.
    pub(crate) fn new(inner: D, classes: &[u32]) -> Result<Self, DatasetError> {
        let field = "only_classes";
        let Some(count) = inner.num_classes() else {
            return Err(DatasetError::setting(field, "the images have no classes", "none"));
        };
        for (index, &class) in classes.iter().enumerate() {
            let allowed = format!("0 to {}, each once", count - 1);
            if class as usize >= count || classes[..index].contains(&class) {
                return Err(DatasetError::setting(field, format!("class {class}"), allowed));
            }
        }
        let kept = |&index: &usize| inner.label(index).is_some_and(|label| classes.contains(&label));
        let indices: Vec<usize> = (0..inner.len()).filter(kept).collect();
        if indices.is_empty() {
            let what = format!("no image is of the classes {classes:?}");
            return Err(DatasetError::setting(field, what, "classes that have images"));
        }
        Ok(Self { images: Subset { inner, indices }, classes: classes.to_vec() })
    }
}

impl<D: Dataset> Dataset for ClassSubset<D> {
    fn shape(&self) -> ImageShape {
        self.images.shape()
    }

    fn len(&self) -> usize {
        self.images.len()
    }

    fn write_image(&self, index: usize, out: &mut [f32]) -> Result<(), DatasetError> {
        self.images.write_image(index, out)
    }

    fn label(&self, index: usize) -> Option<u32> {
        let old = self.images.label(index)?;
        self.classes.iter().position(|&class| class == old).map(|new| new as u32)
    }

    fn num_classes(&self) -> Option<usize> {
        Some(self.classes.len())
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

    fn known_sigma_data(&self) -> Option<f64> {
        (**self).known_sigma_data()
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
    fn classes_of_a_subset_get_new_numbers() {
        let digits = Digits::new(Split::Test).unwrap();
        let odd = ClassSubset::new(digits.clone(), &[7, 1]).unwrap();
        assert_eq!((odd.len(), odd.num_classes()), (22 + 22, Some(2)));
        let first = (0..digits.len()).find(|&i| [1, 7].contains(&digits.label(i).unwrap())).unwrap();
        assert_eq!(odd.images(&[0]).unwrap(), digits.images(&[first]).unwrap());
        assert_eq!(odd.label(0), Some(u32::from(digits.label(first) == Some(1))));
        for classes in [&[10][..], &[3, 3]] {
            let error = ClassSubset::new(digits.clone(), classes).err().unwrap().to_string();
            assert!(error.contains("0 to 9, each once"), "{error}");
        }
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
