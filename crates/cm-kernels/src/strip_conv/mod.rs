//! Convolutions with long windows, as Inception's 1x7, 7x1, 1x3, 3x1 and 5x5: forward only, followed by a ReLU, since
//! the networks that have them are evaluated and not trained.
//!
//! A window is some lines of 3, 5 or 7 pixels; images are padded with zeros so that they keep their size. Along the
//! lines filtering is minimal (`filter.rs`): a tile of 4 outputs is transformed, multiplied (one matrix product
//! per position of the transformed tile) and transformed back. Across the lines the products' sums run over the
//! window's lines, from transformed line to transformed line, so each is transformed once and nothing is unfolded.
//! The weight is transformed when it is given.

mod filter;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use self::filter::{Filter, Five, MAX_SLOTS, Seven, TILE, Three, weight_row};
use crate::dispatch::{Isa, isa};
use crate::product::pack::{pack, packed_len};
use crate::product::vector::{Kernel, Vector, lanes, run};
use crate::product::{Depth, GROUP, LINE, Left, Out, Right, product};
use crate::scratch::{self, Aligned};
use crate::threads::{SharedMut, for_each_piece};
use std::marker::PhantomData;
use std::ops::Range;

/// Which way the lines of a window lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From top to bottom.
    Column,
    /// From left to right.
    Row,
}

/// A window, and the channels from which and to which it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripWindow {
    /// Which way its lines lie.
    pub direction: Direction,
    /// Pixels of a line: 3, 5 or 7.
    pub length: usize,
    /// Lines; odd.
    pub lines: usize,
    /// Channels of the input, at least 1.
    pub in_channels: usize,
    /// Channels of the output, at least 1.
    pub out_channels: usize,
}

impl StripWindow {
    /// Number of values of the weight.
    pub fn weight_len(&self) -> usize {
        self.lines * self.length * self.in_channels * self.out_channels
    }
}

/// A convolution of stride 1 followed by a ReLU, with its weight made ready.
pub struct StripConv {
    window: StripWindow,
    isa: Isa,
    /// For each slot a packed matrix `[lines * in, out]`.
    weight: Aligned,
    bias: Vec<f32>,
    /// [`Self::convolve`] with the filter of the window's length.
    convolve: fn(&Self, &Tiles, &[f32], &mut [f32]),
}

/// Floats of the transformed inputs and outputs of a block, as the second-level cache holds them.
const BLOCK_FLOATS: usize = 128 * 1024;

impl StripConv {
    /// Makes a weight ready. `weight` is `[rows, columns, in, out]` of the window, `bias` is `[out]`.
    ///
    /// # Panics
    /// If a line is not of 3, 5 or 7 pixels, the number of lines is even, or a slice does not have the size that
    /// `window` demands.
    pub fn new(window: StripWindow, weight: &[f32], bias: &[f32]) -> Self {
        Self::on(isa(), window, weight, bias)
    }

    fn on(isa: Isa, window: StripWindow, weight: &[f32], bias: &[f32]) -> Self {
        assert!(window.lines % 2 == 1, "a window of {} lines has no middle", window.lines);
        assert!(window.in_channels.min(window.out_channels) >= 1, "{window:?} has no channels");
        assert_eq!(weight.len(), window.weight_len(), "values of the weight of {window:?}");
        assert_eq!(bias.len(), window.out_channels, "values of the bias of {window:?}");
        match window.length {
            3 => Self::filtered::<Three>(isa, window, weight, bias),
            5 => Self::filtered::<Five>(isa, window, weight, bias),
            7 => Self::filtered::<Seven>(isa, window, weight, bias),
            length => panic!("lines of {length} pixels; those of 3, 5 and 7 are known"),
        }
    }

    fn filtered<F: Filter>(isa: Isa, window: StripWindow, weight: &[f32], bias: &[f32]) -> Self {
        let weight = transformed::<F>(isa, &window, weight);
        Self { window, isa, weight, bias: bias.to_vec(), convolve: Self::convolve::<F> }
    }

    /// `out = max(conv(x, weight) + bias, 0)`: `x` is `[batch, height, width, in]`, `out` `[batch, height, width, out]`.
    ///
    /// # Panics
    /// If a slice does not have its size.
    pub fn forward_relu(&self, [batch, height, width]: [usize; 3], x: &[f32], out: &mut [f32]) {
        let pixels = batch * height * width;
        assert_eq!(x.len(), pixels * self.window.in_channels, "values of the input of {:?}", self.window);
        assert_eq!(out.len(), pixels * self.window.out_channels, "values of the output of {:?}", self.window);
        if pixels == 0 {
            return;
        }
        (self.convolve)(self, &Tiles::new(&self.window, [batch, height, width]), x, out);
    }

