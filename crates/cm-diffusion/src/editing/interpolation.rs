//! What lies between two images.

use crate::noise::image_noise;
use cm_image::{ImageBatch, ImageShape};

/// Below this sine two directions count as one: the great circle through them is not determined by their digits.
const PARALLEL: f64 = 1e-6;

/// Spherical interpolation at `alpha` in [0, 1]: sin((1 - alpha) psi) / sin psi a + sin(alpha psi) / sin psi b, psi the
/// angle between a and b. Song et al. 2023, Appendix D. At 0 and 1 it is exactly a and b; vectors of equal length have
/// interpolations of that length.
///
/// Between vectors of one direction, or of opposite ones, it is the straight line.
///
/// # Panics
/// If the lengths differ.
pub fn slerp(a: &[f32], b: &[f32], alpha: f64) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "two vectors of one space");
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let psi = libm::acos(cosine.clamp(-1.0, 1.0));
    let sine = libm::sin(psi);
    // A vector of zeros has no direction, and its cosine is NaN.
    let (of_a, of_b) = if sine > PARALLEL {
        (libm::sin((1.0 - alpha) * psi) / sine, libm::sin(alpha * psi) / sine)
    } else {
        (1.0 - alpha, alpha)
    };
    a.iter().zip(b).map(|(a, b)| (of_a * f64::from(*a) + of_b * f64::from(*b)) as f32).collect()
}

/// A path from the sample of one seed to that of another, or from one image to another.
///
/// Between two samples the noise is interpolated by [`slerp`], at each draw. Between two images the noise is added to
/// the straight line between them; the ends are then not the images, but what the model makes of them at the first
/// noise level, as in [`Stroke`](super::Stroke).
#[derive(Clone, Debug, PartialEq)]
pub struct Interpolation {
    shape: ImageShape,
    seeds: (u64, u64),
    count: usize,
    ends: Option<(Vec<f32>, Vec<f32>)>,
}

impl Interpolation {
    /// `count` images from the sample of the first seed to that of the second, both included; a single one is the
    /// first.
    pub fn between_samples(shape: ImageShape, seeds: (u64, u64), count: usize) -> Self {
        Self { shape, seeds, count, ends: None }
    }

    /// `count` images from the first image of `from` to the first of `to`, with the noise of the two seeds.
    ///
    /// # Panics
    /// If the shapes differ or one of them is empty.
    pub fn between_images(from: &ImageBatch, to: &ImageBatch, seeds: (u64, u64), count: usize) -> Self {
        assert_eq!(from.shape(), to.shape(), "images of different shapes");
        let ends = Some((from.image(0).to_vec(), to.image(0).to_vec()));
        Self { shape: from.shape(), seeds, count, ends }
    }

    /// The number of images.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The seeds of the two ends.
    pub fn seeds(&self) -> (u64, u64) {
        self.seeds
    }

    /// The images between which it leads, where it does not lead between samples.
    pub fn ends(&self) -> Option<(&[f32], &[f32])> {
        self.ends.as_ref().map(|(from, to)| (from.as_slice(), to.as_slice()))
    }

    /// What noise is added to: 0, or the straight line between the ends.
    pub(super) fn start(&self) -> ImageBatch {
        ImageBatch::from_fn(self.shape, self.count, |index, out| {
            let alpha = self.alpha(index);
            if let Some((from, to)) = &self.ends {
                for (out, (from, to)) in out.iter_mut().zip(from.iter().zip(to)) {
                    *out = ((1.0 - alpha) * f64::from(*from) + alpha * f64::from(*to)) as f32;
                }
            }
        })
    }

    /// The `draw`-th noise of each image.
    pub(super) fn noise(&self, draw: u64) -> ImageBatch {
        let end = |seed| {
            let mut noise = vec![0.0; self.shape.len()];
            image_noise(seed, draw, &mut noise);
            noise
        };
        let (from, to) = (end(self.seeds.0), end(self.seeds.1));
        ImageBatch::from_fn(self.shape, self.count, |index, out| {
            out.copy_from_slice(&slerp(&from, &to, self.alpha(index)));
        })
    }

    /// How far along the path an image lies, in [0, 1].
    fn alpha(&self, index: usize) -> f64 {
        if self.count > 1 { index as f64 / (self.count - 1) as f64 } else { 0.0 }
    }
}
