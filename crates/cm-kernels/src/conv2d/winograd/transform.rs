//! The two-dimensional transforms of runs of tiles and of weights, a vector of channels at a time, between images
//! or weights and the layouts of [`super::layout`].

#![expect(clippy::needless_range_loop, reason = "small matrices: indices name rows and columns, and unroll")]

use std::ops::Range;

use super::algorithm::{Algorithm, MAX_SIDE, MAX_TILE};
use super::layout::{Grouped, Panelled};
use super::tiles::Tiles;
use crate::conv2d::Epilogue;
use crate::product::vector::Vector;
use crate::product::{GROUP, panels};

/// The vectors of some channels: (vector, first channel, channels in use).
#[inline(always)]
fn vectors<V: Vector>(channels: Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..channels.len().div_ceil(V::LANES)).map(move |vector| {
        let channel = channels.start + vector * V::LANES;
        (vector, channel, V::LANES.min(channels.end - channel))
    })
}

/// `B^T d B` for the tiles of `range`. Columns past the last channel are 0.
///
/// # Safety
/// The instruction set of `V`; `x` holds all pixels of `tiles` with `channels` channels, `zeros` as many zeros, `to`
/// a row per tile.
#[inline(always)]
pub(super) unsafe fn input<V: Vector, A: Algorithm>(
    tiles: &Tiles,
    range: Range<usize>,
    (x, channels, zeros): (*const f32, usize, *const f32),
    (to, layout): (*mut f32, Grouped),
) {
    let layout = layout.of::<V>();
    for start in range.clone().step_by(GROUP) {
        let count = GROUP.min(range.end - start);
        let row = start - range.start;
        for i in 0..count {
            let addresses = tiles.inputs::<A>(start + i, x, channels, zeros);
            for (vector, channel, used) in vectors::<V>(0..channels) {
                // SAFETY: `used` channels of each pixel are there to read, and whole vectors to write.
                unsafe {
                    let to = (to.add(layout.at::<A>(row + i, vector)), layout.slot());
                    if used == V::LANES {
                        input_vector::<V, A, true>(&addresses, channel, used, to);
                    } else {
                        input_vector::<V, A, false>(&addresses, channel, used, to);
                    }
                }
            }
        }
    }
}

/// One vector of channels of one tile, `used` of them in use, to slots `slot` floats apart.
#[inline(always)]
unsafe fn input_vector<V: Vector, A: Algorithm, const WHOLE: bool>(
    from: &[[*const f32; MAX_SIDE]; MAX_SIDE],
    channel: usize,
    used: usize,
    (to, slot): (*mut f32, usize),
) {
    // SAFETY: the caller's.
    unsafe {
        let mut half = [[V::splat(0.0); MAX_SIDE]; MAX_SIDE];
        for c in 0..A::SIDE {
            let mut column = [V::splat(0.0); MAX_SIDE];
            for r in 0..A::SIDE {
                let from = from[r][c].add(channel);
                column[r] = if WHOLE { V::load(from) } else { V::load_first(from, used) };
            }
            half[c] = A::input(column);
        }
        for r in 0..A::SIDE {
            let row = A::input([half[0][r], half[1][r], half[2][r], half[3][r], half[4][r], half[5][r]]);
            for c in 0..A::SIDE {
                row[c].store(to.add((r * A::SIDE + c) * slot));
            }
        }
    }
}

/// `A y A^T` for the tiles of `range`: the output gradient `y` in the transformed domain.
///
/// # Safety
/// The instruction set of `V`; `y` holds all pixels of `tiles` with `channels` channels, `to` a row per tile.
#[inline(always)]
pub(super) unsafe fn grad_output<V: Vector, A: Algorithm>(
    tiles: &Tiles,
    range: Range<usize>,
    (y, channels): (*const f32, usize),
    (to, layout): (*mut f32, Grouped),
) {
    let layout = layout.of::<V>();
    for start in range.clone().step_by(GROUP) {
        let count = GROUP.min(range.end - start);
        let row = start - range.start;
        for i in 0..count {
            let pixels = tiles.outputs::<A>(start + i, channels);
            for (vector, channel, used) in vectors::<V>(0..channels) {
                // SAFETY: `used` channels of each pixel are there to read, and whole vectors to write.
                unsafe {
                    let mut half = [[V::splat(0.0); MAX_SIDE]; MAX_TILE];
                    for c in 0..A::TILE {
                        let mut column = [V::splat(0.0); MAX_TILE];
                        for r in 0..A::TILE {
                            if let Some(pixel) = pixels[r][c] {
                                column[r] = V::load_first(y.add(pixel + channel), used);
                            }
                        }
                        half[c] = A::grad_output(column);
                    }
                    let to = to.add(layout.at::<A>(row + i, vector));
                    for r in 0..A::SIDE {
                        let row = A::grad_output([half[0][r], half[1][r], half[2][r], half[3][r]]);
                        for c in 0..A::SIDE {
                            row[c].store(to.add((r * A::SIDE + c) * layout.slot()));
                        }
                    }
                }
            }
        }
    }
}

