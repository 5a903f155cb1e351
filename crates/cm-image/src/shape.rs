//! The shape of one image.

use std::fmt;

/// Height, width and channels of one image; a point of a plane is an image of 1x1 pixels and 2 channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageShape {
    /// Rows of pixels, at least 1.
    pub height: usize,
    /// Pixels in a row, at least 1.
    pub width: usize,
    /// Values of a pixel, at least 1.
    pub channels: usize,
}

impl ImageShape {
    /// An image of `height` x `width` pixels with `channels` values each.
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels }
    }

    /// A vector of `dim` values as a 1x1 image.
    pub const fn vector(dim: usize) -> Self {
        Self::new(1, 1, dim)
    }

    /// Values of one image.
    pub const fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether an image holds no values.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}
