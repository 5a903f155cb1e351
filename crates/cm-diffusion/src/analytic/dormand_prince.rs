//! An adaptive integrator of ordinary differential equations, for reference solutions only.
//!
//! Dormand and Prince 1980, RK5(4)7M, with the step control of Hairer, Norsett and Wanner, "Solving Ordinary
//! Differential Equations I", Section II.4. Sampling uses the solvers of this crate instead.

/// Row i: the factors of the slopes before stage i + 1. The last row is also the fifth-order solution.
const A: [&[f64]; 6] = [
    &[1.0 / 5.0],
    &[3.0 / 40.0, 9.0 / 40.0],
    &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
    &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
    &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
    &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
];
/// Where each stage lies in the step.
const C: [f64; 6] = [1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0, 1.0, 1.0];
/// The fifth-order solution minus the embedded fourth-order one.
const E: [f64; 7] =
    [71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339200.0, 22.0 / 525.0, -1.0 / 40.0];

/// Error allowed in one step, for each coordinate: `absolute` + `relative` |x|.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    pub(super) relative: f64,
    pub(super) absolute: f64,
}

/// Steps tried before the integrator gives up.
pub(super) const MAX_STEPS: usize = 100_000;

/// x(t1) where dx/dt = slope(t, x) and x(t0) = x; t1 may lie on either side of t0. `None` if [`MAX_STEPS`] do not
/// suffice, as when slopes are not finite.
pub(super) fn integrate(
    slope: impl Fn(f64, &[f64]) -> Vec<f64>,
    t0: f64,
    t1: f64,
    mut x: Vec<f64>,
    tolerance: Tolerance,
) -> Option<Vec<f64>> {
    if t0 == t1 {
        return Some(x);
    }
    let mut t = t0;
    let mut h = (t1 - t0) / 100.0;
    let mut first = slope(t, &x);
    for _ in 0..MAX_STEPS {
        let last = (t1 - t).abs() <= h.abs();
        if last {
            h = t1 - t;
        }
        let mut slopes = vec![first.clone()];
        let mut next = x.clone();
        for (row, c) in A.iter().zip(C) {
            next.copy_from_slice(&x);
            for (factor, slope) in row.iter().zip(&slopes) {
                next.iter_mut().zip(slope).for_each(|(x, slope)| *x += h * factor * slope);
            }
            slopes.push(slope(t + c * h, &next));
        }
        let mut square = 0.0;
        for i in 0..x.len() {
            let error: f64 = h * E.iter().zip(&slopes).map(|(e, slope)| e * slope[i]).sum::<f64>();
            let allowed = tolerance.absolute + tolerance.relative * x[i].abs().max(next[i].abs());
            square += (error / allowed).powi(2);
        }
        let error = (square / x.len() as f64).sqrt();
        if error <= 1.0 {
            if last {
                return Some(next);
            }
            t += h;
            x = next;
            first = slopes.pop().expect("seven stages"); // first same as last
        }
        let factor = 0.9 * libm::pow(error, -0.2);
        h *= if factor.is_nan() { 0.2 } else { factor.clamp(0.2, 5.0) };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fixed-step error of one step falls as h^6: all order conditions hold.
    #[test]
    fn the_solution_is_of_fifth_order() {
        // dx/dt = -2 t x^2, x(0) = 1: x = 1 / (1 + t^2); a huge tolerance accepts the single step.
        let loose = Tolerance { relative: 1e30, absolute: 1e30 };
        let error = |t: f64| {
            // Steps of a hundredth of the way, growing fivefold: as the pattern is fixed, so is the order.
            let x = integrate(|t, x| vec![-2.0 * t * x[0] * x[0]], 0.3, 0.3 + t, vec![1.0 / 1.09], loose);
            (x.unwrap()[0] - 1.0 / (1.0 + (0.3 + t) * (0.3 + t))).abs()
        };
        let order = (error(0.2) / error(0.1)).log2();
        assert!((order - 6.0).abs() < 0.4, "local order {order}");
    }

    #[test]
    fn a_rotation_is_solved_to_tolerance_both_ways() {
        let turn = |_: f64, x: &[f64]| vec![-x[1], x[0]];
        let tight = Tolerance { relative: 1e-11, absolute: 1e-11 };
        for t in [7.0, -7.0] {
            let x = integrate(turn, 0.0, t, vec![1.0, 0.0], tight).unwrap();
            assert!((x[0] - t.cos()).abs() < 1e-9 && (x[1] - t.sin()).abs() < 1e-9, "{x:?}");
        }
    }

    #[test]
    fn slopes_that_are_not_finite_are_given_up() {
        let tight = Tolerance { relative: 1e-11, absolute: 1e-11 };
        assert_eq!(integrate(|_, _| vec![f64::NAN], 0.0, 1.0, vec![1.0], tight), None);
    }
}
