//! Convolutions to so few channels that a vector of them would be mostly empty, such as a network's last one.
//!
//! The order is turned round: first each input pixel is multiplied by the weights of all taps, `[in]` by
//! `[in, taps * out]`, which fills vectors; then an output is the sum over taps of the numbers at the pixels they
//! look at. The gradient with respect to the weight spreads the output gradient over the taps in the same way.

use std::ops::Range;

use super::product::{Left, Right, product};
use super::vector::{Kernel, Vector, lanes, run};
use super::weight::pack;
use super::{Conv2dShape, Epilogue, scratch};
use crate::dispatch::Isa;
use crate::threads::{SharedMut, for_each_piece};

/// Most numbers per pixel, `kernel^2 * out`, for which this is worth while.
const MAX_SPREAD: usize = 48;

/// Multiply-adds below which a piece is not worth a task.
const PIECE_WORK: usize = 1 << 19;

/// Most pieces of the weight's gradient: each has its own sums.
const MAX_PIECES: usize = 8;

/// Whether this variant can do the convolution and is worth while.
pub(super) fn supports(shape: &Conv2dShape) -> bool {
    shape.stride == 1 && shape.kernel > 1 && spread(shape) <= MAX_SPREAD
}

/// Numbers per input pixel.
fn spread(shape: &Conv2dShape) -> usize {
    shape.kernel * shape.kernel * shape.out_channels
}

/// Images of a piece.
fn images(shape: &Conv2dShape, padded: usize) -> usize {
    let work = shape.height * shape.width * shape.in_channels * padded;
    (PIECE_WORK / work.max(1)).max(1)
}

/// Exchanges the order of taps and input channels: `to[i, tap, o] = weight[tap, i, o]`; both outer sizes may change
/// roles, which gives the inverse.
fn exchange(from: &[f32], (outer, inner, channels): (usize, usize, usize), to: &mut [f32]) {
    for a in 0..outer {
        for b in 0..inner {
            let values = &from[(a * inner + b) * channels..][..channels];
            to[(b * outer + a) * channels..][..channels].copy_from_slice(values);
        }
    }
}

/// `out = scale * (conv(x, weight) + bias + image_bias + residual)`.
pub(super) fn forward(
    isa: Isa,
    shape: &Conv2dShape,
    x: &[f32],
    weight: &[f32],
    epilogue: &Epilogue,
    out: &mut [f32],
) {
    let (depth, spread) = (shape.in_channels, spread(shape));
    let padded = spread.next_multiple_of(lanes(isa));
    scratch::with(weight.len() + depth * padded, |shared| {
        let (exchanged, packed) = shared.split_at_mut(weight.len());
        exchange(weight, (shape.kernel * shape.kernel, depth, shape.out_channels), exchanged);
        pack(exchanged, spread, lanes(isa), packed);
        let packed = &*packed;
        let out = SharedMut::new(out);
        let step = images(shape, padded);
        for_each_piece(shape.batch.div_ceil(step), |piece| {
            let images = piece * step..(piece * step + step).min(shape.batch);
            scratch::with(shape.height * shape.width * padded, |products| {
                run(isa, Forward { shape, images, x, packed, products, epilogue, out });
            });
        });
    });
}

struct Forward<'a> {
    shape: &'a Conv2dShape,
    images: Range<usize>,
    x: &'a [f32],
    packed: &'a [f32],
    products: &'a mut [f32],
    epilogue: &'a Epilogue<'a>,
    out: SharedMut<'a, f32>,
}

