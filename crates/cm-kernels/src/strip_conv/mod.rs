//! Convolutions with windows of one row or one column, as in Inception's 1x7 and 7x1: forward only, since the networks
//! that have them are evaluated and not trained.
//!
//! The image is copied with its border so that the window's axis comes first. Then the pixels under one place of the
//! window are one block of memory for all outputs, and the convolution is one matrix product for each place, added
//! up: nothing is unfolded.

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use crate::activation::relu_alone;
use crate::buffer::unwritten;
use crate::gemm::{Matrix, gemm_alone};
use crate::threads::{SharedMut, for_each_piece};

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
    let StripShape { batch, in_channels, out_channels, length, .. } = *shape;
    assert!(length % 2 == 1, "a window of {length} pixels has no middle");
    let (in_image, out_image) = (shape.pixels() * in_channels, shape.pixels() * out_channels);
    assert_eq!(x.len(), batch * in_image, "values of the input of {shape:?}");
    assert_eq!(weight.len(), shape.weight_len(), "values of the weight of {shape:?}");
    assert_eq!(bias.len(), out_channels, "values of the bias of {shape:?}");
    assert_eq!(out.len(), batch * out_image, "values of the output of {shape:?}");
    let (along, across) = shape.extents();
    let (line, border) = (across * in_channels, length / 2);
    let out = SharedMut::new(out);
    for_each_piece(batch, |n| {
        let x = &x[n * in_image..][..in_image];
        let mut padded = unwritten((along + 2 * border) * line);
        padded[..border * line].fill(0.0);
        padded[(along + border) * line..].fill(0.0);
        let inside = &mut padded[border * line..][..in_image];
        match shape.strip {
            Strip::Column => inside.copy_from_slice(x),
            Strip::Row => transpose(across, along, in_channels, x, inside),
        }
        // SAFETY: each image is visited once.
        let out = unsafe { out.slice(n * out_image, out_image) };
        let mut sums = Vec::new();
        let to = match shape.strip {
            Strip::Column => &mut *out,
            Strip::Row => {
                sums = unwritten(out_image);
                &mut sums[..]
            }
        };
        for row in to.chunks_exact_mut(out_channels) {
            row.copy_from_slice(bias);
        }
        for (place, weight) in weight.chunks_exact(in_channels * out_channels).enumerate() {
            let pixels = &padded[place * line..][..in_image];
            let pixels = Matrix::row_major(pixels, along * across, in_channels);
            gemm_alone(pixels, Matrix::row_major(weight, in_channels, out_channels), 1.0, 1.0, to);
        }
        if shape.strip == Strip::Row {
            transpose(along, across, out_channels, &sums, out);
        }
        relu_alone(out);
    });
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
