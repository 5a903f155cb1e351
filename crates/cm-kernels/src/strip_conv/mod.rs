//! Convolutions with windows of one row or one column, as in Inception's 1x7 and 7x1: forward only, since the networks
//! that have them are evaluated and not trained.
//!
//! The image is copied with its border so that the window's axis comes first. Then the pixels under one place of the
//! window are one block of memory for all outputs, and the convolution is one matrix product whose sums run over the
//! places, from block to block: nothing is unfolded.

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use crate::activation::bias_relu_rows;
use crate::dispatch::{Isa, isa};
use crate::product::pack::{pack, packed_len};
use crate::product::vector::{Kernel, Vector, lanes, run};
use crate::product::{Depth, GROUP, Left, Out, Right, product};
use crate::scratch;
use crate::threads::{SharedMut, for_each_piece};

/// Pixels whose sums exist at a time.
const BLOCK: usize = 8 * GROUP;

/// Which way the window lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// `length` rows and one column.
    Column,
    /// One row and `length` columns.
    Row,
}

/// The sizes of one convolution of stride 1 whose padding keeps the image's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripShape {
    /// Number of images; may be 0.
    pub batch: usize,
    /// Height of the images in pixels.
    pub height: usize,
    /// Width of the images in pixels.
    pub width: usize,
    /// Channels of the input, at least 1.
    pub in_channels: usize,
    /// Channels of the output, at least 1.
    pub out_channels: usize,
    /// Which way the window lies.
    pub strip: Strip,
    /// Pixels of the window; odd.
    pub length: usize,
}

impl StripShape {
    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Number of values of the weight.
    pub fn weight_len(&self) -> usize {
        self.length * self.in_channels * self.out_channels
    }

    /// The extents along the window and across it.
    fn extents(&self) -> (usize, usize) {
        match self.strip {
            Strip::Column => (self.height, self.width),
            Strip::Row => (self.width, self.height),
        }
    }
}

/// `out = max(conv(x, weight) + bias, 0)`: `x` is `[batch, height, width, in]`, `weight` `[length, in, out]`.
///
/// # Panics
/// If the window's length is even, or a slice does not have the size that `shape` demands.
pub fn forward_relu(shape: &StripShape, x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
    forward_relu_on(isa(), shape, x, weight, bias, out);
}

fn forward_relu_on(isa: Isa, shape: &StripShape, x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let StripShape { batch, in_channels, out_channels, length, .. } = *shape;
    assert!(length % 2 == 1, "a window of {length} pixels has no middle");
    let (in_image, out_image) = (shape.pixels() * in_channels, shape.pixels() * out_channels);
    assert_eq!(x.len(), batch * in_image, "values of the input of {shape:?}");
    assert_eq!(weight.len(), shape.weight_len(), "values of the weight of {shape:?}");
    assert_eq!(bias.len(), out_channels, "values of the bias of {shape:?}");
    assert_eq!(out.len(), batch * out_image, "values of the output of {shape:?}");
    let (along, across) = shape.extents();
    let (line, border) = (across * in_channels, length / 2);
    let padded_len = (along + 2 * border) * line;
    let sums_len = BLOCK * out_channels.next_multiple_of(lanes(isa));
    let out = SharedMut::new(out);
    scratch::with(packed_len(length * in_channels, out_channels, lanes(isa)), |packed| {
        pack(weight, out_channels, lanes(isa), packed);
        let packed = &*packed;
        for_each_piece(batch, |n| {
            let x = &x[n * in_image..][..in_image];
            // SAFETY: each image is visited once.
            let out = unsafe { out.slice(n * out_image, out_image) };
            scratch::with(padded_len + sums_len, |buffer| {
                let (padded, sums) = buffer.split_at_mut(padded_len);
                padded[..border * line].fill(0.0);
                padded[(along + border) * line..].fill(0.0);
                let inside = &mut padded[border * line..][..in_image];
                match shape.strip {
                    Strip::Column => inside.copy_from_slice(x),
                    Strip::Row => transpose(across, along, in_channels, x, inside),
                }
                for first in (0..shape.pixels()).step_by(BLOCK) {
                    let count = BLOCK.min(shape.pixels() - first);
                    run(isa, Block { shape, padded, packed, first, count, sums });
                    let rows = sums.chunks_exact(sums_len / BLOCK).take(count);
                    for (pixel, sums) in (first..).zip(rows) {
                        let place = match shape.strip {
                            Strip::Column => pixel,
                            Strip::Row => pixel % across * along + pixel / across,
                        };
                        out[place * out_channels..][..out_channels].copy_from_slice(&sums[..out_channels]);
                    }
                }
            });
            bias_relu_rows(isa, bias, out);
        });
    });
}

/// The sums of some pixels, counted with the window's axis first.
struct Block<'a> {
    shape: &'a StripShape,
    /// The image with its border.
    padded: &'a [f32],
    /// The weight, a matrix `[length * in, out]`.
    packed: &'a [f32],
    first: usize,
    count: usize,
    sums: &'a mut [f32],
}

impl Kernel for Block<'_> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let StripShape { in_channels, out_channels, length, .. } = *self.shape;
        let (line, columns) = (self.shape.extents().1 * in_channels, out_channels.next_multiple_of(V::LANES));
        let last = (length - 1) * line + (self.first + self.count) * in_channels;
        assert!(last <= self.padded.len() && self.count * columns <= self.sums.len(), "block out of bounds");
        let left = Left {
            start: self.padded[self.first * in_channels..].as_ptr(),
            group: GROUP * in_channels,
            row: in_channels,
            run: line,
            term: 1,
            ahead: 0,
        };
        let depth = length * in_channels;
        let right = Right::Panels {
            start: self.packed.as_ptr(),
            column: depth * V::LANES,
            offset: 0,
            run: in_channels * V::LANES,
        };
        let sizes = (self.count, Depth::in_runs(depth, in_channels), columns / V::LANES);
        let out = Out::rows::<V>(self.sums.as_mut_ptr(), columns);
        // SAFETY: the pixels under all places of the window, and the sums, are there (checked above); the packed
        // weight is `[depth, columns]`.
        unsafe { product::<V>(sizes, left, right, out, false) };
    }
}

/// `[rows, columns, channels]` to `[columns, rows, channels]`.
fn transpose(rows: usize, columns: usize, channels: usize, x: &[f32], out: &mut [f32]) {
    for column in 0..columns {
        for row in 0..rows {
            let pixel = &x[(row * columns + column) * channels..][..channels];
            out[(column * rows + row) * channels..][..channels].copy_from_slice(pixel);
        }
    }
}
