//! Weights rearranged: turned for the backward pass, packed into panels for the matrix product.

use std::ops::Range;

use super::product::panels;

/// Turns a weight `[taps, channels, depth]` by half a turn and exchanges its channels:
/// `to[tap, d - range.start, c] = weight[taps - 1 - tap, c, d]` for `d` in `range`.
pub(super) fn turn(weight: &[f32], (depth, channels): (usize, usize), range: Range<usize>, to: &mut [f32]) {
    let (width, height) = (range.len(), channels);
    for (from, to) in weight.chunks_exact(depth * channels).rev().zip(to.chunks_exact_mut(width * height)) {
        // In squares, so that the lines written stay in the first-level cache.
        for c0 in (0..channels).step_by(SQUARE) {
            for d0 in (0..width).step_by(SQUARE) {
                for c in c0..(c0 + SQUARE).min(channels) {
                    let row = &from[c * depth + range.start + d0..][..SQUARE.min(width - d0)];
                    for (d, &value) in row.iter().enumerate() {
                        to[(d0 + d) * height + c] = value;
                    }
                }
            }
        }
    }
}

const SQUARE: usize = 16;

/// Packs a row-major `[depth, channels]` matrix into panels for vectors of `lanes` floats, padded with zeros.
pub(super) fn pack(matrix: &[f32], channels: usize, lanes: usize, to: &mut [f32]) {
    let depth = matrix.len() / channels;
    for (first, width) in panels(channels.div_ceil(lanes)) {
        let (from, width) = (first * lanes, width * lanes);
        let count = width.min(channels - from);
        let panel = &mut to[from * depth..][..width * depth];
        for (row, to) in matrix.chunks_exact(channels).zip(panel.chunks_exact_mut(width)) {
            let (values, padding) = to.split_at_mut(count);
            values.copy_from_slice(&row[from..from + count]);
            padding.fill(0.0);
        }
    }
}
