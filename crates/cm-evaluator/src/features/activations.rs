//! What is taken from images in one pass: features, features with their place, classes.

use super::FeatureMatrix;
use cm_diffusion::ModelError;
use cm_image::ImageBatch;

/// One row for each image in each matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Activations {
    /// What images are compared by.
    pub features: FeatureMatrix,
    /// Features that keep their place in the image, for sFID.
    pub spatial: Option<FeatureMatrix>,
    /// Class probabilities: not negative, with sum 1.
    pub probabilities: Option<FeatureMatrix>,
}

/// Images to all that is compared of them. The rows of an image must not depend on the others of its batch.
pub trait ActivationExtractor {
    /// The number of features of an image, at least 1.
    fn dim(&self) -> usize;
    /// The number of spatial features, if there are any.
    fn spatial_dim(&self) -> Option<usize>;
    /// The number of classes, if there are any.
    fn classes(&self) -> Option<usize>;
    /// All rows of some images.
    ///
    /// # Errors
    /// [`ModelError`] if the images do not fit or the model behind fails.
    fn activations(&self, images: &ImageBatch) -> Result<Activations, ModelError>;
}