    fn convolve<F: Filter>(&self, tiles: &Tiles, x: &[f32], out: &mut [f32]) {
        let lanes = lanes(self.isa);
        let StripWindow { in_channels, out_channels, .. } = self.window;
        let (depth, columns) = (in_channels.next_multiple_of(lanes), out_channels.next_multiple_of(lanes));
        let step = (BLOCK_FLOATS / (F::SLOTS * (depth + columns))).next_multiple_of(GROUP);
        let input_rows = step + tiles.halo;
        let (input_slot, output_slot) = (slot_floats(input_rows * depth), slot_floats(step * columns));
        let zeros = Aligned::zeros(depth);
        let out = SharedMut::new(out);
        for_each_piece(tiles.outputs().div_ceil(step), |block| {
            let range = block * step..(block * step + step).min(tiles.outputs());
            scratch::with(F::SLOTS * (input_slot + output_slot), |buffer| {
                let (input, output) = buffer.split_at_mut(F::SLOTS * input_slot);
                let block = Block::<F> {
                    conv: self,
                    tiles,
                    range,
                    x,
                    zeros: zeros.floats(),
                    input: (input, input_slot),
                    output: (output, output_slot),
                    out,
                    filter: PhantomData,
                };
                run(self.isa, block);
            });
        });
    }
}

/// Floats from one slot to the next, for `len` of them: an odd number of cache lines, so that the slots of a tile fall
/// into different sets of the first-level cache.
fn slot_floats(len: usize) -> usize {
    len.next_multiple_of(2 * LINE) + LINE
}

/// `G g` of all weights, packed slot by slot.
fn transformed<F: Filter>(isa: Isa, window: &StripWindow, weight: &[f32]) -> Aligned {
    let StripWindow { direction, length, lines, in_channels, out_channels } = *window;
    let pair = in_channels * out_channels;
    let slot_len = packed_len(lines * in_channels, out_channels, lanes(isa));
    let mut packed = Aligned::zeros(F::SLOTS * slot_len);
    let mut slot_weight = vec![0.0; lines * pair];
    for (slot, packed) in packed.floats_mut().chunks_exact_mut(slot_len).take(F::SLOTS).enumerate() {
        let factors = weight_row::<F>(slot);
        for (line, to) in slot_weight.chunks_exact_mut(pair).enumerate() {
            let mut sums = vec![0.0; pair];
            for (tap, factor) in factors.iter().enumerate() {
                let pixel = match direction {
                    Direction::Row => line * length + tap,
                    Direction::Column => tap * lines + line,
                };
                for (sum, &w) in sums.iter_mut().zip(&weight[pixel * pair..][..pair]) {
                    *sum += factor * f64::from(w);
                }
            }
            to.iter_mut().zip(&sums).for_each(|(to, &sum)| *to = sum as f32);
        }
        pack(&slot_weight, out_channels, lanes(isa), packed);
    }
    packed
}

/// The tiles of a batch, counted along the lines, from line to line and from image to image. Between the lines of
/// different images lie as many empty ones as a window reaches beyond an image.
struct Tiles {
    /// Images.
    batch: usize,
    /// Pixels of a line, lines of an image.
    along: usize,
    across: usize,
    /// From a pixel to the next along and across the lines, and from image to image, in pixels.
    steps: [usize; 3],
    /// Tiles of a line.
    per_line: usize,
    /// Lines of an image and the empty ones.
    padded: usize,
    /// Tiles that are inputs of the output that many before.
    halo: usize,
    /// Pixels and lines of a window on each side of its middle.
    border: [usize; 2],
}

impl Tiles {
    fn new(window: &StripWindow, [batch, height, width]: [usize; 3]) -> Self {
        let (along, across, steps) = match window.direction {
            Direction::Row => (width, height, [1, width, height * width]),
            Direction::Column => (height, width, [width, 1, height * width]),
        };
        let per_line = along.div_ceil(TILE);
        let (padded, halo) = (across + window.lines - 1, (window.lines - 1) * per_line);
        let border = [window.length / 2, window.lines / 2];
        Self { batch, along, across, steps, per_line, padded, halo, border }
    }

    /// Number of output tiles, those of empty lines included.
    fn outputs(&self) -> usize {
        self.batch * self.padded * self.per_line - self.halo
    }

    /// The image, line (empty ones included) and first pixel of a tile.
    #[inline(always)]
    fn locate(&self, tile: usize) -> (usize, usize, usize) {
        let line = tile / self.per_line;
        (line / self.padded, line % self.padded, tile % self.per_line * TILE)
    }

    /// The pixel that is `along` on in a line of an image; `None` outside.
    #[inline(always)]
    fn pixel(&self, (image, line): (usize, usize), along: usize) -> Option<usize> {
        let [step_along, step_across, step_image] = self.steps;
        let inside = line < self.across && along < self.along;
        inside.then(|| image * step_image + line * step_across + along * step_along)
    }
}

/// Some output tiles, from pixels to pixels.
struct Block<'a, F> {
    conv: &'a StripConv,
    tiles: &'a Tiles,
    range: Range<usize>,
    x: &'a [f32],
    /// As many as a pixel has channels.
    zeros: &'a [f32],
    /// Transformed tiles, and the floats from slot to slot.
    input: (&'a mut [f32], usize),
    output: (&'a mut [f32], usize),
    out: SharedMut<'a, f32>,
    filter: PhantomData<F>,
}

impl<F: Filter> Kernel for Block<'_, F> {
    #[inline(always)]
    unsafe fn call<V: Vector>(mut self) {
        // SAFETY: the caller's.
        unsafe {
            self.transform_input::<V>();
            self.multiply::<V>();
            self.transform_output::<V>();
        }
    }
}

