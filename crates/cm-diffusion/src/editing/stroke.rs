//! An image is a rough painting of what is wanted.

use super::{Start, Task};
use crate::Sigma;
use cm_image::ImageShape;

/// SDEdit (Meng et al. 2022): nothing is kept of the painting but what survives the noise of the first level.
///
/// The paper sets A to the identity and Omega to 1 everywhere. Taken to the letter, the first line of its Algorithm 4
/// would then wipe the painting out before the first noise; here the noise is added to the painting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    /// The shape of the images.
    pub shape: ImageShape,
}

impl Stroke {
    /// t_1 and t_2: Song et al. 2023, Appendix D, for images of 256x256 pixels. Smaller images lose their strokes to
    /// less noise.
    pub fn levels() -> [Sigma; 2] {
        [5.38, 2.24].map(|level| Sigma::new(level).expect("finite and positive"))
    }
}

impl Task for Stroke {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn put_back(&self, _reference: &[f32], _image: &mut [f32]) {}

    fn start(&self) -> Start {
        Start::Reference
    }
}
