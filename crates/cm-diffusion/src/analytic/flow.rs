//! The probability flow of a mixture, and the consistency function it defines.

use super::GaussianMixture;
use super::dormand_prince::{MAX_STEPS, Tolerance, integrate};
use crate::{ConsistencyFunction, ModelError, Sigma};
use cm_image::ImageBatch;
use rayon::prelude::*;

/// Error allowed in one step of the reference integrator, data units and relative.
pub(super) const TOLERANCE: Tolerance = Tolerance { relative: 1e-10, absolute: 1e-11 };

/// A mixture with points is followed down to this level; from there to 0 one denoiser evaluation leads.
const NEARLY_ZERO: f64 = 1e-6;

/// Why a trajectory could not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// The point is infinite or NaN.
    #[error("the starting point is not finite")]
    NotFinite,
    /// The integrator gave up.
    #[error("the trajectory took more than {MAX_STEPS} steps")]
    Steps,
}

impl GaussianMixture {
    /// Where the probability-flow trajectory through `x` at level `from` is at level `to`; `to` may lie on either
    /// side of `from`.
    ///
    /// In closed form for one component: m + sqrt((s^2 + to^2) / (s^2 + from^2)) (x - m). For more, an adaptive
    /// fifth-order integrator in `f64`, right to about 1e-8: tested to that against the monotone transport of a
    /// mixture in one dimension. Next to a boundary between basins, neighbouring trajectories part and the error
    /// grows with them.
    ///
    /// It integrates dx/du = -(sigma^2 + s^2) score, u = ln(sigma^2 + s^2) / 2, with s the smallest standard
    /// deviation of a component: smooth down to sigma = 0, and linear where one component rules. If s = 0, `to` = 0
    /// is reached from 1e-6 by a denoiser evaluation.
    ///
    /// ```
    /// use cm_diffusion::{Sigma, analytic::GaussianMixture};
    /// let gaussian = GaussianMixture::new(vec![1.0], vec![vec![1.0]], vec![3.0])?;
    /// // sqrt(9 + 16) = 5, sqrt(9 + 0) = 3: a deviation of 10 shrinks to 6.
    /// let end = gaussian.flow_endpoint(&[11.0], Sigma::new(4.0).unwrap(), Sigma::ZERO).unwrap();
    /// assert_eq!(end, [7.0]);
    /// # Ok::<(), cm_diffusion::analytic::MixtureError>(())
    /// ```
    ///
    /// # Errors
    /// [`FlowError`] if `x` is not finite or the integrator gives up.
    ///
    /// # Panics
    /// If `x` has not d coordinates.
    pub fn flow_endpoint(&self, x: &[f64], from: Sigma, to: Sigma) -> Result<Vec<f64>, FlowError> {
        self.flow_within(x, from, to, TOLERANCE)
    }

    pub(super) fn flow_within(
        &self,
        x: &[f64],
        from: Sigma,
        to: Sigma,
        tolerance: Tolerance,
    ) -> Result<Vec<f64>, FlowError> {
        assert_eq!(x.len(), self.dim(), "a point of the mixture's space");
        if x.iter().any(|value| !value.is_finite()) {
            return Err(FlowError::NotFinite);
        }
        let [from, to] = [from, to].map(|sigma| f64::from(sigma.get()));
        if from == to {
            return Ok(x.to_vec());
        }
        let s = self.stds().iter().copied().fold(f64::INFINITY, f64::min);
        if self.components() == 1 && s > 0.0 {
            let ratio = to.hypot(s) / from.hypot(s);
            return Ok(x.iter().zip(&self.means()[0]).map(|(x, m)| m + ratio * (x - m)).collect());
        }
        // Without points the variable reaches sigma = 0.
        let lowest = if s == 0.0 { NEARLY_ZERO } else { 0.0 };
        let u = |sigma: f64| libm::log(sigma.max(lowest).hypot(s));
        let slope = |u: f64, x: &[f64]| {
            let v = libm::exp(2.0 * u);
            let sigma = (v - s * s).max(0.0).sqrt();
            self.score(x, sigma).into_iter().map(|score| -v * score).collect()
        };
        let end = integrate(slope, u(from), u(to), x.to_vec(), tolerance).ok_or(FlowError::Steps)?;
        Ok(if to < lowest { self.posterior_mean(&end, lowest) } else { end })
    }

    /// [`flow_endpoint`](Self::flow_endpoint) of each image from its own level to its own level.
    ///
    /// # Errors
    /// [`ModelError`] if shapes or counts disagree, or a trajectory cannot be followed.
    pub fn flow(&self, x: &ImageBatch, from: &[Sigma], to: &[Sigma]) -> Result<ImageBatch, ModelError> {
        ModelError::check(x, from, self.shape())?;
        ModelError::check(x, to, self.shape())?;
        let mut moved = x.clone();
        moved
            .values_mut()
            .par_chunks_exact_mut(self.dim())
            .zip(from.par_iter().zip(to))
            .try_for_each(|(image, (&from, &to))| {
                let wide: Vec<f64> = image.iter().map(|&value| f64::from(value)).collect();
                let end = self.flow_endpoint(&wide, from, to)?;
                image.iter_mut().zip(end).for_each(|(out, value)| *out = value as f32);
                Ok(())
            })
            .map_err(|error: FlowError| ModelError::Other(Box::new(error)))?;
        Ok(moved)
    }
}

/// f of a mixture: the exact flow to sigma_min, right to about 1e-8 before rounding to `f32`.
///
/// What a perfectly distilled consistency model would be; f(x, sigma_min) = x exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct ExactConsistency {
    /// The data's law.
    pub mixture: GaussianMixture,
    /// The paper's epsilon.
    pub sigma_min: Sigma,
}

impl ConsistencyFunction for ExactConsistency {
    fn endpoint(&self, noisy: &ImageBatch, sigma: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
        self.mixture.flow(noisy, sigma, &vec![self.sigma_min; sigma.len()])
    }
}
