//! One step of the probability-flow ODE dx/dsigma = (x - D(x; sigma)) / sigma (Karras et al. 2022, Equation 3 with
//! sigma(t) = t; Song et al. 2023, Equation 3).

mod dpm_solver2;
mod euler;
mod heun;
mod midpoint;
mod rho3_midpoint;
mod two_stage;

pub use dpm_solver2::DpmSolver2;
pub use euler::Euler;
pub use heun::Heun;
pub use midpoint::Midpoint;
pub use rho3_midpoint::Rho3Midpoint;

use crate::{Denoiser, ModelError, Sigma};
use cm_image::ImageBatch;
use serde::{Deserialize, Serialize};

/// A one-step method for the probability-flow ODE. Every image of a batch moves between its own two levels.
pub trait OdeSolver: Send + Sync {
    /// p, where the error of a whole trajectory falls as the p-th power of the step.
    fn order(&self) -> u32;

    /// The levels at which a step from `from` to `to` asks the denoiser.
    fn asks_at(&self, from: Sigma, to: Sigma) -> Vec<Sigma>;

    /// Denoiser calls of one step that does not end at 0.
    fn evaluations(&self) -> usize {
        let [from, to] = [1.0, 0.5].map(|level| Sigma::new(level).expect("a level"));
        self.asks_at(from, to).len()
    }

    /// The images of `x` moved from their levels `from` to their levels `to`, `from` > `to` >= 0. At `to` = 0 a
    /// second-order solver takes its Euler step, since the slope there is not defined; it then evaluates only the
    /// other images a second time. `labels` is handed to the denoiser: a class for each image, or nothing.
    ///
    /// # Errors
    /// [`ModelError`] if counts disagree, a step does not go down, or the denoiser fails.
    fn step(
        &self,
        denoiser: &dyn Denoiser,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError>;
}

/// The choice among the solvers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SolverConfig {
    /// First order, one evaluation.
    Euler,
    /// Second order, two evaluations.
    #[default] // Song et al. 2023, Section 6.1 (best in Figure 3b)
    Heun,
    /// Second order, two evaluations, the second in the middle of the step.
    Midpoint,
    /// Second order, two evaluations, the second in the middle of the step in ln sigma.
    DpmSolver2,
    /// Second order, two evaluations, the second in the middle of the step in sigma^(1/3).
    Rho3Midpoint,
}

impl SolverConfig {
    /// Every solver.
    pub const ALL: [Self; 5] =
        [Self::Euler, Self::Heun, Self::Midpoint, Self::DpmSolver2, Self::Rho3Midpoint];

    /// The solver chosen.
    pub fn solver(self) -> &'static dyn OdeSolver {
        match self {
            Self::Euler => &Euler,
            Self::Heun => &Heun,
            Self::Midpoint => &Midpoint,
            Self::DpmSolver2 => &DpmSolver2,
            Self::Rho3Midpoint => &Rho3Midpoint,
        }
    }

    /// The solver chosen, for those who own theirs.
    pub fn build(self) -> Box<dyn OdeSolver> {
        Box::new(self.solver())
    }

    /// A short name for tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::Heun => "heun",
            Self::Midpoint => "midpoint",
            Self::DpmSolver2 => "dpm-solver-2",
            Self::Rho3Midpoint => "rho3-midpoint",
        }
    }
}

impl<S: OdeSolver + ?Sized> OdeSolver for &S {
    fn order(&self) -> u32 {
        (**self).order()
    }

    fn asks_at(&self, from: Sigma, to: Sigma) -> Vec<Sigma> {
        (**self).asks_at(from, to)
    }

    fn step(
        &self,
        denoiser: &dyn Denoiser,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        (**self).step(denoiser, x, from, to, labels)
    }
}

/// One pair of falling levels for each image.
pub(crate) fn check_step(x: &ImageBatch, from: &[Sigma], to: &[Sigma]) -> Result<(), ModelError> {
    for levels in [from, to] {
        ModelError::check(x, levels, x.shape())?;
    }
    match from.iter().zip(to).find(|(from, to)| from <= to) {
        Some((&from, &to)) => Err(ModelError::Step { from, to }),
        None => Ok(()),
    }
}

/// D(x; sigma), checked to be as many images of the same shape.
pub(crate) fn denoise(
    denoiser: &dyn Denoiser,
    x: &ImageBatch,
    sigma: &[Sigma],
    labels: &[u32],
) -> Result<ImageBatch, ModelError> {
    let denoised = denoiser.denoise(x, sigma, labels)?;
    ModelError::check(&denoised, sigma, x.shape())?;
    Ok(denoised)
}

/// The Euler step, D + (to / from) (x - D), which is exactly D at `to` = 0.
pub(crate) fn euler_value(x: f32, denoised: f32, from: Sigma, to: Sigma) -> f32 {
    let (x, denoised) = (f64::from(x), f64::from(denoised));
    (denoised + f64::from(to.get()) / f64::from(from.get()) * (x - denoised)) as f32
}

#[cfg(test)]
mod tests;
