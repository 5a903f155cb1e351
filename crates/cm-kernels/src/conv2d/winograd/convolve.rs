//! The convolution itself, which is both the forward pass and the gradient with respect to the input.

use std::marker::PhantomData;
use std::ops::Range;

use super::algorithm::Algorithm;
use super::layout::{Grouped, Panelled};
use super::tiles::Tiles;
use super::transform;
use super::{BLOCK_TILES, HEAVY_BLOCK_TILES, HEAVY_PAIRS, Weight, block_tiles, few};
use crate::conv2d::weight::turn;
use crate::conv2d::{Conv2dShape, Epilogue};
use crate::dispatch::Isa;
use crate::product::vector::{Kernel, Vector, lanes, run};
use crate::product::{CHAIN, Depth, GROUP, product};
use crate::scratch;
use crate::threads::{SharedMut, for_each_piece};

/// `out = scale * (conv(x, weight) + bias + image_bias + residual)`.
pub(in crate::conv2d) fn forward<A: Algorithm>(
    isa: Isa,
    shape: &Conv2dShape,
    x: &[f32],
    weight: &[f32],
    epilogue: &Epilogue,
    out: &mut [f32],
) {
    convolve::<A>(isa, shape, x, Weight::Forward(weight), epilogue, out);
}

/// The convolution with `weight`, `[3, 3, out, in]`, turned by half a turn and its channels exchanged: the gradient
/// with respect to the input.
pub(in crate::conv2d) fn forward_turned<A: Algorithm>(
    isa: Isa,
    shape: &Conv2dShape,
    x: &[f32],
    weight: &[f32],
    out: &mut [f32],
) {
    convolve::<A>(isa, shape, x, Weight::Turned(weight), &Epilogue::default(), out);
}

fn convolve<A: Algorithm>(
    isa: Isa,
    shape: &Conv2dShape,
    x: &[f32],
    weight: Weight,
    epilogue: &Epilogue,
    out: &mut [f32],
) {
    let (depth, channels) = (shape.in_channels, shape.out_channels);
    let tiles = Tiles::new::<A>(shape);
    if few::are_few(&tiles, (depth, channels)) {
        return few::convolve::<A>(isa, &tiles, (depth, channels), x, weight, epilogue, out);
    }
    let lanes = lanes(isa);
    let (input_layout, output_layout) = (Grouped::new(depth, lanes), Grouped::new(channels, lanes));
    let weight_layout = Panelled::new(depth, channels, lanes);
    let (weight_len, zeros_len) = (weight_layout.len::<A>(), depth.next_multiple_of(lanes));
    let pairs = depth * channels;
    let most = if pairs < HEAVY_PAIRS { BLOCK_TILES } else { HEAVY_BLOCK_TILES };
    let step = block_tiles::<A>(tiles.count(), most, pairs);
    scratch::with(weight_len + zeros_len, |shared| {
        let (transformed, zeros) = shared.split_at_mut(weight_len);
        zeros.fill(0.0);
        transform_weight::<A>(isa, (depth, channels), weight, (transformed, weight_layout));
        let (transformed, zeros) = (&*transformed, &*zeros);
        let out = SharedMut::new(out);
        for_each_piece(tiles.count().div_ceil(step), |block| {
            let range = block * step..(block * step + step).min(tiles.count());
            let input_len = input_layout.len::<A>(step);
            scratch::with(input_len + output_layout.len::<A>(step), |buffer| {
                let (input, output) = buffer.split_at_mut(input_len);
                let block = Block::<A> {
                    tiles,
                    range,
                    depth,
                    channels,
                    x,
                    zeros,
                    weight: (transformed, weight_layout),
                    input: (input, input_layout),
                    output: (output, output_layout),
                    epilogue,
                    out,
                    algorithm: PhantomData,
                };
                run(isa, block);
            });
        });
    });
}

