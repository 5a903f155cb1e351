//! An image has noise of a known level.

use crate::{ConsistencyFunction, ModelError, Sigma};
use cm_image::ImageBatch;

/// f(x, sigma) of each image: one evaluation, for any level in the model's range. At sigma_min that is the image.
///
/// `labels` has one entry for each image or is empty, as [`ConsistencyFunction::endpoint`] has it.
///
/// # Errors
/// [`ModelError`] if the model fails.
pub fn denoise(
    model: &dyn ConsistencyFunction,
    noisy: &ImageBatch,
    sigma: Sigma,
    labels: &[u32],
) -> Result<ImageBatch, ModelError> {
    model.endpoint(noisy, &vec![sigma; noisy.count()], labels)
}
