//! Some of an image is missing.

use super::{EditError, Task};
use cm_image::ImageShape;

/// A is the identity: the known values are put back as they are, to the bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inpainting {
    shape: ImageShape,
    known: Vec<bool>,
}

impl Inpainting {
    /// `known` says of each value of an image whether it is known: the opposite of the paper's Omega.
    ///
    /// # Errors
    /// [`EditError::Mask`] unless it has `shape.len()` entries.
    pub fn new(shape: ImageShape, known: Vec<bool>) -> Result<Self, EditError> {
        if shape.is_empty() || known.len() != shape.len() {
            return Err(EditError::Mask { given: known.len(), shape });
        }
        Ok(Self { shape, known })
    }
}

impl Task for Inpainting {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn put_back(&self, reference: &[f32], image: &mut [f32]) {
        for ((value, reference), known) in image.iter_mut().zip(reference).zip(&self.known) {
            if *known {
                *value = *reference;
            }
        }
    }
}
