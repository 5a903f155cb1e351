//! The values themselves as features.

use super::{FeatureExtractor, FeatureMatrix};
use cm_diffusion::ModelError;
use cm_image::{ImageBatch, ImageShape};

/// The values of an image as its features: right for points of a plane, crude for pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// The shape of the images.
    pub shape: ImageShape,
}

impl FeatureExtractor for Pixels {
    fn dim(&self) -> usize {
        self.shape.len()
    }

    fn features(&self, images: &ImageBatch) -> Result<FeatureMatrix, ModelError> {
        if images.shape() != self.shape {
            return Err(ModelError::Shape { given: images.shape(), expected: self.shape });
        }
        FeatureMatrix::new(self.dim(), images.values().to_vec())
            .map_err(|error| ModelError::Other(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_features_and_other_shapes_are_refused() {
        let pixels = Pixels { shape: ImageShape::new(1, 2, 1) };
        let images = ImageBatch::new(pixels.shape, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(pixels.features(&images).unwrap().row(1), [3.0, 4.0]);
        assert!(pixels.features(&ImageBatch::zeros(ImageShape::vector(2), 1)).is_err());
    }
}
