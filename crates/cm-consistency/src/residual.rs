//! How far a model is from being consistent, measured and not trained.

use crate::{NoisyPair, Trajectory};
use cm_diffusion::{ConsistencyFunction, ModelError, Sigma, SigmaRange, noise};
use cm_image::ImageBatch;

/// Held-out images with fixed noise, at the edges of bins that divide a range of noise levels evenly in ln sigma.
///
/// The residual of a bin is |f(x_t, t) - f(x_s, s)| between its upper edge t and its lower edge s, as a root mean
/// square over all values of all images. x_s is reached from x_t as the training reaches it: by the teacher's step in
/// distillation, by the same noise in training. Levels, images and noise stay the same over a run, so that its curves
/// show the model alone. For a perfect distilled model the residual is the error of the teacher's solver over one bin;
/// for a perfect trained one it is not 0, for the noise of a single image is not on a trajectory of the data, but it
/// is least.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    clean: ImageBatch,
    noise: ImageBatch,
    labels: Vec<u32>,
    edges: Vec<Sigma>,
}

impl Probe {
    /// A probe of `clean` images with their `labels`, one noise seed each, at `bins` bins of `range`.
    ///
    /// # Panics
    /// If there is no image, not one seed for each, or no bin.
    pub fn new(clean: ImageBatch, labels: Vec<u32>, seeds: &[u64], range: SigmaRange, bins: usize) -> Self {
        assert!(clean.count() > 0 && clean.count() == seeds.len() && bins > 0, "a probe of nothing");
        let noise = noise::batch_noise(clean.shape(), seeds, 0);
        Self { clean, noise, labels, edges: edges(range, bins) }
    }

    /// The residual of each bin, from the least noise to the most.
    ///
    /// # Errors
    /// [`ModelError`] if the images do not fit the model, or the model or a teacher fails.
    pub fn residuals(
        &self,
        model: &dyn ConsistencyFunction,
        trajectory: &dyn Trajectory,
    ) -> Result<Vec<f64>, ModelError> {
        self.edges.windows(2).map(|bin| self.residual(model, trajectory, bin[1], bin[0])).collect()
    }

    fn residual(
        &self,
        model: &dyn ConsistencyFunction,
        trajectory: &dyn Trajectory,
        upper: Sigma,
        lower: Sigma,
    ) -> Result<f64, ModelError> {
        let count = self.clean.count();
        let (upper, lower) = (vec![upper; count], vec![lower; count]);
        let noisy = noise::perturb(&self.clean, &upper, &self.noise);
        let pair = NoisyPair {
            clean: &self.clean,
            noise: &self.noise,
            noisy: &noisy,
            upper: &upper,
            lower: &lower,
            labels: &self.labels,
        };
        let there = model.endpoint(&trajectory.lower_point(&pair)?, &lower, &self.labels)?;
        let here = model.endpoint(&noisy, &upper, &self.labels)?;
        let squares = here.values().iter().zip(there.values()).map(|(a, b)| f64::from(a - b).powi(2));
        Ok((squares.sum::<f64>() / here.values().len() as f64).sqrt())
    }
}

/// The edges of bins that divide a range evenly in ln sigma, ascending; the outer ones are the range's own.
fn edges(range: SigmaRange, bins: usize) -> Vec<Sigma> {
    let (min, max) = (range.min(), range.max());
    let ratio = f64::from(max.get()) / f64::from(min.get());
    let inner = |bin: usize| {
        let sigma = f64::from(min.get()) * libm::pow(ratio, bin as f64 / bins as f64);
        Sigma::new(sigma as f32).expect("between two noise levels")
    };
    std::iter::once(min).chain((1..bins).map(inner)).chain([max]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KnownNoise, TeacherStep};
    use cm_diffusion::SolverConfig;
    use cm_diffusion::analytic::{ExactConsistency, GaussianMixture};
    use cm_image::ImageShape;
    use cm_image::random::Random;

    const RANGE: (f32, f32) = (0.02, 20.0);

    fn range() -> SigmaRange {
        SigmaRange::new(RANGE.0, RANGE.1).unwrap()
    }

    /// The identity: at every level it returns its input.
    struct Identity;

    impl ConsistencyFunction for Identity {
        fn endpoint(&self, noisy: &ImageBatch, _: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
            Ok(noisy.clone())
        }
    }

    fn probe(clean: ImageBatch, bins: usize) -> Probe {
        let seeds: Vec<u64> = (0..clean.count() as u64).collect();
        Probe::new(clean, vec![], &seeds, range(), bins)
    }

    #[test]
    fn edges_are_even_in_the_logarithm() {
        let found: Vec<f32> = edges(range(), 3).iter().map(|sigma| sigma.get()).collect();
        assert_eq!((found[0], found[3], found.len()), (RANGE.0, RANGE.1, 4));
        assert!((found[1] / 0.2 - 1.0).abs() < 1e-6 && (found[2] / 2.0 - 1.0).abs() < 1e-6, "{found:?}");
    }

    /// Along known noise the identity's two outputs differ by (t - s) z.
    #[test]
    fn the_identity_s_residual_is_the_width_of_the_bin() {
        let clean = ImageBatch::zeros(ImageShape::vector(8), 500);
        let residuals = probe(clean, 3).residuals(&Identity, &KnownNoise).unwrap();
        for (residual, width) in residuals.iter().zip([0.18, 1.8, 18.0]) {
            assert!((residual / width - 1.0).abs() < 0.03, "{residuals:?}");
        }
    }

    /// The exact consistency function on its own trajectories: what is left is the solver's error, and a better solver
    /// leaves less.
    #[test]
    fn the_exact_function_is_consistent_on_the_teacher_s_trajectories() {
        let mixture =
            GaussianMixture::new(vec![1.0; 2], vec![vec![1.0, 0.5], vec![-1.0, 0.0]], vec![0.3, 0.4])
                .unwrap();
        let mut random = Random::new(1);
        let clean = ImageBatch::from_fn(ImageShape::vector(2), 64, |_, v| random.fill_normal(v));
        let model = ExactConsistency { mixture: mixture.clone(), sigma_min: range().min() };
        let worst = |solver: SolverConfig, model: &dyn ConsistencyFunction| {
            let step = TeacherStep { denoiser: &mixture, solver: solver.build() };
            let residuals = probe(clean.clone(), 16).residuals(model, &step).unwrap();
            residuals.into_iter().fold(0.0, f64::max)
        };
        let (heun, euler) = (worst(SolverConfig::Heun, &model), worst(SolverConfig::Euler, &model));
        let unlearnt = worst(SolverConfig::Heun, &Identity);
        assert!(heun < 0.3 * euler && euler < 0.1 * unlearnt, "{heun} {euler} {unlearnt}");
    }
}
