//! An image is known at a lower resolution.

use super::{EditError, Task};
use cm_image::{ImageBatch, ImageShape};

/// A applies an orthogonal p^2 x p^2 matrix to each channel of each block of p x p pixels, whose first column has all
/// entries 1/p, and the first coordinate is kept: p times the block's mean. The other columns do not matter: whatever
/// they are, the block is moved by the difference of the means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuperResolution {
    shape: ImageShape,
    factor: usize,
}

impl SuperResolution {
    /// For images of `shape` that are known at 1 / `factor` of its height and width: the paper's p.
    ///
    /// # Errors
    /// [`EditError::Factor`] unless `factor` divides height and width.
    pub fn new(shape: ImageShape, factor: usize) -> Result<Self, EditError> {
        let divides = |length: usize| factor > 0 && length > 0 && length.is_multiple_of(factor);
        if shape.is_empty() || !divides(shape.height) || !divides(shape.width) {
            return Err(EditError::Factor { factor, shape });
        }
        Ok(Self { shape, factor })
    }

    /// The shape at which images are known.
    pub fn small_shape(&self) -> ImageShape {
        let Self { shape, factor } = *self;
        ImageShape::new(shape.height / factor, shape.width / factor, shape.channels)
    }

    /// Images at the lower resolution as a reference of full size: each pixel becomes a block.
    ///
    /// # Panics
    /// If `small` is not of [`small_shape`](Self::small_shape).
    pub fn enlarge(&self, small: &ImageBatch) -> ImageBatch {
        assert_eq!(small.shape(), self.small_shape(), "images at the lower resolution");
        ImageBatch::from_fn(self.shape, small.count(), |index, out| {
            let small = small.image(index);
            self.for_each_value(|at, block| out[at] = small[block]);
        })
    }

    /// Images of full size at the lower resolution: the mean of each block.
    ///
    /// # Panics
    /// If `images` are not of the task's shape.
    pub fn reduce(&self, images: &ImageBatch) -> ImageBatch {
        assert_eq!(images.shape(), self.shape, "images of full size");
        ImageBatch::from_fn(self.small_shape(), images.count(), |index, out| {
            for (out, mean) in out.iter_mut().zip(self.means(images.image(index))) {
                *out = mean as f32;
            }
        })
    }

    /// The mean of each block, in the order of the small image's values.
    fn means(&self, image: &[f32]) -> Vec<f64> {
        let mut means = vec![0.0; self.small_shape().len()];
        self.for_each_value(|at, block| means[block] += f64::from(image[at]));
        let pixels = (self.factor * self.factor) as f64;
        means.iter_mut().for_each(|mean| *mean /= pixels);
        means
    }

    /// Calls `visit` for each value of an image with its place and its block's.
    fn for_each_value(&self, mut visit: impl FnMut(usize, usize)) {
        let (shape, small) = (self.shape, self.small_shape());
        for y in 0..shape.height {
            for x in 0..shape.width {
                let block = (y / self.factor) * small.width + x / self.factor;
                for channel in 0..shape.channels {
                    let at = (y * shape.width + x) * shape.channels + channel;
                    visit(at, block * shape.channels + channel);
                }
            }
        }
    }
}

impl Task for SuperResolution {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn put_back(&self, reference: &[f32], image: &mut [f32]) {
        let missing: Vec<f64> =
            self.means(reference).iter().zip(self.means(image)).map(|(y, x)| y - x).collect();
        self.for_each_value(|at, block| image[at] = (f64::from(image[at]) + missing[block]) as f32);
    }
}
