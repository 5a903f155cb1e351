//! One step of an optimiser on one parameter: moments, parameter and every running average in a single pass.
//!
//! Adam is Kingma and Ba 2015, the decoupled weight decay Loshchilov and Hutter 2019 (AdamW), RAdam Liu et al. 2020
//! with PyTorch's threshold rho > 5. Schedules, clipping and the choice of decay rates are the trainer's affair.

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use crate::dispatch::{Isa, isa};
use crate::elementwise::for_each_range;
use crate::elementwise::multiversion::multiversion;
use crate::threads::{PIECE, SharedMut};

/// How a gradient becomes a step. The fields are Adam's usual ones; `step` counts from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// p -= lr m^ / (sqrt(v^) + eps), with bias-corrected moments m^ and v^.
    Adam {
        /// Learning rate.
        lr: f32,
        /// Decay of the first moment, in \[0, 1).
        beta1: f32,
        /// Decay of the second moment, in \[0, 1).
        beta2: f32,
        /// Added to the root of the second moment.
        eps: f32,
        /// Decoupled: the parameter is first multiplied by 1 - lr * weight_decay.
        weight_decay: f32,
        /// Number of this step, from 1.
        step: u64,
    },
    /// Adam with its variance rectified; while the variance is intractable (rho <= 5), p -= lr m^.
    RAdam {
        /// Learning rate.
        lr: f32,
        /// Decay of the first moment, in \[0, 1).
        beta1: f32,
        /// Decay of the second moment, in \[0, 1).
        beta2: f32,
        /// Added to the root of the second moment.
        eps: f32,
        /// Decoupled: the parameter is first multiplied by 1 - lr * weight_decay.
        weight_decay: f32,
        /// Number of this step, from 1.
        step: u64,
    },
}

/// One parameter and what belongs to it; all of one length.
#[derive(Debug)]
pub struct Slices<'a, 'b> {
    /// The parameter, updated in place.
    pub parameter: &'a mut [f32],
    /// Its gradient.
    pub gradient: &'a [f32],
    /// Running mean of the gradient, updated in place; zeros before the first step.
    pub first_moment: &'a mut [f32],
    /// Running mean of its square, updated in place; zeros before the first step.
    pub second_moment: &'a mut [f32],
    /// Running averages of the parameter with their decay: avg = decay avg + (1 - decay) new parameter. A target
    /// network is one of them; a decay of 0 copies exactly.
    pub averages: &'a mut [(&'b mut [f32], f32)],
}

/// The numbers of one step, worked out once in double precision.
#[derive(Clone, Copy, Debug)]
struct Coefficients {
    gradient_scale: f32,
    beta1: f32,
    beta2: f32,
    /// 1 - lr * weight_decay.
    keep: f32,
    /// Factor of the first moment in the step.
    rate: f32,
    /// Factor of the root of the second moment: its bias correction.
    root_scale: f32,
    eps: f32,
    /// Whether the step is divided by the root of the second moment.
    adaptive: bool,
}

impl Coefficients {
    fn new(rule: &Rule, gradient_scale: f32) -> Self {
        let (Rule::Adam { lr, beta1, beta2, eps, weight_decay, step }
        | Rule::RAdam { lr, beta1, beta2, eps, weight_decay, step }) = *rule;
        assert!(step >= 1, "steps of an optimiser count from 1");
        // Beyond this the powers are zero in double precision for every decay that f32 can hold apart from 1.
        let k = step.min(1 << 32) as f64;
        let power2 = f64::from(beta2).powf(k);
        let first_correction = 1.0 - f64::from(beta1).powf(k);
        let second_correction = 1.0 - power2;
        let (adaptive, rectification) = match rule {
            Rule::Adam { .. } => (true, 1.0),
            Rule::RAdam { .. } => {
                let last = 2.0 / (1.0 - f64::from(beta2)) - 1.0;
                let rho = last - 2.0 * k * power2 / second_correction;
                let ratio = (rho - 4.0) * (rho - 2.0) * last / ((last - 4.0) * (last - 2.0) * rho);
                if rho > 5.0 { (true, ratio.sqrt()) } else { (false, 1.0) }
            }
        };
        Self {
            gradient_scale,
            beta1,
            beta2,
            keep: (1.0 - f64::from(lr) * f64::from(weight_decay)) as f32,
            rate: (f64::from(lr) * rectification / first_correction) as f32,
            root_scale: (1.0 / second_correction.sqrt()) as f32,
            eps,
            adaptive,
        }
    }
}

multiversion! {
    fn step_piece(c: &Coefficients, gradient: &[f32], parameter: &mut [f32], first: &mut [f32], second: &mut [f32]) {
        let c = *c;
        let n = gradient.len();
        let (parameter, first, second) = (&mut parameter[..n], &mut first[..n], &mut second[..n]);
        for i in 0..n {
            let g = gradient[i] * c.gradient_scale;
            let m = c.beta1 * first[i] + (1.0 - c.beta1) * g;
            let v = c.beta2 * second[i] + (1.0 - c.beta2) * (g * g);
            first[i] = m;
            second[i] = v;
            let divisor = if c.adaptive { v.sqrt() * c.root_scale + c.eps } else { 1.0 };
            parameter[i] = c.keep * parameter[i] - c.rate * m / divisor;
        }
    }
}

multiversion! {
    fn average_piece(decay: f32, parameter: &[f32], average: &mut [f32]) {
        let rest = 1.0 - decay;
        for (average, p) in average.iter_mut().zip(parameter) {
            *average = decay * *average + rest * p;
        }
    }
}

/// Applies one step of `rule` to a parameter and folds the result into its averages. The gradient is first
/// multiplied by `gradient_scale` (clipping); 1 for none.
///
/// # Panics
/// If the lengths differ or the step is 0.
pub fn apply(rule: &Rule, gradient_scale: f32, slices: Slices) {
    apply_on(isa(), rule, gradient_scale, slices);
}

fn apply_on(isa: Isa, rule: &Rule, gradient_scale: f32, slices: Slices) {
    let n = slices.parameter.len();
    assert_eq!(slices.gradient.len(), n, "gradient and parameter differ in length");
    assert!(
        slices.first_moment.len() == n && slices.second_moment.len() == n,
        "moments and parameter differ in length"
    );
    assert!(
        slices.averages.iter().all(|(average, _)| average.len() == n),
        "average and parameter differ in length"
    );
    let coefficients = Coefficients::new(rule, gradient_scale);
    let parameter = SharedMut::new(slices.parameter);
    let (first, second) = (SharedMut::new(slices.first_moment), SharedMut::new(slices.second_moment));
    let averages: Vec<_> =
        slices.averages.iter_mut().map(|(average, decay)| (SharedMut::new(average), *decay)).collect();
    for_each_range(n, PIECE, |from, len| {
        // SAFETY: ranges of different pieces are disjoint.
        let (parameter, first, second) =
            unsafe { (parameter.slice(from, len), first.slice(from, len), second.slice(from, len)) };
        step_piece(isa, &coefficients, &slices.gradient[from..from + len], parameter, first, second);
        for (average, decay) in &averages {
            // SAFETY: as above.
            average_piece(isa, *decay, parameter, unsafe { average.slice(from, len) });
        }
    });
}
