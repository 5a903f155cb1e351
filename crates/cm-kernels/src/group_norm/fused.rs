//! One image of a group normalisation, vectorised over *lanes*.
//!
//! Channels alone make poor vectors (24 of them, say), so an image is read as rows of `lanes` values: as many
//! pixels as make the row whole vectors long and not short. A lane always holds the same channel; coefficients
//! are repeated to the length of a row, and sums over a lane are folded to channels at the end.

use super::lanes::{
    affine_plain, affine_silu, grad_input, grad_input_in_place, gradient_moments, mean_of_four,
    shifted_moments, silu_gradient, silu_tangent, widen_moments,
};
use super::{Affine, Along, GroupNormShape};
use crate::dispatch::Isa;

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
    coefficients: [Vec<f32>; 5],
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
            coefficients: std::array::from_fn(|_| zeros()),
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
        let [mean, slope, offset, ..] = &self.coefficients;
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
        self.pre_activation(channels, affine, n, stats);
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
        let [mean, of_grad, constant, of_x, _] = &self.coefficients;
        if silu {
            grad_input_in_place(isa, x, mean, of_grad, constant, of_x, grad_x);
        } else {
            grad_input(isa, x, grad_out, mean, of_grad, constant, of_x, grad_x);
        }
    }

    /// How the output of image `n` changes. With n = (x - mean) rstd and m the mean of a group,
    /// n' = rstd (x' - m(x') - n m(n x')), to which the changes of the affine map are added as multiples of n and 1.
    pub(super) fn tangent(
        &mut self,
        isa: Isa,
        shape: &GroupNormShape,
        x: &[f32],
        affine: &Affine,
        n: usize,
        silu: bool,
        stats: &[f32],
        along_x: &[f32],
        along: &Along,
        out: &mut [f32],
    ) {
        let channels = shape.channels;
        let per_group = channels / shape.groups;
        self.pre_activation(channels, affine, n, stats);
        self.repeat(channels, 1);
        self.gradient_sums(isa, x, false, along_x, out);
        self.fold(channels);
        let count = (shape.pixels * per_group) as f64;
        for g in 0..shape.groups {
            let range = g * per_group..(g + 1) * per_group;
            let rstd = f64::from(stats[g * 2 + 1]);
            let mean = self.wide_sum[range.clone()].iter().sum::<f64>() / count;
            let mean_product = self.wide_square[range.clone()].iter().sum::<f64>() / count;
            for c in range {
                let at = |part: Option<&[f32]>, index: usize| part.map_or(0.0, |part| f64::from(part[index]));
                let (gain, _) = modulation(affine, n, channels, c);
                let [gamma, beta] = [affine.gamma, affine.beta].map(|part| f64::from(part[c]));
                let [scale, shift] = [along.scale, along.shift].map(|part| at(part, n * channels + c));
                let slope = rstd * gamma * gain;
                let of_normal = at(along.gamma, c) * gain + gamma * scale;
                let constant = at(along.beta, c) * gain + beta * scale + shift;
                self.coefficients[3][c] = (constant - slope * mean) as f32;
                self.coefficients[4][c] = (rstd * of_normal - slope * rstd * rstd * mean_product) as f32;
            }
        }
        self.repeat(channels, 5);
        let [mean, slope, offset, constant, of_x] = &self.coefficients;
        if silu {
            silu_tangent(isa, x, along_x, mean, slope, offset, constant, of_x, out);
        } else {
            grad_input(isa, x, along_x, mean, slope, constant, of_x, out);
        }
    }

    /// Mean, slope and offset of what comes before the activation, from the statistics.
    fn pre_activation(&mut self, channels: usize, affine: &Affine, n: usize, stats: &[f32]) {
        let per_group = channels / (stats.len() / 2);
        for c in 0..channels {
            let [mean, rstd] = [stats[c / per_group * 2], stats[c / per_group * 2 + 1]];
            let (gain, offset) = modulation(affine, n, channels, c);
            self.coefficients[0][c] = mean;
            self.coefficients[1][c] = (f64::from(rstd) * f64::from(affine.gamma[c]) * gain) as f32;
            self.coefficients[2][c] = (f64::from(affine.beta[c]) * gain + offset) as f32;
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
        let [mean, slope, offset, ..] = &self.coefficients;
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
