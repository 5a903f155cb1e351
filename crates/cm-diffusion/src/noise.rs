//! Gaussian noise from seeds: the noise of one image depends on its own seed, never on its batch.

use crate::Sigma;
use cm_image::random::Random;
use cm_image::{ImageBatch, ImageShape};
use rayon::prelude::*;

/// Overwrites `out` (one image) with standard normal noise: the `draw`-th of the image with this `seed`.
///
/// Draw 0 is a sampler's starting noise; later draws are fresh noise for the same image.
pub fn image_noise(seed: u64, draw: u64, out: &mut [f32]) {
    Random::with_stream(seed, draw).fill_normal(out);
}

/// Standard normal noise, one image for each seed: image i is [`image_noise`] of `seeds[i]`.
///
/// ```
/// use cm_diffusion::noise::batch_noise;
/// use cm_image::ImageShape;
/// let shape = ImageShape::vector(3);
/// assert_eq!(batch_noise(shape, &[7, 9], 0).image(1), batch_noise(shape, &[9], 0).image(0));
/// assert_ne!(batch_noise(shape, &[9], 1), batch_noise(shape, &[9], 0));
/// ```
///
/// # Panics
/// If `shape` holds no values.
pub fn batch_noise(shape: ImageShape, seeds: &[u64], draw: u64) -> ImageBatch {
    let mut noise = ImageBatch::zeros(shape, seeds.len());
    noise
        .values_mut()
        .par_chunks_exact_mut(shape.len())
        .zip(seeds)
        .for_each(|(image, &seed)| image_noise(seed, draw, image));
    noise
}

/// x + sigma z for each image: Song et al. 2023, Section 2 (the forward process; sigma is the paper's t).
///
/// # Panics
/// If shapes or counts differ.
pub fn perturb(clean: &ImageBatch, sigma: &[Sigma], noise: &ImageBatch) -> ImageBatch {
    assert_eq!(clean.shape(), noise.shape(), "images and noise of different shapes");
    assert_eq!(clean.count(), noise.count(), "images and noise of different counts");
    assert_eq!(clean.count(), sigma.len(), "one noise level for each image");
    let mut noisy = clean.clone();
    for ((image, noise), sigma) in noisy.images_mut().zip(noise.images()).zip(sigma) {
        for (value, z) in image.iter_mut().zip(noise) {
            *value += sigma.get() * z;
        }
    }
    noisy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_is_perturbed_at_its_own_level() {
        let shape = ImageShape::vector(2);
        let clean = ImageBatch::new(shape, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        let noise = ImageBatch::new(shape, vec![1.0, -1.0, 0.5, 2.0]).unwrap();
        let sigma = [Sigma::ZERO, Sigma::new(2.0).unwrap()];
        assert_eq!(perturb(&clean, &sigma, &noise).values(), [1.0, 2.0, 4.0, 8.0]);
    }
}
