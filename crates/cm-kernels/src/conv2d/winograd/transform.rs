//! The two-dimensional transforms of runs of tiles and of weights, a vector of channels at a time.
//!
//! A transformed run is [`Slots`]: for each of the SLOTS positions of a transformed tile a matrix with one row per
//! tile (or per input channel, for weights) and the channels along the row.

use std::ops::Range;

use super::algorithm::{Algorithm, MAX_SIDE, MAX_TILE};
use super::tiles::Tiles;
use crate::conv2d::Epilogue;
use crate::conv2d::product::panels;
use crate::conv2d::vector::Vector;

/// The layout of the matrices of a transformed run.
#[derive(Clone, Copy)]
pub(super) struct Slots {
    /// Floats from one matrix to the next.
    pub(super) step: usize,
    /// Floats from one row to the next.
    pub(super) row: usize,
}

impl Slots {
    /// Matrices of `rows` rows of `row` floats. Matrices start an odd number of cache lines apart, so that the
    /// stores of one tile do not all fall into one set of the cache.
    pub(super) fn new(rows: usize, row: usize) -> Self {
        Self { step: (rows * row).next_multiple_of(32) + 16, row }
    }

    /// Floats of all matrices.
    pub(super) fn len<A: Algorithm>(self) -> usize {
        self.step * A::SLOTS
    }
}

type Side<V> = [[V; MAX_SIDE]; MAX_SIDE];

/// `B^T d B` for the tiles of `range`; rows of `to` have at least `channels` floats. Floats past `channels` that a
/// row has are written as 0 if the row is padded to whole vectors.
///
/// # Safety
/// The instruction set of `V`; `x` holds all pixels of `tiles` with `channels` channels, `zeros` at least `channels`
/// zeros rounded up to whole vectors, `to` the slots.
#[inline(always)]
pub(super) unsafe fn input<V: Vector, A: Algorithm>(
    tiles: &Tiles,
    range: Range<usize>,
    (x, channels, zeros): (*const f32, usize, *const f32),
    to: *mut f32,
    slots: Slots,
) {
    for (row, index) in range.enumerate() {
        let from = tiles.inputs::<A>(tiles.get(index), x, channels, zeros);
        let to = to.wrapping_add(row * slots.row);
        let whole = channels - channels % V::LANES;
        // SAFETY: these channels of each pixel are there to read, and of each slot's row to write.
        unsafe {
            for channel in (0..whole).step_by(V::LANES) {
                input_vector::<V, A, true>(&from, channel, V::LANES, to, slots.step);
            }
            if whole < channels {
                input_vector::<V, A, false>(&from, whole, channels - whole, to, slots.step);
            }
        }
    }
}

/// One vector of channels of one tile, `count` of them in use.
#[inline(always)]
unsafe fn input_vector<V: Vector, A: Algorithm, const WHOLE: bool>(
    from: &[[*const f32; MAX_SIDE]; MAX_SIDE],
    channel: usize,
    count: usize,
    to: *mut f32,
    step: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut half = [[V::splat(0.0); MAX_SIDE]; MAX_SIDE];
        for c in 0..A::SIDE {
            let mut column = [V::splat(0.0); MAX_SIDE];
            for r in 0..A::SIDE {
                let from = from[r][c].add(channel);
                column[r] = if WHOLE { V::load(from) } else { V::load_first(from, count) };
            }
            half[c] = A::input(column);
        }
        let to = to.add(channel);
        for r in 0..A::SIDE {
            let row = A::input([half[0][r], half[1][r], half[2][r], half[3][r], half[4][r], half[5][r]]);
            for c in 0..A::SIDE {
                let to = to.add((r * A::SIDE + c) * step);
                if WHOLE { row[c].store(to) } else { row[c].store_first(to, count) }
            }
        }
    }
}

/// Transforms the rows of the matrix whose columns are `half`, and stores slot by slot.
#[inline(always)]
unsafe fn store_rows<V: Vector, A: Algorithm, const GRADIENT: bool>(
    half: &Side<V>,
    to: *mut f32,
    slots: Slots,
    count: usize,
) {
    let whole = count == V::LANES || slots.row.is_multiple_of(V::LANES);
    for r in 0..A::SIDE {
        // SAFETY: the caller's; rows of whole vectors have room for one.
        unsafe {
            let row = if GRADIENT {
                A::grad_output([half[0][r], half[1][r], half[2][r], half[3][r]])
            } else {
                A::input([half[0][r], half[1][r], half[2][r], half[3][r], half[4][r], half[5][r]])
            };
            for c in 0..A::SIDE {
                let to = to.add((r * A::SIDE + c) * slots.step);
                if whole { row[c].store(to) } else { row[c].store_first(to, count) }
            }
        }
    }
}

/// `A y A^T` for the tiles of `range`: the output gradient `y` in the transformed domain. Rows of `to` are whole
/// vectors, written whole.
///
/// # Safety
/// The instruction set of `V`; `y` holds all pixels of `tiles` with `channels` channels, `to` the slots.
#[inline(always)]
pub(super) unsafe fn grad_output<V: Vector, A: Algorithm>(
    tiles: &Tiles,
    range: Range<usize>,
    (y, channels): (*const f32, usize),
    to: *mut f32,
    slots: Slots,
) {
    for (row, index) in range.enumerate() {
        let pixels = tiles.outputs::<A>(tiles.get(index));
        let to = to.wrapping_add(row * slots.row);
        let mut channel = 0;
        while channel < channels {
            let count = V::LANES.min(channels - channel);
            // SAFETY: `count` channels of each pixel are there to read, and each slot's row is whole vectors.
            unsafe {
                let mut half = [[V::splat(0.0); MAX_SIDE]; MAX_SIDE];
                for c in 0..A::TILE {
                    let mut column = [V::splat(0.0); MAX_TILE];
                    for r in 0..A::TILE {
                        if let Some(pixel) = pixels[r][c] {
                            let from = y.add(pixel * channels + channel);
                            column[r] =
                                if count == V::LANES { V::load(from) } else { V::load_first(from, count) };
                        }
                    }
                    half[c] = A::grad_output(column);
                }
                store_rows::<V, A, true>(&half, to.add(channel), slots, count);
            }
            channel += V::LANES;
        }
    }
}