impl Kernel for Forward<'_> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Self { shape, images, epilogue, products, .. } = self;
        let (depth, channels) = (shape.in_channels, shape.out_channels);
        let padded = spread(shape).next_multiple_of(V::LANES);
        let pixels = shape.height * shape.width;
        let (out_height, out_width) = (shape.out_height(), shape.out_width());
        for n in images {
            let x = self.x[n * pixels * depth..].as_ptr();
            let products = products.as_mut_ptr();
            // SAFETY: the buffer holds the products of one image; images write different parts of `out`.
            unsafe {
                let left = Left { start: x, row_step: depth, depth_step: 1 };
                let right = Right::Panels(self.packed.as_ptr());
                product::<V>((pixels, depth, padded / V::LANES), left, right, products, padded, false);
                for (oh, ow) in (0..out_height).flat_map(|oh| (0..out_width).map(move |ow| (oh, ow))) {
                    let pixel = (n * out_height + oh) * out_width + ow;
                    let mut channel = 0;
                    while channel < channels {
                        let count = V::LANES.min(channels - channel);
                        let mut sums = V::splat(0.0);
                        for kh in 0..shape.kernel {
                            let h = (oh + kh).wrapping_sub(shape.padding);
                            for kw in 0..shape.kernel {
                                let w = (ow + kw).wrapping_sub(shape.padding);
                                if h < shape.height && w < shape.width {
                                    let tap = (kh * shape.kernel + kw) * channels + channel;
                                    let from = products.add((h * shape.width + w) * padded + tap);
                                    sums = sums.add(V::load_first(from, count));
                                }
                            }
                        }
                        let biases = epilogue.biases::<V>(n, channel, channels, count);
                        let at = pixel * channels + channel;
                        epilogue.finish(sums, biases, self.out.pointer(), at, count);
                        channel += V::LANES;
                    }
                }
            }
        }
    }
}

/// The gradient with respect to the weight.
pub(super) fn backward_weight(
    isa: Isa,
    shape: &Conv2dShape,
    x: &[f32],
    grad_out: &[f32],
    grad_weight: &mut [f32],
) {
    let (depth, spread) = (shape.in_channels, spread(shape));
    let padded = spread.next_multiple_of(lanes(isa));
    if shape.batch * shape.height * shape.width == 0 {
        grad_weight.fill(0.0);
        return;
    }
    let step = images(shape, padded).max(shape.batch.div_ceil(MAX_PIECES));
    let pieces = shape.batch.div_ceil(step);
    scratch::with(pieces * depth * padded + grad_weight.len(), |buffer| {
        let (sums, exchanged) = buffer.split_at_mut(pieces * depth * padded);
        let shared = SharedMut::new(sums);
        for_each_piece(pieces, |piece| {
            // SAFETY: each piece has its own sums.
            let sums = unsafe { shared.slice(piece * depth * padded, depth * padded) };
            let images = piece * step..(piece * step + step).min(shape.batch);
            scratch::with(shape.height * shape.width * padded, |spread| {
                run(isa, Gradient { shape, images, x, grad_out, spread, sums });
            });
        });
        for (i, to) in exchanged.chunks_exact_mut(spread).enumerate() {
            to.copy_from_slice(&sums[i * padded..][..spread]);
            for piece in sums.chunks_exact(depth * padded).skip(1) {
                to.iter_mut().zip(&piece[i * padded..]).for_each(|(sum, &value)| *sum += value);
            }
        }
        exchange(exchanged, (depth, shape.kernel * shape.kernel, shape.out_channels), grad_weight);
    });
}

struct Gradient<'a> {
    shape: &'a Conv2dShape,
    images: Range<usize>,
    x: &'a [f32],
    grad_out: &'a [f32],
    spread: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Self { shape, images, grad_out, .. } = self;
        let (depth, channels) = (shape.in_channels, shape.out_channels);
        let padded = spread(shape).next_multiple_of(V::LANES);
        let pixels = shape.height * shape.width;
        let (out_height, out_width) = (shape.out_height(), shape.out_width());
        let first = images.start;
        for n in images {
            self.spread.fill(0.0);
            for (h, w) in (0..shape.height).flat_map(|h| (0..shape.width).map(move |w| (h, w))) {
                let row = &mut self.spread[(h * shape.width + w) * padded..][..padded];
                for kh in 0..shape.kernel {
                    let oh = (h + shape.padding).wrapping_sub(kh);
                    for kw in 0..shape.kernel {
                        let ow = (w + shape.padding).wrapping_sub(kw);
                        if oh < out_height && ow < out_width {
                            let from = ((n * out_height + oh) * out_width + ow) * channels;
                            let to = (kh * shape.kernel + kw) * channels;
                            for o in 0..channels {
                                row[to + o] = grad_out[from + o];
                            }
                        }
                    }
                }
            }
            let start = self.x[n * pixels * depth..].as_ptr();
            // SAFETY: `x` holds the image, `spread` a row per pixel, `sums` `[depth, padded]`.
            unsafe {
                let left = Left { start, row_step: 1, depth_step: depth };
                let right = Right::Rows(self.spread.as_ptr(), padded);
                let sizes = (depth, pixels, padded / V::LANES);
                product::<V>(sizes, left, right, self.sums.as_mut_ptr(), padded, n > first);
            }
        }
    }
}
