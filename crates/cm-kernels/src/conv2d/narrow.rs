//! Convolutions to so few channels that a vector of them would be mostly empty, such as a network's last one.
//!
//! The order is turned round: first each input pixel is multiplied by the weights of all taps, `[in]` by
//! `[in, taps * out]`, which fills vectors; then an output is the sum over taps of the numbers at the pixels they
//! look at. Deliberately absent: the gradient with respect to the weight, for which other variants are faster.

use std::ops::Range;

use super::{Conv2dShape, Epilogue};
use crate::dispatch::Isa;
use crate::product::pack::pack;
use crate::product::vector::{Kernel, Vector, lanes, run};
use crate::product::{Depth, LINE, Left, Out, Right, product};
use crate::scratch;
use crate::threads::{SharedMut, for_each_piece};

/// Most numbers per pixel, `kernel^2 * out`, for which this is worth while.
const MAX_SPREAD: usize = 48;

/// Multiply-adds below which a piece is not worth a task.
const PIECE_WORK: usize = 1 << 19;

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

/// Exchanges the order of taps and input channels: `to[i, tap, o] = weight[tap, i, o]`.
fn exchange(weight: &[f32], shape: &Conv2dShape, to: &mut [f32]) {
    let (taps, depth, channels) = (shape.kernel * shape.kernel, shape.in_channels, shape.out_channels);
    for tap in 0..taps {
        for i in 0..depth {
            let values = &weight[(tap * depth + i) * channels..][..channels];
            to[(i * taps + tap) * channels..][..channels].copy_from_slice(values);
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
        exchange(weight, shape, exchanged);
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
                let sizes = (pixels, Depth::in_runs(depth, LINE), padded / V::LANES);
                let right = Right::packed::<V>(self.packed.as_ptr(), depth);
                let to = Out::rows::<V>(products, padded);
                product::<V>(sizes, Left::rows(x, depth), right, to, false);
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
