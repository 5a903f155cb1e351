//! The probability-flow ODE with noise added and removed along the way.

use super::probability_flow::steps;
use super::{FlowEnd, Labels, Sampler, add_noise, starting_noise};
use crate::{Denoiser, ModelError, NoiseLevels, OdeSolver, QuantityError, Sigma};
use cm_image::{ImageBatch, ImageShape};
use serde::{Deserialize, Serialize};

/// How much noise is added before each step: Karras et al. 2022, Algorithm 2.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Churn {
    /// S_churn, shared among the steps, >= 0; 0 is deterministic sampling.
    pub amount: f32,
    /// S_tmin: no noise is added below this level, >= 0.
    pub sigma_min: f32,
    /// S_tmax: no noise is added above this level, at least `sigma_min`; inf for none.
    pub sigma_max: f32,
    /// S_noise: standard deviation of the added noise, relative, > 0.
    pub noise: f32,
}

impl Default for Churn {
    fn default() -> Self {
        Self {
            amount: 40.0,    // Karras et al. 2022, Table 5 (ImageNet-64, own model)
            sigma_min: 0.05, // Karras et al. 2022, Table 5
            sigma_max: 50.0, // Karras et al. 2022, Table 5
            noise: 1.003,    // Karras et al. 2022, Table 5
        }
    }
}

impl Churn {
    /// Whether the numbers are in range.
    ///
    /// # Errors
    /// [`QuantityError::Churn`] unless amount >= 0, 0 <= sigma_min <= sigma_max and noise > 0.
    pub fn check(&self) -> Result<(), QuantityError> {
        let Self { amount, sigma_min, sigma_max, noise } = *self;
        let finite = amount.is_finite() && noise.is_finite();
        if finite && amount >= 0.0 && sigma_min >= 0.0 && sigma_min <= sigma_max && noise > 0.0 {
            Ok(())
        } else {
            Err(QuantityError::Churn { amount, sigma_min, sigma_max, noise })
        }
    }
}

/// Stochastic sampling: Karras et al. 2022, Algorithm 2 with any solver in place of Heun's method. Before each step
/// the level is raised to sigma (1 + gamma), gamma = min(S_churn / n, sqrt(2) - 1), with fresh noise.
#[derive(Clone, Copy)]
pub struct Stochastic<'a> {
    denoiser: &'a dyn Denoiser,
    solver: &'a dyn OdeSolver,
    shape: ImageShape,
    levels: &'a NoiseLevels,
    churn: Churn,
    labels: Labels,
}

impl<'a> Stochastic<'a> {
    /// A sampler over `levels` and a last step to 0, as [`ProbabilityFlow`](crate::ProbabilityFlow).
    ///
    /// # Errors
    /// [`QuantityError::Churn`] unless amount >= 0, 0 <= sigma_min <= sigma_max and noise > 0.
    pub fn new(
        denoiser: &'a dyn Denoiser,
        solver: &'a dyn OdeSolver,
        shape: ImageShape,
        levels: &'a NoiseLevels,
        churn: Churn,
        labels: Labels,
    ) -> Result<Self, QuantityError> {
        churn.check()?;
        Ok(Self { denoiser, solver, shape, levels, churn, labels })
    }

    /// The level from which the step at `sigma` starts: sigma (1 + gamma).
    fn raised(&self, sigma: Sigma) -> Sigma {
        let churned = (self.churn.sigma_min..=self.churn.sigma_max).contains(&sigma.get());
        let gamma = if churned {
            (self.churn.amount / self.levels.as_slice().len() as f32).min(std::f32::consts::SQRT_2 - 1.0)
        } else {
            0.0
        };
        Sigma::new((sigma.get() * (1.0 + gamma)).min(f32::MAX)).expect("finite and not negative")
    }
}

impl Sampler for Stochastic<'_> {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
        let mut x = starting_noise(self.shape, self.levels.as_slice()[0], seeds);
        let labels = self.labels.of(seeds);
        for (draw, (sigma, to)) in (1..).zip(steps(self.levels, FlowEnd::Zero)) {
            let from = self.raised(sigma);
            if from > sigma {
                let (low, high) = (f64::from(sigma.get()), f64::from(from.get()));
                let added = (f64::from(self.churn.noise) * ((high - low) * (high + low)).sqrt()) as f32;
                add_noise(&mut x, added, seeds, draw);
            }
            let (from, to) = (vec![from; seeds.len()], vec![to; seeds.len()]);
            x = self.solver.step(self.denoiser, &x, &from, &to, &labels)?;
        }
        Ok(x)
    }

    fn evaluations(&self) -> usize {
        let steps = steps(self.levels, FlowEnd::Zero);
        let asked = steps.flat_map(|(sigma, to)| self.solver.asks_at(self.raised(sigma), to));
        asked.map(|sigma| self.denoiser.evaluations(sigma)).sum()
    }
}
