//! Element-wise non-linearities: SiLU (swish) and ReLU, with their derivatives.
//!
//! SiLU after a GroupNorm is fused there ([`crate::group_norm`]); these are for the places where it stands alone.

pub(crate) mod exp;

use crate::dispatch::{Isa, isa};
use crate::elementwise::multiversion::{madd, multiversion};
use crate::elementwise::{for_each_range, items_per_piece, pieces1, pieces2};
use crate::threads::SharedMut;
use exp::sigmoid;

/// SiLU at one point.
#[inline(always)]
pub(crate) fn silu_at<const FUSED: bool>(x: f32) -> f32 {
    x * sigmoid::<FUSED>(x).0
}

/// Derivative of SiLU at one point: s (1 + x (1 - s)) with s = sigmoid(x).
#[inline(always)]
pub(crate) fn silu_slope_at<const FUSED: bool>(x: f32) -> f32 {
    let (s, e) = sigmoid::<FUSED>(x);
    s * madd::<FUSED>(x, e * s, 1.0)
}

multiversion! {
    fn silu_piece(x: &[f32], out: &mut [f32]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = silu_at::<FUSED>(x);
        }
    }
}

multiversion! {
    fn silu_backward_piece(x: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
        for ((grad_x, &x), &g) in grad_x.iter_mut().zip(x).zip(grad_out) {
            *grad_x = g * silu_slope_at::<FUSED>(x);
        }
    }
}

multiversion! {
    fn relu_piece(x: &[f32], out: &mut [f32]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = if x < 0.0 { 0.0 } else { x };
        }
    }
}

multiversion! {
    fn bias_relu_rows(bias: &[f32], x: &mut [f32]) {
        for row in x.chunks_exact_mut(bias.len().max(1)) {
            for (x, &bias) in row.iter_mut().zip(bias) {
                let sum = *x + bias;
                *x = if sum < 0.0 { 0.0 } else { sum };
            }
        }
    }
}

multiversion! {
    fn relu_backward_piece(x: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
        for ((grad_x, &x), &g) in grad_x.iter_mut().zip(x).zip(grad_out) {
            *grad_x = if x > 0.0 { g } else { 0.0 };
        }
    }
}

fn silu_on(isa: Isa, x: &[f32], out: &mut [f32]) {
    pieces1(x, out, |x, out| silu_piece(isa, x, out));
}

fn silu_backward_on(isa: Isa, x: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
    pieces2(x, grad_out, grad_x, |x, g, out| silu_backward_piece(isa, x, g, out));
}

/// out = x / (1 + e^-x). NaN stays NaN.
///
/// # Panics
/// If the lengths differ.
pub fn silu(x: &[f32], out: &mut [f32]) {
    silu_on(isa(), x, out);
}

/// grad_x = grad_out * d silu(x) / dx.
///
/// # Panics
/// If the lengths differ.
pub fn silu_backward(x: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
    silu_backward_on(isa(), x, grad_out, grad_x);
}

/// out = max(x, 0). NaN stays NaN.
///
/// # Panics
/// If the lengths differ.
pub fn relu(x: &[f32], out: &mut [f32]) {
    let isa = isa();
    pieces1(x, out, |x, out| relu_piece(isa, x, out));
}

/// x = max(x + bias, 0) for rows of the bias's length, in place. NaN stays NaN.
///
/// # Panics
/// If x is no whole rows.
pub fn bias_relu_assign(bias: &[f32], x: &mut [f32]) {
    let isa = isa();
    let row = bias.len();
    assert!(x.len().is_multiple_of(row.max(1)), "rows of {row} values");
    let rows = x.len() / row.max(1);
    let shared = SharedMut::new(x);
    for_each_range(rows, items_per_piece(row), |first, count| {
        // SAFETY: ranges do not overlap.
        bias_relu_rows(isa, bias, unsafe { shared.slice(first * row, count * row) });
    });
}

/// grad_x = grad_out where x > 0, else 0 (also at 0, as PyTorch does).
///
/// # Panics
/// If the lengths differ.
pub fn relu_backward(x: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
    let isa = isa();
    pieces2(x, grad_out, grad_x, |x, g, out| relu_backward_piece(isa, x, g, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::written_by;
    use crate::elementwise::testing::*;

    fn silu_naive(x: f64) -> f64 {
        x / (1.0 + (-x).exp())
    }

    fn silu_slope_naive(x: f64) -> f64 {
        let s = 1.0 / (1.0 + (-x).exp());
        s * (1.0 + x * (1.0 - s))
    }

    #[test]
    fn silu_and_its_slope_on_every_instruction_set() {
        for isa in Isa::available() {
            for n in [0, 1, 15, 16, 17, 40_000] {
                let x: Vec<f32> = values(n, 1).iter().map(|v| v * 8.0).collect();
                let g = values(n, 2);
                let y = written_by(n, |out| silu_on(isa, &x, out));
                let exact: Vec<f64> = wide(&x).into_iter().map(silu_naive).collect();
                assert_close(&y, &exact, 2e-7, &(isa, n));
                let dx = written_by(n, |out| silu_backward_on(isa, &x, &g, out));
                let exact: Vec<f64> =
                    wide(&x).iter().zip(wide(&g)).map(|(&x, g)| g * silu_slope_naive(x)).collect();
                assert_close(&dx, &exact, 3e-7, &(isa, n));
            }
        }
    }

    #[test]
    fn silu_slope_is_the_derivative() {
        let x = wide(&values(50, 3));
        let slopes: Vec<f64> = x.iter().map(|&x| silu_slope_naive(x)).collect();
        assert_gradient(|x| x.iter().map(|&x| silu_naive(x)).sum(), &x, &slopes, &"silu");
    }

    #[test]
    fn silu_far_out() {
        let x = [-1e30, -200.0, -88.0, 0.0, 200.0, 1e30, f32::NAN];
        let y = written_by(7, |out| silu(&x, out));
        assert!(y[0].abs() < 1e-7 && y[1].abs() < 1e-35 && y[3] == 0.0);
        assert_eq!(&y[4..6], &x[4..6]);
        assert!(y[6].is_nan());
        let slope = written_by(7, |out| silu_backward(&x, &[1.0; 7], out));
        assert!(slope[1].abs() < 1e-34 && slope[3] == 0.5 && slope[4] == 1.0 && slope[5] == 1.0);
    }

    #[test]
    fn relu_by_hand() {
        let x = [-1.0, 0.0, 2.0, f32::NAN];
        let y = written_by(4, |out| relu(&x, out));
        assert_eq!(&y[..3], &[0.0, 0.0, 2.0]);
        assert!(y[3].is_nan());
        let g = written_by(3, |out| relu_backward(&x[..3], &[5.0, 6.0, 7.0], out));
        assert_eq!(g, [0.0, 0.0, 7.0]);
    }
}
