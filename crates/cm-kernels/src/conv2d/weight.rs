//! Weights turned for the backward pass.

use std::ops::Range;

use crate::threads::{SharedMut, for_each_piece_if};

/// Turns a part of a weight `[taps, channels, depth]` by half a turn and exchanges its channels:
/// `to[tap, d - rows.start, c - columns.start] = weight[taps - 1 - tap, c, d]` for `d` in `rows` and `c` in `columns`.
pub(super) fn turn(
    weight: &[f32],
    (depth, channels): (usize, usize),
    rows: Range<usize>,
    columns: Range<usize>,
    to: &mut [f32],
) {
    let taps = to.chunks_exact_mut(rows.len() * columns.len());
    for (from, to) in weight.chunks_exact(depth * channels).rev().zip(taps) {
        turn_tap(from, depth, rows.clone(), columns.clone(), to);
    }
}

/// Rows that one piece of [`turn_whole`] writes.
const TURN_ROWS: usize = 64;

/// Turns a whole weight, see [`turn`], in parallel.
pub(super) fn turn_whole(weight: &[f32], (depth, channels): (usize, usize), to: &mut [f32]) {
    let taps = weight.len() / (depth * channels);
    let pieces = depth.div_ceil(TURN_ROWS);
    let to = SharedMut::new(to);
    let turn = |piece: usize| {
        let (tap, first) = (piece / pieces, piece % pieces * TURN_ROWS);
        let rows = first..(first + TURN_ROWS).min(depth);
        let from = &weight[(taps - 1 - tap) * depth * channels..][..depth * channels];
        // SAFETY: each piece has its own rows of its own tap.
        let to = unsafe { to.slice((tap * depth + first) * channels, rows.len() * channels) };
        turn_tap(from, depth, rows, 0..channels, to);
    };
    for_each_piece_if(weight.len(), taps * pieces, turn);
}

/// `to[d - rows.start, c - columns.start] = from[c, d]`.
fn turn_tap(from: &[f32], depth: usize, rows: Range<usize>, columns: Range<usize>, to: &mut [f32]) {
    let (height, width) = (rows.len(), columns.len());
    let from = &from[columns.start * depth + rows.start..];
    // In squares, so that the lines written stay in the first-level cache.
    for c0 in (0..width).step_by(SQUARE) {
        for d0 in (0..height).step_by(SQUARE) {
            let (from, to) = (&from[c0 * depth + d0..], &mut to[d0 * width + c0..]);
            if c0 + SQUARE <= width && d0 + SQUARE <= height {
                transpose_square(from, depth, to, width);
            } else {
                for c in 0..SQUARE.min(width - c0) {
                    for d in 0..SQUARE.min(height - d0) {
                        to[d * width + c] = from[c * depth + d];
                    }
                }
            }
        }
    }
}

const SQUARE: usize = 16;

/// Transposes a square between matrices of rows `from_row` and `to_row` apart, in squares of 4 that fit registers.
fn transpose_square(from: &[f32], from_row: usize, to: &mut [f32], to_row: usize) {
    for c0 in (0..SQUARE).step_by(4) {
        for d0 in (0..SQUARE).step_by(4) {
            let rows: [[f32; 4]; 4] = std::array::from_fn(|c| {
                let row = &from[(c0 + c) * from_row + d0..][..4];
                std::array::from_fn(|d| row[d])
            });
            for d in 0..4 {
                to[(d0 + d) * to_row + c0..][..4].copy_from_slice(&rows.map(|row| row[d]));
            }
        }
    }
}
