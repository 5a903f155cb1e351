//! How a gradient becomes a step.

use crate::RangeError;
use cm_kernels::update::Rule;
use serde::{Deserialize, Serialize};

/// The optimisers there are. In all of them weight decay is decoupled: before its step, each weight is multiplied by
/// 1 - learning rate x `weight_decay`, and the moments never see it. (PyTorch's `Adam`, and its `RAdam` unless told
/// otherwise, add it to the gradient.) All weights decay, biases and scales too.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum OptimiserConfig {
    /// Rectified Adam (Liu et al. 2020), with PyTorch's threshold: a step is adaptive where rho > 5.
    RAdam(MomentsConfig),
    /// Adam (Kingma and Ba 2015).
    Adam(MomentsConfig),
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019): [`Adam`](Self::Adam) with another default.
    AdamW(AdamWConfig),
}

impl Default for OptimiserConfig {
    fn default() -> Self {
        Self::RAdam(MomentsConfig::default()) // Song et al. 2023, Appendix C
    }
}

/// Constants of Adam and its relatives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MomentsConfig {
    /// Decay of the mean gradient, in [0, 1).
    pub beta1: f32,
    /// Decay of the mean squared gradient, in [0, 1).
    pub beta2: f32,
    /// Added to the root of the mean squared gradient, > 0.
    pub eps: f32,
    /// Decoupled weight decay, a share of each weight per unit of learning rate, >= 0.
    pub weight_decay: f32,
}

impl Default for MomentsConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,        // Kingma and Ba 2015; Song et al. 2023, Appendix C
            beta2: 0.999,      // Kingma and Ba 2015; Song et al. 2023, Appendix C
            eps: 1e-8,         // Kingma and Ba 2015
            weight_decay: 0.0, // Song et al. 2023, Appendix C
        }
    }
}

/// Constants of [`OptimiserConfig::AdamW`], as in [`MomentsConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the mean gradient, in [0, 1).
    pub beta1: f32,
    /// Decay of the mean squared gradient, in [0, 1).
    pub beta2: f32,
    /// Added to the root of the mean squared gradient, > 0.
    pub eps: f32,
    /// Decoupled weight decay, a share of each weight per unit of learning rate, >= 0.
    pub weight_decay: f32,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,         // Kingma and Ba 2015
            beta2: 0.999,       // Kingma and Ba 2015
            eps: 1e-8,          // Kingma and Ba 2015
            weight_decay: 0.01, // PyTorch's AdamW
        }
    }
}

impl OptimiserConfig {
    /// The constants, by whichever name.
    fn moments(self) -> MomentsConfig {
        match self {
            Self::RAdam(moments) | Self::Adam(moments) => moments,
            Self::AdamW(AdamWConfig { beta1, beta2, eps, weight_decay }) => {
                MomentsConfig { beta1, beta2, eps, weight_decay }
            }
        }
    }

    /// The rule of step `step`, counted from 1.
    pub(crate) fn rule(self, lr: f32, step: u64) -> Rule {
        let MomentsConfig { beta1, beta2, eps, weight_decay } = self.moments();
        match self {
            Self::RAdam(_) => Rule::RAdam { lr, beta1, beta2, eps, weight_decay, step },
            Self::Adam(_) | Self::AdamW(_) => Rule::Adam { lr, beta1, beta2, eps, weight_decay, step },
        }
    }

    /// Everything that is out of range, with paths relative to this enum.
    pub fn problems(self) -> Vec<RangeError> {
        let MomentsConfig { beta1, beta2, eps, weight_decay } = self.moments();
        let share = |x: f32| (0.0..1.0).contains(&x);
        let finite = |x: f32| x.is_finite();
        [
            RangeError::unless(share(beta1), "beta1", beta1, "in [0, 1)"),
            RangeError::unless(share(beta2), "beta2", beta2, "in [0, 1)"),
            RangeError::unless(eps > 0.0 && finite(eps), "eps", eps, "above 0"),
            RangeError::unless(
                weight_decay >= 0.0 && finite(weight_decay),
                "weight_decay",
                weight_decay,
                "at least 0",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_kernels::update::{Slices, apply};

    /// Steps of one optimiser from `parameter` under the given gradients, at a learning rate of 0.1.
    fn steps(optimiser: OptimiserConfig, parameter: f32, gradients: &[f32]) -> Vec<f32> {
        let (mut parameter, mut first, mut second) = ([parameter], [0.0], [0.0]);
        let step = |(gradient, step): (&f32, u64)| {
            let slices = Slices {
                parameter: &mut parameter,
                gradient: &[*gradient],
                first_moment: &mut first,
                second_moment: &mut second,
                averages: &mut [],
            };
            apply(&optimiser.rule(0.1, step), 1.0, slices);
            parameter[0]
        };
        gradients.iter().zip(1..).map(step).collect()
    }

    /// The tolerance is that of ten steps in `f32`; both learning rate and parameters are of order 0.1.
    #[test]
    fn the_first_ten_steps_of_radam_are_pytorch_s() {
        let fixture = include_str!("../../../tests/fixtures/parity/radam.csv");
        let rows: Vec<Vec<f64>> = (fixture.lines().skip(2))
            .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert_eq!(rows.len(), 20, "ten steps without and ten with weight decay");
        for run in rows.chunks(10) {
            let weight_decay = run[0][0] as f32;
            let optimiser =
                OptimiserConfig::RAdam(MomentsConfig { weight_decay, ..MomentsConfig::default() });
            for (place, start) in [1.0, -0.5, 0.25].into_iter().enumerate() {
                let gradients: Vec<f32> = run.iter().map(|row| row[2 + place] as f32).collect();
                for (ours, row) in steps(optimiser, start, &gradients).into_iter().zip(run) {
                    let theirs = row[5 + place];
                    assert!((f64::from(ours) - theirs).abs() < 1e-6, "step {}: {ours} {theirs}", row[1]);
                }
            }
        }
    }

    /// Loshchilov and Hutter 2019: without a gradient, only the decay is left, and it does not touch the moments.
    #[test]
    fn weight_decay_is_decoupled_in_every_optimiser() {
        let moments = MomentsConfig { weight_decay: 0.5, ..MomentsConfig::default() };
        let adam_w = AdamWConfig { weight_decay: 0.5, ..AdamWConfig::default() };
        for optimiser in
            [OptimiserConfig::RAdam(moments), OptimiserConfig::Adam(moments), OptimiserConfig::AdamW(adam_w)]
        {
            // Each step keeps 1 - 0.1 x 0.5 of the weight. Decay by the gradient would make steps of 0.1.
            for (step, value) in (1..).zip(steps(optimiser, 2.0, &[0.0; 8])) {
                assert!((value - 2.0 * 0.95f32.powi(step)).abs() < 1e-6, "{optimiser:?} {step}: {value}");
            }
        }
        let gradients = [0.5, -0.25, 1.0];
        let of = |optimiser| steps(optimiser, 1.0, &gradients);
        assert_eq!(of(OptimiserConfig::AdamW(adam_w)), of(OptimiserConfig::Adam(moments)));
        assert_ne!(of(OptimiserConfig::AdamW(AdamWConfig::default())), of(OptimiserConfig::AdamW(adam_w)));
    }
}
