//! One image of a group normalisation, vectorised over *lanes*.
//!
//! Channels alone make poor vectors (24 of them, say), so an image is read as rows of `lanes` values: as many
//! pixels as make the row whole vectors long and not short. A lane always holds the same channel; coefficients
//! are repeated to the length of a row, and sums over a lane are folded to channels at the end.

use super::{Affine, GroupNormShape};
use crate::activation::{silu_at, silu_slope_at};
use crate::dispatch::Isa;
use crate::elementwise::multiversion::{madd, multiversion};

/// Rows summed in single precision before the sums go to double precision.
const CHUNK_ROWS: usize = 64;

/// A row has at least this many lanes, so that a loop over it is worth starting.
const MIN_LANES: usize = 128;

/// A row is a multiple of this many lanes: four AVX-512 vectors, the step of an unrolled loop.
const STEP: usize = 64;

/// Scratch space for one image, reused for the images of one piece.
pub(super) struct Work {
    lanes: usize,
    shift: Vec<f32>,
    sum: Vec<f32>,
    square: Vec<f32>,
    wide_sum: Vec<f64>,
    wide_square: Vec<f64>,
    /// Coefficients per lane; what each means is the user's affair.
    coefficients: [Vec<f32>; 4],
}

/// Pixels per row: rows become a multiple of [`STEP`] and at least [`MIN_LANES`] long.
fn pixels_per_row(channels: usize) -> usize {
    let mut pixels = STEP >> channels.trailing_zeros().min(STEP.trailing_zeros());
    while pixels * channels < MIN_LANES {
        pixels *= 2;
    }
    pixels
}

impl Work {
    pub(super) fn new(shape: &GroupNormShape) -> Self {
        let lanes = pixels_per_row(shape.channels) * shape.channels;
        let zeros = || vec![0.0; lanes];
        Self {
            lanes,
            shift: zeros(),
            sum: zeros(),
            square: zeros(),
            wide_sum: vec![0.0; lanes],
            wide_square: vec![0.0; lanes],
            coefficients: [zeros(), zeros(), zeros(), zeros()],
        }
    }

    /// Output and statistics of image `n`.
    pub(super) fn forward(
        &mut self,
        isa: Isa,
        shape: &GroupNormShape,
        x: &[f32],
        affine: &Affine,
        n: usize,
        silu: bool,
        out: &mut [f32],
        stats: &mut [f32],
    ) {
        let channels = shape.channels;
        self.moments(isa, x);
        self.fold(channels);
        let per_group = channels / shape.groups;
        let count = (shape.pixels * per_group) as f64;
        for (g, stats) in stats.chunks_exact_mut(2).enumerate() {
            let range = g * per_group..(g + 1) * per_group;
            let mean = self.wide_sum[range.clone()].iter().sum::<f64>() / count;
            let square = self.wide_square[range.clone()].iter().sum::<f64>() / count;
            let variance = square - mean * mean;
            // Rounding may leave a variance of nothing slightly negative; NaN stays.
            let variance = if variance < 0.0 { 0.0 } else { variance };
            let rstd = 1.0 / (variance + f64::from(shape.eps)).sqrt();
            // The mean's rounding to f32 would be an error of the output where the mean is large: its remainder
            // goes into the offset.
            let high = mean as f32;
            stats.copy_from_slice(&[high, rstd as f32]);
            for c in range {
                let (gain, offset) = modulation(affine, n, channels, c);
                let slope = rstd * f64::from(affine.gamma[c]) * gain;
                let low = mean - f64::from(high);
                self.coefficients[0][c] = high;
                self.coefficients[1][c] = slope as f32;
                self.coefficients[2][c] = (f64::from(affine.beta[c]) * gain + offset - low * slope) as f32;
            }
        }
        self.repeat(channels, 3);
        let [mean, slope, offset, _] = &self.coefficients;
        if silu {
            affine_silu(isa, x, mean, slope, offset, out);
        } else {
            affine_plain(isa, x, mean, slope, offset, out);
        }
    }

