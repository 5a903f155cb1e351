//! The truth: the rules as their papers write them, generic over the float, one parameter at a time.

use super::Rule;
use crate::elementwise::testing::Real;

/// A parameter with its moments and one average.
#[derive(Clone, Copy, Debug)]
pub(super) struct State<F> {
    pub(super) parameter: F,
    pub(super) first: F,
    pub(super) second: F,
    pub(super) average: F,
}

/// x^k by repeated multiplication.
fn power<F: Real>(x: F, k: u64) -> F {
    (0..k).fold(F::of(1.0), |p, _| p * x)
}

pub(super) fn step<F: Real>(rule: &Rule, gradient: F, decay: F, state: &mut State<F>) {
    let (Rule::Adam { lr, beta1, beta2, eps, weight_decay, step }
    | Rule::RAdam { lr, beta1, beta2, eps, weight_decay, step }) = *rule;
    let [lr, beta1, beta2, eps, weight_decay] =
        [lr, beta1, beta2, eps, weight_decay].map(|v| F::of(f64::from(v)));
    let (one, two, four) = (F::of(1.0), F::of(2.0), F::of(4.0));
    state.first = beta1 * state.first + (one - beta1) * gradient;
    state.second = beta2 * state.second + (one - beta2) * gradient * gradient;
    let m = state.first / (one - power(beta1, step));
    let v = state.second / (one - power(beta2, step));
    state.parameter = state.parameter - lr * weight_decay * state.parameter;
    let change = match rule {
        Rule::Adam { .. } => m / (v.sqrt() + eps),
        Rule::RAdam { .. } => {
            let last = two / (one - beta2) - one;
            let k = F::of(step as f64);
            let rho = last - two * k * power(beta2, step) / (one - power(beta2, step));
            if rho > F::of(5.0) {
                let r = ((rho - four) * (rho - two) * last / ((last - four) * (last - two) * rho)).sqrt();
                r * m / (v.sqrt() + eps)
            } else {
                m
            }
        }
    };
    state.parameter = state.parameter - lr * change;
    state.average = decay * state.average + (one - decay) * state.parameter;
}