/// One block of tiles, from pixels to pixels.
struct Block<'a, A> {
    tiles: Tiles,
    range: Range<usize>,
    /// Channels of the input.
    depth: usize,
    /// Channels of the output.
    channels: usize,
    x: &'a [f32],
    zeros: &'a [f32],
    weight: (&'a [f32], Panelled),
    input: (&'a mut [f32], Grouped),
    output: (&'a mut [f32], Grouped),
    epilogue: &'a Epilogue<'a>,
    out: SharedMut<'a, f32>,
    algorithm: PhantomData<A>,
}

impl<A: Algorithm> Kernel for Block<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Self { tiles, range, depth, channels, .. } = self;
        let (input, input_layout) = (self.input.0.as_mut_ptr(), self.input.1.of::<V>());
        let (output, output_layout) = (self.output.0.as_mut_ptr(), self.output.1.of::<V>());
        let (weight, weight_layout) = (self.weight.0.as_ptr(), self.weight.1.of::<V>());
        // Whole groups of tiles: rows past the last tile are there, and what is in them is not used.
        let rows = range.len().next_multiple_of(GROUP);
        let sums = Depth::in_runs(depth, V::LANES).in_chains(CHAIN);
        let sizes = (rows, sums, output_layout.vectors);
        // SAFETY: the buffers were made with these layouts, `x` and `out` with the shape of `tiles`; blocks write
        // different pixels of `out`.
        unsafe {
            let x = (self.x.as_ptr(), depth, self.zeros.as_ptr());
            transform::input::<V, A>(&tiles, range.clone(), x, (input, input_layout));
            for slot in 0..A::SLOTS {
                let left = input_layout.left::<A>(input, slot);
                let right = weight_layout.right::<A>(weight, slot);
                product::<V>(sizes, left, right, output_layout.out::<A>(output, slot, 0), false);
            }
            let from = (output.cast_const(), output_layout);
            transform::output::<V, A>(
                &tiles,
                range,
                from,
                self.epilogue,
                (self.out.pointer(), channels, 0..channels),
            );
        }
    }
}

/// Pairs of channels whose weights are transformed as one piece: some ten microseconds.
const WEIGHT_PAIRS: usize = 512;

fn transform_weight<A: Algorithm>(
    isa: Isa,
    (depth, channels): (usize, usize),
    weight: Weight,
    (to, layout): (&mut [f32], Panelled),
) {
    let to = SharedMut::new(to);
    let step = (WEIGHT_PAIRS / channels).max(4).next_multiple_of(4);
    for_each_piece(depth.div_ceil(step), |piece| {
        let range = piece * step..(piece * step + step).min(depth);
        let transform = |from: &[f32], tap_step: usize, range: Range<usize>| {
            let (source, to) = ((from, tap_step), (to, layout));
            run(isa, Piece::<A> { range, source, channels, to, algorithm: PhantomData });
        };
        match weight {
            Weight::Forward(weight) => {
                transform(&weight[range.start * channels..], depth * channels, range);
            }
            Weight::Turned(weight) => scratch::with(9 * range.len() * channels, |turned| {
                turn(weight, (depth, channels), range.clone(), 0..channels, turned);
                transform(turned, range.len() * channels, range);
            }),
        }
    });
}

/// The transform of the weights of a range of input channels.
struct Piece<'a, A> {
    range: Range<usize>,
    /// Rows of the range, tap by tap, and the floats from tap to tap.
    source: (&'a [f32], usize),
    channels: usize,
    to: (SharedMut<'a, f32>, Panelled),
    algorithm: PhantomData<A>,
}

impl<A: Algorithm> Kernel for Piece<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let from = (self.source.0.as_ptr(), self.source.1, self.channels);
        // SAFETY: the sizes are those of the weight; pieces write different rows.
        unsafe {
            transform::weight::<V, A>(self.range, from, self.channels, (self.to.0.pointer(), self.to.1));
        }
    }
}
