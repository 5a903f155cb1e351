//! Images in bytes, on their way from a file to a data set.

use cm_image::ImageShape;

/// An image in bytes, NHWC order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pixels {
    pub(super) shape: ImageShape,
    pub(super) values: Vec<u8>,
}
