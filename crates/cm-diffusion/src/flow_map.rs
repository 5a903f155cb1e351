//! Models that know where a trajectory is at a lower noise level, not only where it ends.

use crate::solver::check_step;
use crate::{ConsistencyFunction, ModelError, Sigma};
use cm_image::ImageBatch;

/// phi(x, from, to): where the probability-flow ODE through (x, from) is at the lower level `to`.
pub trait FlowMap {
    /// The images of `x`, each moved from its level in `from` to its level in `to`, `from` > `to`. `labels` has the
    /// class of each image, or is empty. A model that knows no classes ignores them.
    ///
    /// # Errors
    /// [`ModelError`] if shapes or counts disagree, a jump does not go down, or the model fails.
    fn jump(
        &self,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError>;
}

impl<F: FlowMap + ?Sized> FlowMap for &F {
    fn jump(
        &self,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        (**self).jump(x, from, to, labels)
    }
}

/// A consistency function followed along the straight line to where the trajectory ends: from (x, t) to
/// f + (s - sigma_min) / (t - sigma_min) (x - f) at s. At s = sigma_min that is f itself.
///
/// It is DDIM's step in a time that begins at sigma_min. For a model of several segments (Heek et al. 2024) the line is
/// meant: it meets the trajectory at the segment's lower end, wherever else it leads.
#[derive(Clone, Copy)]
pub struct AlongLine<'a> {
    /// f.
    pub model: &'a dyn ConsistencyFunction,
    /// Where f is the identity.
    pub sigma_min: Sigma,
}

impl AlongLine<'_> {
    /// The share of x - f that is left at `to` of what there is at `from`.
    ///
    /// ```
    /// use cm_diffusion::{AlongLine, Sigma};
    /// let [min, half, max] = [1.0, 3.0, 5.0].map(|sigma| Sigma::new(sigma).unwrap());
    /// assert_eq!((AlongLine::kept(min, max, half), AlongLine::kept(min, max, min)), (0.5, 0.0));
    /// ```
    pub fn kept(sigma_min: Sigma, from: Sigma, to: Sigma) -> f64 {
        let [min, from, to] = [sigma_min, from, to].map(|sigma| f64::from(sigma.get()));
        (to - min) / (from - min)
    }
}

impl FlowMap for AlongLine<'_> {
    fn jump(
        &self,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        check_step(x, from, to)?;
        let mut moved = self.model.endpoint(x, from, labels)?;
        ModelError::check(&moved, from, x.shape())?;
        for (((end, x), &from), &to) in moved.images_mut().zip(x.images()).zip(from).zip(to) {
            move_towards(end, x, Self::kept(self.sigma_min, from, to));
        }
        Ok(moved)
    }
}

/// Euler's step from `from` to `to` with the denoiser's output `denoised`: D + (to / from) (x - D), DDIM in these
/// variables. Progressively distilled and shortcut models jump so.
///
/// # Errors
/// [`ModelError`] if counts disagree or a jump does not go down.
pub fn euler_jump(
    x: &ImageBatch,
    mut denoised: ImageBatch,
    from: &[Sigma],
    to: &[Sigma],
) -> Result<ImageBatch, ModelError> {
    check_step(x, from, to)?;
    ModelError::check(&denoised, from, x.shape())?;
    for (((image, x), from), to) in denoised.images_mut().zip(x.images()).zip(from).zip(to) {
        move_towards(image, x, f64::from(to.get()) / f64::from(from.get()));
    }
    Ok(denoised)
}

/// end + kept (x - end), in place of `end`; exactly `end` where nothing is kept.
fn move_towards(end: &mut [f32], x: &[f32], kept: f64) {
    for (end, &x) in end.iter_mut().zip(x) {
        let there = f64::from(*end);
        *end = (there + kept * (f64::from(x) - there)) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::{ExactConsistency, GaussianMixture};
    use crate::{Euler, OdeSolver};
    use cm_image::ImageShape;
    use cm_image::random::Random;

    fn sigma(value: f32) -> Sigma {
        Sigma::new(value).unwrap()
    }

    fn noisy(count: usize) -> ImageBatch {
        let mut random = Random::new(3);
        ImageBatch::from_fn(ImageShape::vector(2), count, |_, v| random.fill_normal(v)).map(|v| 3.0 * v)
    }

    #[test]
    fn the_line_of_a_consistency_function_ends_at_its_endpoint_to_the_bit() {
        let mixture =
            GaussianMixture::new(vec![1.0; 2], vec![vec![1.0, 0.5], vec![-1.0, 0.0]], vec![0.3, 0.4])
                .unwrap();
        let model = ExactConsistency { mixture, sigma_min: sigma(0.02) };
        let (x, from) = (noisy(6), [3.0, 2.0, 1.0, 0.5, 0.1, 8.0].map(sigma));
        let line = AlongLine { model: &model, sigma_min: sigma(0.02) };
        let end = model.endpoint(&x, &from, &[]).unwrap();
        assert_eq!(line.jump(&x, &from, &[sigma(0.02); 6], &[]).unwrap(), end);
        let near = line.jump(&x, &from, &from.map(|s| sigma(s.get().next_down())), &[]).unwrap();
        assert!(near.values().iter().zip(x.values()).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    /// The solver's step is this one; a mistake that both share is excluded by the closed form.
    #[test]
    fn a_jump_is_euler_s_step_to_the_bit() {
        let mixture = GaussianMixture::new(vec![1.0], vec![vec![0.5, -1.0]], vec![0.7]).unwrap();
        let (x, from, to) = (noisy(3), [3.0, 2.0, 1.0].map(sigma), [1.0, 0.5, 0.02].map(sigma));
        let denoised = crate::Denoiser::denoise(&mixture, &x, &from, &[]).unwrap();
        let jumped = euler_jump(&x, denoised, &from, &to).unwrap();
        assert_eq!(jumped, Euler.step(&mixture, &x, &from, &to, &[]).unwrap());
        // One Gaussian: D = m + s^2 / (s^2 + t^2) (x - m).
        let (x0, t, r, m, s) = (f64::from(x.values()[0]), 3.0, 1.0, 0.5, 0.7f64);
        let d = m + s * s / (s * s + t * t) * (x0 - m);
        assert!((f64::from(jumped.values()[0]) - (d + r / t * (x0 - d))).abs() < 1e-6);
    }

    #[test]
    fn a_jump_that_does_not_go_down_is_an_error() {
        let (x, level) = (noisy(1), [sigma(1.0)]);
        let error = euler_jump(&x, x.clone(), &level, &level).unwrap_err();
        assert!(matches!(error, ModelError::Step { .. }), "{error}");
        assert!(matches!(euler_jump(&x, x.clone(), &level, &[]), Err(ModelError::Count { .. })));
    }
}
