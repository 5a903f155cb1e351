//! LPIPS's distance of one layer's features, and its gradient by the first.
//!
//! Everything is in `f64` between the features and the result. Sums run in eight lanes side by side, the same in
//! every instruction set, so that all give the same bits.

#[cfg(test)]
mod tests;

use crate::dispatch::isa;
use crate::distance::{check, for_each_row};
use crate::elementwise::multiversion::multiversion;

/// Sums that run side by side: a vector of `f64` in the widest instruction set.
const LANES: usize = 8;

/// Added to the length of a feature vector before dividing by it, as LPIPS does.
const LENGTH_EPS: f64 = 1e-10;

/// The distance of one layer (Zhang et al. 2018, Equation 1): features of each pixel brought to unit length over the
/// channels, squared differences summed over channels with `weights` and averaged over pixels.
///
/// `x`, `y`: `rows` images of pixels of as many features as there are weights.
///
/// # Panics
/// If the slices do not hold `rows` images of one size with whole pixels.
pub fn unit_feature_distance(rows: usize, weights: &[f32], x: &[f32], y: &[f32], out: &mut [f32]) {
    let (dim, isa) = (image_len(rows, weights, x, y), isa());
    assert_eq!(out.len(), rows, "one distance for each image");
    for_each_row(rows, dim, out, 1, |row, out| {
        let (x, y) = (&x[row * dim..][..dim], &y[row * dim..][..dim]);
        out[0] = (image_sum(isa, weights, x, y) / (dim / weights.len()) as f64) as f32;
    });
}

/// The gradient of [`unit_feature_distance`] by `x`: of the sum of `grad_out`\[i\] x distance\[i\].
///
/// # Panics
/// As [`unit_feature_distance`].
pub fn unit_feature_distance_backward(
    rows: usize,
    weights: &[f32],
    x: &[f32],
    y: &[f32],
    grad_out: &[f32],
    grad_x: &mut [f32],
) {
    let (dim, isa) = (image_len(rows, weights, x, y), isa());
    assert!(grad_out.len() == rows && grad_x.len() == x.len(), "gradients do not fit the images");
    for_each_row(rows, dim, grad_x, dim, |row, grad| {
        let (x, y) = (&x[row * dim..][..dim], &y[row * dim..][..dim]);
        let scale = 2.0 * f64::from(grad_out[row]) / (dim / weights.len()) as f64;
        image_gradient(isa, scale, weights, x, y, grad);
    });
}

/// Features of an image.
fn image_len(rows: usize, weights: &[f32], x: &[f32], y: &[f32]) -> usize {
    check(rows, x, y);
    let dim = x.len().checked_div(rows).unwrap_or(0);
    assert!(dim.is_multiple_of(weights.len()), "whole pixels");
    dim
}

multiversion! {
    /// The sum over the pixels of an image.
    fn image_sum(weights: &[f32], x: &[f32], y: &[f32]) -> f64 {
        let channels = weights.len();
        let mut lanes = [0.0; LANES];
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact(channels)) {
            let (of_x, of_y) = (1.0 / length(x), 1.0 / length(y));
            in_lanes([weights, x, y], &mut lanes, |[weight, x, y]| {
                let difference = x * of_x - y * of_y;
                weight * (difference * difference)
            });
        }
        total(lanes)
    }
}

multiversion! {
    /// `scale` times half the gradient of [`image_sum`] by `x`.
    fn image_gradient(scale: f64, weights: &[f32], x: &[f32], y: &[f32], grad: &mut [f32]) {
        let channels = weights.len();
        let pixels = x.chunks_exact(channels).zip(y.chunks_exact(channels));
        for ((x, y), grad) in pixels.zip(grad.chunks_exact_mut(channels)) {
            let long = length(x);
            let (of_x, of_y) = (1.0 / long, 1.0 / length(y));
            // u = x / (|x| + e): du_i/dx_j = (delta_ij - u_i x_j / |x|) / (|x| + e).
            let mut lanes = [0.0; LANES];
            in_lanes([weights, x, y], &mut lanes, |[weight, x, y]| weight * (x * of_x - y * of_y) * x);
            let bare = (long - LENGTH_EPS).max(f64::MIN_POSITIVE);
            let along = total(lanes) * of_x / bare;
            let scale = scale * of_x;
            let slope = |[weight, x, y]: [f64; 3]| scale * (weight * (x * of_x - y * of_y) - along * x);
            let ([weights, x, y], rest) = blocks([weights, x, y]);
            let (blocks, last) = grad.as_chunks_mut::<LANES>();
            for (block, grad) in blocks.iter_mut().enumerate() {
                let (weights, x, y) = (&weights[block], &x[block], &y[block]);
                for lane in 0..LANES {
                    grad[lane] = slope([weights[lane], x[lane], y[lane]].map(f64::from)) as f32;
                }
            }
            for (i, grad) in last.iter_mut().enumerate() {
                *grad = slope(rest.map(|rest| f64::from(rest[i]))) as f32;
            }
        }
    }
}

#[inline(always)]
fn length(x: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    in_lanes([x], &mut lanes, |[x]| x * x);
    total(lanes).sqrt() + LENGTH_EPS
}

/// Adds the value of each place of the slices, which are of one length, to the lane that is its turn.
#[inline(always)]
fn in_lanes<const K: usize>(slices: [&[f32]; K], lanes: &mut [f64; LANES], value: impl Fn([f64; K]) -> f64) {
    let (slices, rest) = blocks(slices);
    for block in 0..slices[0].len() {
        let slices = slices.map(|slice| &slice[block]);
        for lane in 0..LANES {
            lanes[lane] += value(slices.map(|slice| f64::from(slice[lane])));
        }
    }
    for i in 0..rest[0].len() {
        lanes[i] += value(rest.map(|slice| f64::from(slice[i])));
    }
}

/// Slices of one length as blocks of whole lanes, and what is left: arrays, so that loops over them have no bounds to
/// check.
#[inline(always)]
fn blocks<const K: usize>(slices: [&[f32]; K]) -> ([&[[f32; LANES]]; K], [&[f32]; K]) {
    let parts = slices.map(|slice| slice.as_chunks::<LANES>());
    (parts.map(|(blocks, _)| &blocks[..parts[0].0.len()]), parts.map(|(_, rest)| rest))
}

/// The sum of all lanes, halved again and again.
#[inline(always)]
fn total(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