    /// Gradient in x of image `n`; `sums[c]` gets the sums of the pre-activation gradient and of it times the
    /// normalised input.
    pub(super) fn backward(
        &mut self,
        isa: Isa,
        shape: &GroupNormShape,
        x: &[f32],
        affine: &Affine,
        n: usize,
        silu: bool,
        stats: &[f32],
        grad_out: &[f32],
        grad_x: &mut [f32],
        sums: &mut [[f32; 2]],
    ) {
        let channels = shape.channels;
        let per_group = channels / shape.groups;
        for c in 0..channels {
            let [mean, rstd] = [stats[c / per_group * 2], stats[c / per_group * 2 + 1]];
            let (gain, offset) = modulation(affine, n, channels, c);
            self.coefficients[0][c] = mean;
            self.coefficients[1][c] = (f64::from(rstd) * f64::from(affine.gamma[c]) * gain) as f32;
            self.coefficients[2][c] = (f64::from(affine.beta[c]) * gain + offset) as f32;
        }
        self.repeat(channels, 3);
        self.gradient_sums(isa, x, silu, grad_out, grad_x);
        self.fold(channels);

        let count = (shape.pixels * per_group) as f64;
        for g in 0..shape.groups {
            let rstd = f64::from(stats[g * 2 + 1]);
            let (mut mean_grad, mut mean_grad_x) = (0.0_f64, 0.0_f64);
            for (c, sums) in sums.iter_mut().enumerate().skip(g * per_group).take(per_group) {
                let gain = f64::from(affine.gamma[c]) * modulation(affine, n, channels, c).0;
                let times_x = self.wide_square[c] * rstd;
                mean_grad += gain * self.wide_sum[c];
                mean_grad_x += gain * times_x;
                *sums = [self.wide_sum[c] as f32, times_x as f32];
                self.coefficients[1][c] = (gain * rstd) as f32;
            }
            for c in g * per_group..(g + 1) * per_group {
                self.coefficients[2][c] = (-rstd * mean_grad / count) as f32;
                self.coefficients[3][c] = (-rstd * rstd * mean_grad_x / count) as f32;
            }
        }
        self.repeat(channels, 4);
        let [mean, of_grad, constant, of_x] = &self.coefficients;
        if silu {
            grad_input_in_place(isa, x, mean, of_grad, constant, of_x, grad_x);
        } else {
            grad_input(isa, x, grad_out, mean, of_grad, constant, of_x, grad_x);
        }
    }

    /// Sums of x and of its square over each lane, into the wide sums.
    fn moments(&mut self, isa: Isa, x: &[f32]) {
        let lanes = self.lanes;
        self.wide_sum.fill(0.0);
        self.wide_square.fill(0.0);
        let whole = x.len() / lanes * lanes;
        for chunk in x[..whole].chunks(CHUNK_ROWS * lanes) {
            // Sums of differences from the mean of four rows of the chunk: a value among them that is far from the
            // rest is itself part of the variance, so the loss of digits is bounded by the chunk's length.
            let last = chunk.len() / lanes - 1;
            let row = |i: usize| &chunk[i * lanes..(i + 1) * lanes];
            mean_of_four(isa, [row(0), row(last / 3), row(last * 2 / 3), row(last)], &mut self.shift);
            shifted_moments(isa, chunk, &self.shift, &mut self.sum, &mut self.square);
            let rows = (chunk.len() / lanes) as f64;
            widen_moments(
                isa,
                rows,
                &self.shift,
                &self.sum,
                &self.square,
                &mut self.wide_sum,
                &mut self.wide_square,
            );
        }
        for ((&x, sum), square) in x[whole..].iter().zip(&mut self.wide_sum).zip(&mut self.wide_square) {
            let x = f64::from(x);
            *sum += x;
            *square += x * x;
        }
    }

