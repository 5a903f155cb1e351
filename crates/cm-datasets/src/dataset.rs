//! The data-set trait, and why data could not be had.

use cm_diffusion::analytic::MixtureError;
use cm_image::{ImageBatch, ImageShape};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::path::PathBuf;

/// Why data could not be had.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DatasetError {
    /// There is no such image.
    #[error("image {index} of a data set of {len}")]
    Index {
        /// Index asked for.
        index: usize,
        /// Images there are.
        len: usize,
    },
    /// The place for an image is not of its size.
    #[error("an image of {shape} does not fit {given} values")]
    Length {
        /// Values of the place.
        given: usize,
        /// Shape of the data set's images.
        shape: ImageShape,
    },
    /// A data set without images.
    #[error("a data set needs at least one image")]
    Empty,
    /// A batch without images.
    #[error("a batch needs at least one image")]
    EmptyBatch,
    /// The shipped digits cannot be read.
    #[error("the digits' record {record}: {what}")]
    Digits {
        /// Which record, counted from 0.
        record: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A mixture's numbers are out of range.
    #[error("the mixture: {0}")]
    Mixture(#[from] MixtureError),
    /// A swiss roll's noise is out of range.
    #[error("swiss roll with noise {0}: need a finite number of at least 0")]
    Noise(f32),
    /// A file of images is missing, damaged, or not what it should be.
    #[error("{place}: {what}")]
    File {
        /// Which file, and which of its records.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// A setting is out of range or does not fit the images.
    #[error("{field}: {what}; allowed: {allowed}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        what: String,
        /// What is allowed.
        allowed: String,
    },
    /// There is nothing to test on.
    #[error("{0} has no images held out for testing: prepare it again with some, as `held_out` says")]
    NoTestPart(PathBuf),
    /// Another process makes the same folder.
    #[error("another process is preparing {0}: wait for it, or name another folder")]
    Busy(PathBuf),
    /// The prepared form could not be written.
    #[error("cannot write {path}: {what}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The file system's answer.
        what: String,
    },
}

impl DatasetError {
    /// A file of images is not what it should be.
    pub(crate) fn file(place: impl Display, what: impl Display) -> Self {
        Self::File { place: place.to_string(), what: what.to_string() }
    }

    /// A setting is out of range or does not fit.
    pub(crate) fn setting(field: &'static str, what: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self::Setting { field, what: what.into(), allowed: allowed.into() }
    }

    /// Whether the user must change data or settings, rather than the machine having failed.
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::Write { .. })
    }
}

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Split {
    /// What models are trained on.
    Train,
    /// What they never see.
    Test,
}

impl Split {
    /// For people, and in names of files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// A list of images in [-1, 1] (about that for generated points) of one shape.
pub trait Dataset: Send + Sync {
    /// The shape of one image.
    fn shape(&self) -> ImageShape;

    /// The number of images.
    fn len(&self) -> usize;

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes image `index` to `out`, NHWC order; the same index always gives the same image.
    ///
    /// # Errors
    /// [`DatasetError`] if there is no such image, `out` is not of its size, or it cannot be read.
    fn write_image(&self, index: usize, out: &mut [f32]) -> Result<(), DatasetError>;

    /// The class of image `index`, below [`num_classes`](Self::num_classes); `None` without classes or image.
    fn label(&self, index: usize) -> Option<u32>;

    /// The number of classes, if images have any.
    fn num_classes(&self) -> Option<usize>;

    /// The standard deviation of all values about their common mean, where it need not be computed from the images.
    fn known_sigma_data(&self) -> Option<f64> {
        None
    }

    /// The images with these indices, in this order.
    ///
    /// # Errors
    /// [`DatasetError`] as for [`write_image`](Self::write_image).
    fn images(&self, indices: &[usize]) -> Result<ImageBatch, DatasetError> {
        let mut images = ImageBatch::zeros(self.shape(), indices.len());
        for (image, &index) in images.images_mut().zip(indices) {
            self.write_image(index, image)?;
        }
        Ok(images)
    }

    /// The classes of the images with these indices, in this order; empty if one has none.
    fn labels(&self, indices: &[usize]) -> Vec<u32> {
        indices.iter().map(|&index| self.label(index)).collect::<Option<Vec<u32>>>().unwrap_or_default()
    }

    /// All images.
    ///
    /// # Errors
    /// [`DatasetError`] as for [`write_image`](Self::write_image).
    fn all_images(&self) -> Result<ImageBatch, DatasetError> {
        self.images(&(0..self.len()).collect::<Vec<usize>>())
    }
}

/// Index and place of an image, checked.
pub(crate) fn check_image(dataset: &dyn Dataset, index: usize, out: &[f32]) -> Result<(), DatasetError> {
    let (len, shape) = (dataset.len(), dataset.shape());
    if index >= len {
        return Err(DatasetError::Index { index, len });
    }
    if out.len() != shape.len() {
        return Err(DatasetError::Length { given: out.len(), shape });
    }
    Ok(())
}

/// The standard deviation of all values of all images about their common mean: what Karras et al. 2022 call
/// sigma_data. Computed in `f64`, image after image (Welford 1962).
///
/// # Errors
/// [`DatasetError::Empty`] without images, and whatever reading an image returns.
pub fn sigma_data(dataset: &dyn Dataset) -> Result<f32, DatasetError> {
    if dataset.is_empty() {
        return Err(DatasetError::Empty);
    }
    if let Some(known) = dataset.known_sigma_data() {
        return Ok(known as f32);
    }
    let mut image = vec![0.0; dataset.shape().len()];
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for index in 0..dataset.len() {
        dataset.write_image(index, &mut image)?;
        for &value in &image {
            let value = f64::from(value);
            count += 1.0;
            let before = value - mean;
            mean += before / count;
            squares += before * (value - mean);
        }
    }
    Ok((squares / count).sqrt() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ramp;
    impl Dataset for Ramp {
        fn shape(&self) -> ImageShape {
            ImageShape::vector(2)
        }
        fn len(&self) -> usize {
            2
        }
        fn write_image(&self, index: usize, out: &mut [f32]) -> Result<(), DatasetError> {
            check_image(self, index, out)?;
            out.copy_from_slice(&[index as f32 * 2.0, index as f32 * 2.0 + 1.0]);
            Ok(())
        }
        fn label(&self, index: usize) -> Option<u32> {
            (index == 0).then_some(5)
        }
        fn num_classes(&self) -> Option<usize> {
            None
        }
    }

    #[test]
    fn the_spread_is_that_of_all_values_about_one_mean() {
        // 0, 1, 2, 3: mean 1.5, mean square deviation (2.25 + 0.25) / 2.
        assert!((sigma_data(&Ramp).unwrap() - 1.25f32.sqrt()).abs() < 1e-7);
    }

    #[test]
    fn helpers_follow_the_indices_and_report_wrong_ones() {
        assert_eq!(Ramp.images(&[1, 0, 1]).unwrap().values(), [2.0, 3.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(Ramp.all_images().unwrap(), Ramp.images(&[0, 1]).unwrap());
        assert_eq!(Ramp.images(&[2]), Err(DatasetError::Index { index: 2, len: 2 }));
        let shape = Ramp.shape();
        assert_eq!(Ramp.write_image(0, &mut [0.0]), Err(DatasetError::Length { given: 1, shape }));
        assert_eq!((Ramp.labels(&[0, 0]), Ramp.labels(&[0, 1])), (vec![5, 5], vec![]));
    }
}
