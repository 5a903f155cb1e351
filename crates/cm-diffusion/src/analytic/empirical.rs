//! The exact denoiser of a finite set of images.

use super::{MixtureError, normalise_logs, squared_distance};
use crate::{Denoiser, ModelError, Sigma};
use cm_image::ImageBatch;
use rayon::prelude::*;

/// Equally likely images and nothing else: what a denoiser that had learnt its training set by heart would return
/// (Karras et al. 2022, Appendix B.3).
///
/// D(x; sigma) = sum_i r_i y_i with r_i proportional to exp(-|x - y_i|^2 / (2 sigma^2)); at sigma = 0 the nearest
/// image.
#[derive(Clone, Debug, PartialEq)]
pub struct Empirical {
    images: ImageBatch,
}

impl Empirical {
    /// The law that draws one of `images`.
    ///
    /// # Errors
    /// [`MixtureError`] if there are none, or one is not finite.
    pub fn new(images: ImageBatch) -> Result<Self, MixtureError> {
        if images.count() == 0 {
            return Err(MixtureError::Empty);
        }
        let broken = images.images().position(|image| image.iter().any(|value| !value.is_finite()));
        match broken {
            Some(component) => Err(MixtureError::Component { component }),
            None => Ok(Self { images }),
        }
    }

    /// The images.
    pub fn images(&self) -> &ImageBatch {
        &self.images
    }

    fn denoise_one(&self, x: &mut [f32], sigma: f64) {
        let widen = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
        let wide = widen(x);
        let mut terms: Vec<f64> = self
            .images
            .images()
            .map(|y| squared_distance(wide.iter().copied(), y.iter().map(|&y| f64::from(y))))
            .collect();
        if sigma == 0.0 {
            let nearest = terms.iter().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
            x.copy_from_slice(self.images.image(nearest.expect("there is an image").0));
            return;
        }
        terms.iter_mut().for_each(|term| *term /= -2.0 * sigma * sigma);
        normalise_logs(&mut terms);
        let mut mean = vec![0.0; x.len()];
        for (r, y) in terms.iter().zip(self.images.images()).filter(|(r, _)| **r > 0.0) {
            mean.iter_mut().zip(y).for_each(|(mean, &y)| *mean += r * f64::from(y));
        }
        x.iter_mut().zip(mean).for_each(|(x, mean)| *x = mean as f32);
    }
}

impl Denoiser for Empirical {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
        ModelError::check(noisy, sigma, self.images.shape())?;
        let mut denoised = noisy.clone();
        denoised
            .values_mut()
            .par_chunks_exact_mut(noisy.shape().len())
            .zip(sigma)
            .for_each(|(image, sigma)| self.denoise_one(image, f64::from(sigma.get())));
        Ok(denoised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::GaussianMixture;
    use crate::noise::batch_noise;
    use cm_image::ImageShape;

    #[test]
    fn it_is_the_mixture_of_points() {
        let points = batch_noise(ImageShape::vector(3), &[1, 2, 3, 4, 5], 0);
        let means = points.images().map(|y| y.iter().map(|&v| f64::from(v)).collect()).collect();
        let mixture = GaussianMixture::new(vec![1.0; 5], means, vec![0.0; 5]).unwrap();
        let empirical = Empirical::new(points).unwrap();
        let x = batch_noise(ImageShape::vector(3), &[6, 7, 8, 9], 0);
        let sigma = [0.0, 1e-3, 0.3, 10.0].map(|s| Sigma::new(s).unwrap());
        let (a, b) = (empirical.denoise(&x, &sigma, &[]).unwrap(), mixture.denoise(&x, &sigma, &[]).unwrap());
        for (a, b) in a.values().iter().zip(b.values()) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }

    #[test]
    fn no_noise_gives_the_nearest_image_and_much_noise_the_mean() {
        let shape = ImageShape::new(1, 2, 1);
        let images = ImageBatch::new(shape, vec![-1.0, 0.0, 1.0, 0.5]).unwrap();
        let empirical = Empirical::new(images).unwrap();
        let x = ImageBatch::new(shape, vec![0.1, 0.2, 0.1, 0.2]).unwrap();
        let denoised = empirical.denoise(&x, &[Sigma::ZERO, Sigma::new(1e6).unwrap()], &[]).unwrap();
        assert_eq!(denoised.image(0), [1.0, 0.5]);
        assert!((denoised.image(1)[0]).abs() < 1e-6 && (denoised.image(1)[1] - 0.25).abs() < 1e-6);
        assert_eq!(Empirical::new(ImageBatch::zeros(shape, 0)), Err(MixtureError::Empty));
        let broken = ImageBatch::new(shape, vec![0.0, 0.0, f32::NAN, 0.0]).unwrap();
        assert_eq!(Empirical::new(broken), Err(MixtureError::Component { component: 1 }));
    }
}