    /// Sums over each lane of the pre-activation gradient and of it times (x - mean), into the wide sums. With
    /// SiLU, `grad_x` receives the pre-activation gradient, so that the slope is worked out only once.
    fn gradient_sums(&mut self, isa: Isa, x: &[f32], silu: bool, grad_out: &[f32], grad_x: &mut [f32]) {
        self.wide_sum.fill(0.0);
        self.wide_square.fill(0.0);
        let piece = CHUNK_ROWS * self.lanes;
        let [mean, slope, offset, _] = &self.coefficients;
        for ((x, g), out) in x.chunks(piece).zip(grad_out.chunks(piece)).zip(grad_x.chunks_mut(piece)) {
            self.sum.fill(0.0);
            self.square.fill(0.0);
            if silu {
                silu_gradient(isa, x, g, mean, slope, offset, out);
                gradient_moments(isa, x, out, mean, &mut self.sum, &mut self.square);
            } else {
                gradient_moments(isa, x, g, mean, &mut self.sum, &mut self.square);
            }
            for (wide, &narrow) in self.wide_sum.iter_mut().zip(&self.sum) {
                *wide += f64::from(narrow);
            }
            for (wide, &narrow) in self.wide_square.iter_mut().zip(&self.square) {
                *wide += f64::from(narrow);
            }
        }
    }

    /// Adds the lanes of each channel into the first `channels` wide sums.
    fn fold(&mut self, channels: usize) {
        for wide in [&mut self.wide_sum, &mut self.wide_square] {
            let (folded, rest) = wide.split_at_mut(channels);
            for pixel in rest.chunks_exact(channels) {
                for (sum, lane) in folded.iter_mut().zip(pixel) {
                    *sum += lane;
                }
            }
        }
    }

    /// Copies the first `channels` values of the first `count` coefficients to all lanes.
    fn repeat(&mut self, channels: usize, count: usize) {
        for coefficient in &mut self.coefficients[..count] {
            let (first, rest) = coefficient.split_at_mut(channels);
            for pixel in rest.chunks_exact_mut(channels) {
                pixel.copy_from_slice(first);
            }
        }
    }
}

/// 1 + scale and shift of channel `c` of image `n`.
fn modulation(affine: &Affine, n: usize, channels: usize, c: usize) -> (f64, f64) {
    affine.film.map_or((1.0, 0.0), |film| {
        (1.0 + f64::from(film.scale[n * channels + c]), f64::from(film.shift[n * channels + c]))
    })
}

multiversion! {
    fn mean_of_four(rows: [&[f32]; 4], mean: &mut [f32]) {
        let n = mean.len();
        let [a, b, c, d] = rows.map(|row| &row[..n]);
        for i in 0..n {
            mean[i] = 0.25 * ((a[i] + b[i]) + (c[i] + d[i]));
        }
    }
}

multiversion! {
    /// Sums over the rows of `x` of (x - shift) and its square; `x` is whole rows.
    fn shifted_moments(x: &[f32], shift: &[f32], sum: &mut [f32], square: &mut [f32]) {
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
    fn widen_moments(
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
    fn affine_plain(x: &[f32], mean: &[f32], slope: &[f32], offset: &[f32], out: &mut [f32]) {
        rows!(x, out, [mean, slope, offset], |i| {
            madd::<FUSED>(x[i] - mean[i], slope[i], offset[i])
        });
    }
}

multiversion! {
    fn affine_silu(x: &[f32], mean: &[f32], slope: &[f32], offset: &[f32], out: &mut [f32]) {
        rows!(x, out, [mean, slope, offset], |i| {
            silu_at::<FUSED>(madd::<FUSED>(x[i] - mean[i], slope[i], offset[i]))
        });
    }
}

multiversion! {
    /// out = grad * slope of SiLU at the pre-activation.
    fn silu_gradient(x: &[f32], grad: &[f32], mean: &[f32], slope: &[f32], offset: &[f32], out: &mut [f32]) {
        rows!(x, grad, out, [mean, slope, offset], |i| {
            grad[i] * silu_slope_at::<FUSED>(madd::<FUSED>(x[i] - mean[i], slope[i], offset[i]))
        });
    }
}

multiversion! {
    /// Adds up grad and grad (x - mean) over rows, the last of which may be short.
    fn gradient_moments(x: &[f32], grad: &[f32], mean: &[f32], sum: &mut [f32], product: &mut [f32]) {
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
    fn grad_input(
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
    fn grad_input_in_place(
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