/// `A^T m A` for the tiles of `range` and the channels `columns`, through the epilogue to `out`.
///
/// # Safety
/// The instruction set of `V`; `from` holds a row per tile and the vectors of `columns`, `out` all pixels of `tiles`
/// with `channels` channels, those of the range and the columns nobody else's; the epilogue's parts have their sizes.
#[inline(always)]
pub(super) unsafe fn output<V: Vector, A: Algorithm>(
    tiles: &Tiles,
    range: Range<usize>,
    (from, layout): (*const f32, Grouped),
    epilogue: &Epilogue,
    (out, channels, columns): (*mut f32, usize, Range<usize>),
) {
    let layout = layout.of::<V>();
    for start in range.clone().step_by(GROUP) {
        let count = GROUP.min(range.end - start);
        let row = start - range.start;
        for i in 0..count {
            let pixels = tiles.outputs::<A>(start + i, channels);
            for (vector, channel, used) in vectors::<V>(columns.clone()) {
                // SAFETY: whole vectors are there to read, `used` channels of each pixel and bias otherwise.
                unsafe {
                    let from = from.add(layout.at::<A>(row + i, vector));
                    let mut half = [[V::splat(0.0); MAX_SIDE]; MAX_TILE];
                    for c in 0..A::SIDE {
                        let mut column = [V::splat(0.0); MAX_SIDE];
                        for r in 0..A::SIDE {
                            column[r] = V::load(from.add((r * A::SIDE + c) * layout.slot()));
                        }
                        let column = A::output(column);
                        for r in 0..A::TILE {
                            half[r][c] = column[r];
                        }
                    }
                    let biases = epilogue.biases::<V>(tiles.image(start + i), channel, channels, used);
                    for r in 0..A::TILE {
                        let sums = A::output(half[r]);
                        for c in 0..A::TILE {
                            if let Some(pixel) = pixels[r][c] {
                                epilogue.finish(sums[c], biases, out, pixel + channel, used);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `G g G^T` for the input channels `range` of a weight.
///
/// `from` holds for each of 9 taps, `tap_step` floats apart, rows for the channels of `range`, `row_step` floats apart,
/// of which the first `channels` floats are used; `to` is the whole transformed weight.
///
/// # Safety
/// The instruction set of `V`; all that readable, and `to` writable and, for the channels of `range`, nobody else's.
#[inline(always)]
pub(super) unsafe fn weight<V: Vector, A: Algorithm>(
    range: Range<usize>,
    (from, tap_step, row_step): (*const f32, usize, usize),
    channels: usize,
    (to, layout): (*mut f32, Panelled),
) {
    let layout = layout.of::<V>();
    for (first, width) in panels(layout.vectors) {
        for k in range.clone() {
            for vector in 0..width {
                let channel = (first + vector) * V::LANES;
                let used = V::LANES.min(channels - channel);
                // SAFETY: `used` channels are there to read, and whole vectors to write.
                unsafe {
                    let from = from.add((k - range.start) * row_step + channel);
                    let to = to.add(layout.at::<A>((first, width), k) + vector * V::LANES);
                    let mut half = [[V::splat(0.0); MAX_SIDE]; 3];
                    for c in 0..3 {
                        let mut column = [V::splat(0.0); 3];
                        for r in 0..3 {
                            column[r] = V::load_first(from.add((r * 3 + c) * tap_step), used);
                        }
                        half[c] = A::weight(column);
                    }
                    for r in 0..A::SIDE {
                        let row = A::weight([half[0][r], half[1][r], half[2][r]]);
                        for c in 0..A::SIDE {
                            row[c].store(to.add((r * A::SIDE + c) * width * layout.slot()));
                        }
                    }
                }
            }
        }
    }
}

/// `G^T u G` for the input channels `range` and the output channels `columns`, where `u` is the sum of `parts`
/// transformed gradients, added in order.
///
/// # Safety
/// The instruction set of `V`; `from` holds the parts, `part` floats apart, each with a row per input channel from
/// `first` on and the vectors of `columns`; `to` is the whole gradient `[3, 3, depth, channels]`, in the rows of
/// `range` and these columns nobody else's.
#[inline(always)]
pub(super) unsafe fn grad_weight<V: Vector, A: Algorithm>(
    range: Range<usize>,
    columns: Range<usize>,
    (from, layout, first): (*const f32, Grouped, usize),
    (parts, part): (usize, usize),
    (to, depth, channels): (*mut f32, usize, usize),
) {
    let layout = layout.of::<V>();
    for k in range {
        for (vector, channel, used) in vectors::<V>(columns.clone()) {
            // SAFETY: whole vectors are there to read, and `used` channels to write.
            unsafe {
                let from = from.add(layout.at::<A>(k - first, vector));
                let mut half = [[V::splat(0.0); MAX_SIDE]; 3];
                for c in 0..A::SIDE {
                    let mut column = [V::splat(0.0); MAX_SIDE];
                    for r in 0..A::SIDE {
                        let slot = from.add((r * A::SIDE + c) * layout.slot());
                        column[r] = V::load(slot);
                        for i in 1..parts {
                            column[r] = column[r].add(V::load(slot.add(i * part)));
                        }
                    }
                    let column = A::grad_weight(column);
                    for r in 0..3 {
                        half[r][c] = column[r];
                    }
                }
                for r in 0..3 {
                    let row = A::grad_weight(half[r]);
                    for c in 0..3 {
                        let to = to.add(((r * 3 + c) * depth + k) * channels + channel);
                        row[c].store_first(to, used);
                    }
                }
            }
        }
    }
}
