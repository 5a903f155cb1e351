//! The values themselves as features.

use super::{ActivationExtractor, Activations, FeatureMatrix};
use cm_diffusion::ModelError;
use cm_image::{ImageBatch, ImageShape};

/// The values of an image as its features: right for points of a plane, crude for pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// The shape of the images.
    pub shape: ImageShape,
}

impl ActivationExtractor for Pixels {
    fn dim(&self) -> usize {
        self.shape.len()
    }

    fn spatial_dim(&self) -> Option<usize> {
        None
    }

    fn classes(&self) -> Option<usize> {
        None
    }

    fn activations(&self, images: &ImageBatch) -> Result<Activations, ModelError> {
        if images.shape() != self.shape {
            return Err(ModelError::Shape { given: images.shape(), expected: self.shape });
        }
        let features = FeatureMatrix::new(self.dim(), images.values().to_vec())
            .map_err(|error| ModelError::Other(Box::new(error)))?;
        Ok(Activations { features, spatial: None, probabilities: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_features_and_other_shapes_are_refused() {
        let pixels = Pixels { shape: ImageShape::new(1, 2, 1) };
        let images = ImageBatch::new(pixels.shape, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(pixels.activations(&images).unwrap().features.row(1), [3.0, 4.0]);
        assert!(pixels.activations(&ImageBatch::zeros(ImageShape::vector(2), 1)).is_err());
    }
}
