//! What is done to rows of lanes: sums of moments, the affine maps, their gradients and tangents.

use crate::activation::{silu_at, silu_slope_at};
use crate::elementwise::multiversion::{madd, multiversion};

multiversion! {
    pub(super) fn mean_of_four(rows: [&[f32]; 4], mean: &mut [f32]) {
        let n = mean.len();
        let [a, b, c, d] = rows.map(|row| &row[..n]);
        for i in 0..n {
            mean[i] = 0.25 * ((a[i] + b[i]) + (c[i] + d[i]));
        }
    }
}

multiversion! {
    /// Sums over the rows of `x` of (x - shift) and its square; `x` is whole rows.
    pub(super) fn shifted_moments(x: &[f32], shift: &[f32], sum: &mut [f32], square: &mut [f32]) {
        let lanes = shift.len();
        let (sum, square) = (&mut sum[..lanes], &mut square[..lanes]);
        sum.fill(0.0);
        square.fill(0.0);
        let fours = x.chunks_exact(4 * lanes);
        for row in fours.remainder().chunks_exact(lanes) {
            for i in 0..lanes {
                let d = row[i] - shift[i];
                sum[i] += d;
                square[i] = madd::<FUSED>(d, d, square[i]);
            }
        }
        for rows in fours {
            let (a, rest) = rows.split_at(lanes);
            let (b, rest) = rest.split_at(lanes);
            let (c, d) = rest.split_at(lanes);
            let d = &d[..lanes];
            for i in 0..lanes {
                let s = shift[i];
                let (a, b, c, d) = (a[i] - s, b[i] - s, c[i] - s, d[i] - s);
                sum[i] += (a + b) + (c + d);
                square[i] += madd::<FUSED>(a, a, b * b) + madd::<FUSED>(c, c, d * d);
            }
        }
    }
}

multiversion! {
    /// Adds the plain sums of x and x^2 that belong to sums of x - shift and its square over `rows` rows.
    pub(super) fn widen_moments(
        rows: f64,
        shift: &[f32],
        sum: &[f32],
        square: &[f32],
        wide_sum: &mut [f64],
        wide_square: &mut [f64],
    ) {
        let lanes = shift.len();
        let (sum, square) = (&sum[..lanes], &square[..lanes]);
        let (wide_sum, wide_square) = (&mut wide_sum[..lanes], &mut wide_square[..lanes]);
        for i in 0..lanes {
            let (shift, sum) = (f64::from(shift[i]), f64::from(sum[i]));
            wide_sum[i] += rows * shift + sum;
            wide_square[i] += f64::from(square[i]) + shift * (2.0 * sum + rows * shift);
        }
    }
}

/// Sets each element of `$out` to `$value`, an expression of the loop index, row by row of `$x`. The last row may be
/// short. All coefficients are cut to the row's length, so that the loop has no bounds checks to stop the vectoriser.
macro_rules! rows {
    ($x:ident, $out:ident, [$($coefficient:ident),*], |$i:ident| $value:expr) => {
        let lanes = [$($coefficient.len()),*][0];
        for ($x, $out) in $x.chunks(lanes).zip($out.chunks_mut(lanes)) {
            let n = $x.len();
            let $out = &mut $out[..n];
            $(let $coefficient = &$coefficient[..n];)*
            for $i in 0..n {
                $out[$i] = $value;
            }
        }
    };
    ($x:ident, $grad:ident, $out:ident, [$($coefficient:ident),*], |$i:ident| $value:expr) => {
        let lanes = [$($coefficient.len()),*][0];
        for (($x, $grad), $out) in $x.chunks(lanes).zip($grad.chunks(lanes)).zip($out.chunks_mut(lanes)) {
            let n = $x.len();
            let ($grad, $out) = (&$grad[..n], &mut $out[..n]);
            $(let $coefficient = &$coefficient[..n];)*
            for $i in 0..n {
                $out[$i] = $value;
            }
        }
    };
}

multiversion! {
    pub(super) fn affine_plain(x: &[f32], mean: &[f32], slope: &[f32], offset: &[f32], out: &mut [f32]) {
        rows!(x, out, [mean, slope, offset], |i| {
            madd::<FUSED>(x[i] - mean[i], slope[i], offset[i])
        });
    }
}

multiversion! {
    pub(super) fn affine_silu(x: &[f32], mean: &[f32], slope: &[f32], offset: &[f32], out: &mut [f32]) {
        rows!(x, out, [mean, slope, offset], |i| {
            silu_at::<FUSED>(madd::<FUSED>(x[i] - mean[i], slope[i], offset[i]))
        });
    }
}

multiversion! {
    /// out = grad * slope of SiLU at the pre-activation.
    pub(super) fn silu_gradient(x: &[f32], grad: &[f32], mean: &[f32], slope: &[f32], offset: &[f32], out: &mut [f32]) {
        rows!(x, grad, out, [mean, slope, offset], |i| {
            grad[i] * silu_slope_at::<FUSED>(madd::<FUSED>(x[i] - mean[i], slope[i], offset[i]))
        });
    }
}

multiversion! {
    /// out = slope of SiLU at the pre-activation times how that changes, along slope + (x - mean) of_x + constant.
    pub(super) fn silu_tangent(
        x: &[f32],
        along: &[f32],
        mean: &[f32],
        slope: &[f32],
        offset: &[f32],
        constant: &[f32],
        of_x: &[f32],
        out: &mut [f32],
    ) {
        rows!(x, along, out, [mean, slope, offset, constant, of_x], |i| {
            let d = x[i] - mean[i];
            let change = madd::<FUSED>(d, of_x[i], madd::<FUSED>(along[i], slope[i], constant[i]));
            change * silu_slope_at::<FUSED>(madd::<FUSED>(d, slope[i], offset[i]))
        });
    }
}

multiversion! {
    /// Adds up grad and grad (x - mean) over rows, the last of which may be short.
    pub(super) fn gradient_moments(x: &[f32], grad: &[f32], mean: &[f32], sum: &mut [f32], product: &mut [f32]) {
        let lanes = mean.len();
        for (x, g) in x.chunks(lanes).zip(grad.chunks(lanes)) {
            let n = x.len();
            let (g, mean, sum, product) = (&g[..n], &mean[..n], &mut sum[..n], &mut product[..n]);
            for i in 0..n {
                sum[i] += g[i];
                product[i] = madd::<FUSED>(g[i], x[i] - mean[i], product[i]);
            }
        }
    }
}

multiversion! {
    pub(super) fn grad_input(
        x: &[f32],
        grad: &[f32],
        mean: &[f32],
        of_grad: &[f32],
        constant: &[f32],
        of_x: &[f32],
        out: &mut [f32],
    ) {
        rows!(x, grad, out, [mean, of_grad, constant, of_x], |i| {
            madd::<FUSED>(x[i] - mean[i], of_x[i], madd::<FUSED>(grad[i], of_grad[i], constant[i]))
        });
    }
}

multiversion! {
    /// The same with the gradient already in `out`.
    pub(super) fn grad_input_in_place(
        x: &[f32],
        mean: &[f32],
        of_grad: &[f32],
        constant: &[f32],
        of_x: &[f32],
        out: &mut [f32],
    ) {
        rows!(x, out, [mean, of_grad, constant, of_x], |i| {
            madd::<FUSED>(x[i] - mean[i], of_x[i], madd::<FUSED>(out[i], of_grad[i], constant[i]))
        });
    }
}