/// `A^T m A` for the tiles of `range`, through the epilogue to `out`. Rows of `from` are whole vectors.
///
/// # Safety
/// The instruction set of `V`; `from` holds the slots, `out` all pixels of `tiles` with `channels` channels, those
/// of the range nobody else's; the epilogue's parts have their sizes.
#[inline(always)]
pub(super) unsafe fn output<V: Vector, A: Algorithm>(
    tiles: &Tiles,
    range: Range<usize>,
    (from, slots): (*const f32, Slots),
    epilogue: &Epilogue,
    (out, channels): (*mut f32, usize),
) {
    for (row, index) in range.enumerate() {
        let tile = tiles.get(index);
        let pixels = tiles.outputs::<A>(tile);
        let from = from.wrapping_add(row * slots.row);
        let mut channel = 0;
        while channel < channels {
            let count = V::LANES.min(channels - channel);
            // SAFETY: rows of slots are whole vectors, `count` channels of each pixel and bias are there.
            unsafe {
                let from = from.add(channel);
                let mut half = [[V::splat(0.0); MAX_SIDE]; MAX_TILE];
                for c in 0..A::SIDE {
                    let mut column = [V::splat(0.0); MAX_SIDE];
                    for r in 0..A::SIDE {
                        column[r] = V::load(from.add((r * A::SIDE + c) * slots.step));
                    }
                    let column = A::output(column);
                    for r in 0..A::TILE {
                        half[r][c] = column[r];
                    }
                }
                let biases = epilogue.biases::<V>(tile.image, channel, channels, count);
                for r in 0..A::TILE {
                    let sums = A::output(half[r]);
                    for c in 0..A::TILE {
                        if let Some(pixel) = pixels[r][c] {
                            epilogue.finish(sums[c], biases, out, pixel * channels + channel, count);
                        }
                    }
                }
            }
            channel += V::LANES;
        }
    }
}

/// `G g G^T` for the input channels `range` of a weight, into panels (see [`panels`]).
///
/// `from` holds for each of 9 taps, `tap_step` floats apart, rows of `channels` floats for the channels of `range`.
/// `to` is the whole transformed weight: slots of `depth` rows.
///
/// # Safety
/// The instruction set of `V`; all that readable, and `to` writable and, in the rows of `range`, nobody else's.
#[inline(always)]
pub(super) unsafe fn weight<V: Vector, A: Algorithm>(
    range: Range<usize>,
    (from, tap_step, channels): (*const f32, usize, usize),
    (to, slots, depth): (*mut f32, Slots, usize),
) {
    for (first, width) in panels(channels.div_ceil(V::LANES)) {
        for k in range.clone() {
            for vector in 0..width {
                let channel = (first + vector) * V::LANES;
                let count = V::LANES.min(channels - channel);
                // SAFETY: `count` channels are there to read; panels are whole vectors.
                unsafe {
                    let from = from.add((k - range.start) * channels + channel);
                    let to = to.add(first * V::LANES * depth + (k * width + vector) * V::LANES);
                    let mut half = [[V::splat(0.0); MAX_SIDE]; 3];
                    for c in 0..3 {
                        let mut column = [V::splat(0.0); 3];
                        for r in 0..3 {
                            column[r] = V::load_first(from.add((r * 3 + c) * tap_step), count);
                        }
                        half[c] = A::weight(column);
                    }
                    for r in 0..A::SIDE {
                        let row = A::weight([half[0][r], half[1][r], half[2][r]]);
                        for c in 0..A::SIDE {
                            row[c].store(to.add((r * A::SIDE + c) * slots.step));
                        }
                    }
                }
            }
        }
    }
}

/// `G^T u G` for the input channels `range`, where `u` is the sum of `parts` transformed gradients, added in order.
///
/// # Safety
/// The instruction set of `V`; `from` holds the parts one after another, each of slots with rows of whole vectors;
/// `to` is the whole gradient `[3, 3, depth, channels]`, in the rows of `range` nobody else's.
#[inline(always)]
pub(super) unsafe fn grad_weight<V: Vector, A: Algorithm>(
    range: Range<usize>,
    (from, slots, parts): (*const f32, Slots, usize),
    (to, depth, channels): (*mut f32, usize, usize),
) {
    for k in range {
        let mut channel = 0;
        while channel < channels {
            let count = V::LANES.min(channels - channel);
            // SAFETY: rows of slots are whole vectors, and `count` channels are there to write.
            unsafe {
                let from = from.add(k * slots.row + channel);
                let mut half = [[V::splat(0.0); MAX_SIDE]; 3];
                for c in 0..A::SIDE {
                    let mut column = [V::splat(0.0); MAX_SIDE];
                    for r in 0..A::SIDE {
                        let slot = from.add((r * A::SIDE + c) * slots.step);
                        column[r] = V::load(slot);
                        for part in 1..parts {
                            column[r] = column[r].add(V::load(slot.add(part * slots.len::<A>())));
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
                        row[c].store_first(to, count);
                    }
                }
            }
            channel += V::LANES;
        }
    }
}
