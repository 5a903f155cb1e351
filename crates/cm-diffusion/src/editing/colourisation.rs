//! The luminance of an image is known, its colours are not.

use super::{EditError, Task};
use cm_image::ImageShape;

/// How much red, green and blue count for the luminance of a pixel: Song et al. 2023, Appendix D.
pub const LUMINANCE: [f32; 3] = [0.2989, 0.5870, 0.1140];

/// A applies an orthogonal 3x3 matrix to each pixel whose first column is [`LUMINANCE`] made a unit vector u, and the
/// first coordinate is kept. The other columns do not matter: whatever they are, what is put back is u (u . (y - x)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colourisation {
    shape: ImageShape,
}

impl Colourisation {
    /// For images of `shape`.
    ///
    /// # Errors
    /// [`EditError::Channels`] unless it has the three channels red, green and blue.
    pub fn new(shape: ImageShape) -> Result<Self, EditError> {
        if shape.is_empty() || shape.channels != 3 {
            return Err(EditError::Channels(shape));
        }
        Ok(Self { shape })
    }
}

impl Task for Colourisation {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn put_back(&self, reference: &[f32], image: &mut [f32]) {
        let weights = LUMINANCE.map(f64::from);
        let square: f64 = weights.iter().map(|w| w * w).sum();
        for (pixel, reference) in image.chunks_exact_mut(3).zip(reference.chunks_exact(3)) {
            let parts = weights.iter().zip(reference.iter().zip(&*pixel));
            let missing: f64 = parts.map(|(w, (y, x))| w * (f64::from(*y) - f64::from(*x))).sum();
            for (value, w) in pixel.iter_mut().zip(weights) {
                *value = (f64::from(*value) + w * missing / square) as f32;
            }
        }
    }
}
