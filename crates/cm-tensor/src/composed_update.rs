//! The optimiser's step and the running averages, composed of dfdx's operations: what `cm_kernels::update` does in one
//! pass, on any device, with nothing but a few numbers crossing to it.

use crate::composed::{AnyDevice, Flat, SumTo, Tensor};
use cm_kernels::update::Rule;
use dfdx::tensor::NoneTape;

/// One parameter and what belongs to it, all of one length, on one device.
#[derive(Clone, Debug)]
pub struct Resident<D: AnyDevice> {
    /// The parameter.
    pub parameter: Flat<D, NoneTape>,
    /// Running mean of the gradient; zeros before the first step.
    pub first_moment: Flat<D, NoneTape>,
    /// Running mean of its square; zeros before the first step.
    pub second_moment: Flat<D, NoneTape>,
    /// Running averages of the parameter, each with its decay.
    pub averages: Vec<(Flat<D, NoneTape>, f32)>,
}

impl<D: AnyDevice> Resident<D> {
    /// One step under `gradient` times `gradient_scale`, as `cm_kernels::update::apply`.
    ///
    /// # Panics
    /// If the lengths differ or the step is 0.
    pub fn step(&mut self, rule: &Rule, gradient_scale: f32, gradient: Flat<D, NoneTape>) {
        let (Rule::Adam { lr, beta1, beta2, eps, weight_decay, step }
        | Rule::RAdam { lr, beta1, beta2, eps, weight_decay, step }) = *rule;
        assert!(step > 0, "steps count from 1");
        let gradient = gradient * gradient_scale;
        let square = gradient.clone().square();
        self.first_moment = self.first_moment.clone() * beta1 + gradient * (1.0 - beta1);
        self.second_moment = self.second_moment.clone() * beta2 + square * (1.0 - beta2);
        // Of the corrections' factors, in f64 as the kernel's.
        let power = |beta: f32| f64::from(beta).powf(step as f64);
        let (first, second) = (1.0 - power(beta1), 1.0 - power(beta2));
        let rectified = match rule {
            Rule::Adam { .. } => Some(1.0),
            Rule::RAdam { .. } => rectification(f64::from(beta2), step as f64, power(beta2)),
        };
        let change = match rectified {
            Some(factor) => {
                let root = (self.second_moment.clone() * (1.0 / second) as f32).sqrt() + eps;
                self.first_moment.clone() * (f64::from(lr) * factor / first) as f32 / root
            }
            None => self.first_moment.clone() * (f64::from(lr) / first) as f32,
        };
        self.parameter = self.parameter.clone() * (1.0 - lr * weight_decay) - change;
        for (average, decay) in &mut self.averages {
            *average = average.clone() * *decay + self.parameter.clone() * (1.0 - *decay);
        }
    }
}

/// The sum of all values' squares.
pub fn sum_of_squares<D: AnyDevice>(values: &Flat<D, NoneTape>) -> f64 {
    let sum: Tensor<(), f32, D> = values.clone().square().sum();
    sum.as_vec().into_iter().map(f64::from).sum()
}

/// Liu et al. 2020, with PyTorch's threshold: the factor of an adaptive step, or none while rho <= 5.
fn rectification(beta2: f64, step: f64, power: f64) -> Option<f64> {
    let last = 2.0 / (1.0 - beta2) - 1.0;
    let rho = last - 2.0 * step * power / (1.0 - power);
    let ratio = (rho - 4.0) * (rho - 2.0) * last / ((last - 4.0) * (last - 2.0) * rho);
    (rho > 5.0).then(|| ratio.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::composed::accelerator;
    use cm_image::random::Random;
    use cm_kernels::update::{Slices, apply};
    use dfdx::tensor::TensorFromVec;

    #[test]
    fn ten_steps_agree_with_the_kernel() {
        const LEN: usize = 37;
        let device = accelerator();
        let on_device = |values: &[f32]| device.tensor_from_vec(values.to_vec(), (LEN,));
        for (adaptive, weight_decay) in [(false, 0.0), (true, 0.0), (false, 0.1), (true, 0.1)] {
            let mut random = Random::with_stream(3, 1);
            let mut parameter: Vec<f32> = (0..LEN).map(|_| random.normal()).collect();
            let (mut first, mut second) = (vec![0.0; LEN], vec![0.0; LEN]);
            let (mut slow, mut fast) = (parameter.clone(), parameter.clone());
            let mut resident = Resident {
                parameter: on_device(&parameter),
                first_moment: on_device(&first),
                second_moment: on_device(&second),
                averages: vec![(on_device(&slow), 0.99), (on_device(&fast), 0.5)],
            };
            for step in 1..=10 {
                let gradient: Vec<f32> = (0..LEN).map(|_| random.normal()).collect();
                let (lr, beta1, beta2, eps) = (0.01, 0.9, 0.999, 1e-8);
                let rule = if adaptive {
                    Rule::Adam { lr, beta1, beta2, eps, weight_decay, step }
                } else {
                    Rule::RAdam { lr, beta1, beta2, eps, weight_decay, step }
                };
                let slices = Slices {
                    parameter: &mut parameter,
                    gradient: &gradient,
                    first_moment: &mut first,
                    second_moment: &mut second,
                    averages: &mut [(&mut slow, 0.99), (&mut fast, 0.5)],
                };
                apply(&rule, 0.5, slices);
                resident.step(&rule, 0.5, on_device(&gradient));
                let pairs = [
                    (&parameter, resident.parameter.as_vec()),
                    (&first, resident.first_moment.as_vec()),
                    (&second, resident.second_moment.as_vec()),
                    (&slow, resident.averages[0].0.as_vec()),
                    (&fast, resident.averages[1].0.as_vec()),
                ];
                for (kernel, composed) in pairs {
                    for (a, b) in kernel.iter().zip(&composed) {
                        assert!((a - b).abs() <= 2e-6 * a.abs().max(1.0), "{rule:?}: {a} {b}");
                    }
                }
            }
        }
    }
}
