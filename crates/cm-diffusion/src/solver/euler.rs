//! Euler's method.

use super::{OdeSolver, check_step, denoise};
use crate::{Denoiser, ModelError, Sigma, euler_jump};
use cm_image::ImageBatch;

/// x' = x + (to - from) (x - D(x; from)) / from: DDIM in these variables (Song, Meng and Ermon 2021).
///
/// With D replaced by the clean image it is the step along the known noise that consistency training takes:
///
/// ```
/// use cm_diffusion::{Denoiser, Euler, ModelError, OdeSolver, Sigma};
/// use cm_image::{ImageBatch, ImageShape};
/// struct Clean;
/// impl Denoiser for Clean {
///     fn denoise(&self, noisy: &ImageBatch, _: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
///         Ok(ImageBatch::zeros(noisy.shape(), noisy.count()).map(|_| 0.25))
///     }
/// }
/// // x = 0.25, z = 3: from x + 2 z to x + 1 z.
/// let x = ImageBatch::new(ImageShape::vector(1), vec![6.25]).unwrap();
/// let lower = Euler.step(&Clean, &x, &[Sigma::new(2.0).unwrap()], &[Sigma::new(1.0).unwrap()], &[])?;
/// assert_eq!(lower.values(), [3.25]);
/// # Ok::<(), ModelError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Euler;

impl OdeSolver for Euler {
    fn order(&self) -> u32 {
        1
    }

    fn asks_at(&self, from: Sigma, _: Sigma) -> Vec<Sigma> {
        vec![from]
    }

    fn step(
        &self,
        denoiser: &dyn Denoiser,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        check_step(x, from, to)?;
        euler_jump(x, denoise(denoiser, x, from, labels)?, from, to)
    }
}