impl<F: Filter> Block<'_, F> {
    /// The input tiles of the range and its halo to rows of the slots' matrices.
    #[inline(always)]
    unsafe fn transform_input<V: Vector>(&mut self) {
        let Self { tiles, x, zeros, .. } = *self;
        let channels = self.conv.window.in_channels;
        let depth = channels.next_multiple_of(V::LANES);
        let (to, slot) = (self.input.0.as_mut_ptr(), self.input.1);
        for (row, tile) in (self.range.start..self.range.end + tiles.halo).enumerate() {
            let (image, line, first) = tiles.locate(tile);
            // Wrapped below 0, which is past every size.
            let line = line.wrapping_sub(tiles.border[1]);
            let mut pixels = [zeros.as_ptr(); MAX_SLOTS];
            for (i, pixel) in pixels.iter_mut().enumerate().take(F::SLOTS) {
                let along = (first + i).wrapping_sub(tiles.border[0]);
                if let Some(at) = tiles.pixel((image, line), along) {
                    *pixel = x[at * channels..].as_ptr();
                }
            }
            for channel in (0..channels).step_by(V::LANES) {
                let used = V::LANES.min(channels - channel);
                // SAFETY: each pixel has `used` more channels; each slot has the row, in whole vectors.
                unsafe {
                    let mut d = [V::splat(0.0); MAX_SLOTS];
                    for (d, pixel) in d.iter_mut().zip(pixels).take(F::SLOTS) {
                        let from = pixel.add(channel);
                        *d = if used == V::LANES { V::load(from) } else { V::load_first(from, used) };
                    }
                    let slots = filter::input::<V, F>(&d);
                    for (i, values) in slots.into_iter().enumerate().take(F::SLOTS) {
                        values.store(to.add(i * slot + row * depth + channel));
                    }
                }
            }
        }
    }

    /// One product per slot. Rows past the last tile are there, and what is in them is not used.
    #[inline(always)]
    unsafe fn multiply<V: Vector>(&mut self) {
        let StripWindow { lines, in_channels, out_channels, .. } = self.conv.window;
        let (depth, columns) =
            (in_channels.next_multiple_of(V::LANES), out_channels.next_multiple_of(V::LANES));
        let rows = self.range.len().next_multiple_of(GROUP);
        let sizes = (rows, Depth::in_runs(lines * in_channels, in_channels), columns / V::LANES);
        for slot in 0..F::SLOTS {
            let left = Left {
                start: self.input.0[slot * self.input.1..].as_ptr(),
                group: GROUP * depth,
                row: depth,
                run: self.tiles.per_line * depth,
                term: 1,
                ahead: 0,
            };
            let right = Right::Panels {
                start: self.conv.weight.floats()[slot * lines * in_channels * columns..].as_ptr(),
                column: lines * in_channels * V::LANES,
                offset: 0,
                run: in_channels * V::LANES,
            };
            let to = Out::rows::<V>(self.output.0[slot * self.output.1..].as_mut_ptr(), columns);
            // SAFETY: a slot's input has `rows` rows and the halo's, its output `rows`; its weight is
            // `[lines * in_channels, columns]`.
            unsafe { product::<V>(sizes, left, right, to, false) };
        }
    }

    /// The sums of the range to pixels.
    #[inline(always)]
    unsafe fn transform_output<V: Vector>(&mut self) {
        let Self { tiles, conv, .. } = *self;
        let channels = conv.window.out_channels;
        let columns = channels.next_multiple_of(V::LANES);
        let (from, slot) = (self.output.0.as_ptr(), self.output.1);
        for (row, tile) in self.range.clone().enumerate() {
            let (image, line, first) = tiles.locate(tile);
            let pixels: [Option<usize>; TILE] =
                std::array::from_fn(|i| tiles.pixel((image, line), first + i));
            if pixels[0].is_none() {
                continue;
            }
            for channel in (0..channels).step_by(V::LANES) {
                let used = V::LANES.min(channels - channel);
                // SAFETY: each slot has the row, in whole vectors; `used` channels of each pixel inside are this
                // tile's to write, and there are as many biases.
                unsafe {
                    let mut m = [V::splat(0.0); MAX_SLOTS];
                    for (i, m) in m.iter_mut().enumerate().take(F::SLOTS) {
                        *m = V::load(from.add(i * slot + row * columns + channel));
                    }
                    let bias = V::load_first(conv.bias.as_ptr().add(channel), used);
                    for (sums, pixel) in filter::output::<V, F>(&m).into_iter().zip(pixels) {
                        if let Some(pixel) = pixel {
                            let to = self.out.pointer().add(pixel * channels + channel);
                            sums.add(bias).relu().store_first(to, used);
                        }
                    }
                }
            }
        }
    }
}
