//! Few tiles: small images, small batches.
//!
//! The transformed weight of a wide layer is larger than the caches (9 MiB for 256 to 256 channels), and with few
//! tiles writing and reading it takes longer than the products. So here the tiles are transformed once, for all, and
//! the weight is cut instead: a piece has a few vectors of output channels, transforms their weight a run of input
//! channels at a time into its own cache, and multiplies at once. The gradient with respect to the weight is cut
//! likewise, and a piece's sums are transformed back before they leave the cache; but see [`SLOT_TILES`].

use std::marker::PhantomData;
use std::ops::Range;

use super::Weight;
use super::algorithm::Algorithm;
use super::layout::{Grouped, Panelled};
use super::sums::{Sources, Transform, by_slots};
use super::tiles::Tiles;
use super::transform;
use crate::conv2d::Epilogue;
use crate::conv2d::weight::turn;
use crate::dispatch::Isa;
use crate::product::vector::{Kernel, Vector, lanes, run};
use crate::product::{CHAIN, Depth, GROUP, LINE, panels, product};
use crate::scratch;
use crate::threads::{SharedMut, for_each_piece};

/// Input channels of a run: a multiple of every vector's length, so few that the transformed weight of a run and a
/// piece stays in half of the second-level cache, and so many that fetching and storing the sums costs little.
const fn run_len(lanes: usize) -> usize {
    if lanes < LINE { 64 } else { 32 }
}

// Sums of many tiles and of few have the same chains.
const _: () = assert!(run_len(1).is_multiple_of(CHAIN) && run_len(LINE).is_multiple_of(CHAIN));

/// Vectors of output channels of a piece.
const fn width(lanes: usize) -> usize {
    if lanes < LINE { 3 } else { 2 }
}

/// From so many tiles on, where rows of tiles are whole, the gradient with respect to the weight is not cut by channels
/// but by slots: nothing is read more than once, and the sums that leave the cache are short against the products.
const SLOT_TILES: usize = 64;

/// Fewer tiles than this are always few: blocks of them would not keep several threads busy.
const LEAST_TILES: usize = 32;

/// Whether it is better to cut the weight than the tiles: where the transformed tiles of input and output, which then
/// every thread reads, are smaller than the transformed weight, which every thread reads otherwise.
pub(super) fn are_few(tiles: &Tiles, (depth, channels): (usize, usize)) -> bool {
    tiles.count() < LEAST_TILES || tiles.count() * (depth + channels) < depth * channels
}

/// The convolution `x` of `depth` channels to `out` of `channels`.
pub(super) fn convolve<A: Algorithm>(
    isa: Isa,
    tiles: &Tiles,
    (depth, channels): (usize, usize),
    x: &[f32],
    weight: Weight,
    epilogue: &Epilogue,
    out: &mut [f32],
) {
    let lanes = lanes(isa);
    let (run_len, width) = (run_len(lanes), width(lanes) * lanes);
    let input_layout = Grouped::new(depth, lanes);
    let (input_len, zeros_len) = (input_layout.len::<A>(tiles.count()), depth.next_multiple_of(lanes));
    let slice = (Panelled::new(run_len, width, lanes), Grouped::new(width, lanes));
    let (weight_len, output_len) = (slice.0.len::<A>(), slice.1.len::<A>(tiles.count()));
    let turned_len = match weight {
        Weight::Forward(_) => 0,
        Weight::Turned(_) => 9 * run_len * width,
    };
    scratch::with(input_len + zeros_len, |shared| {
        let (input, zeros) = shared.split_at_mut(input_len);
        zeros.fill(0.0);
        let source = (x, depth, &*zeros);
        let to = (SharedMut::new(input), input_layout);
        for_each_piece(tiles.count().div_ceil(GROUP), |group| {
            let range = group * GROUP..(group * GROUP + GROUP).min(tiles.count());
            run(isa, Input::<A> { tiles, range, source, to, algorithm: PhantomData });
        });
        let input = (&*input, input_layout);
        let out = SharedMut::new(out);
        for_each_piece(channels.div_ceil(width), |piece| {
            let columns = piece * width..(piece * width + width).min(channels);
            scratch::with(weight_len + output_len + turned_len, |buffer| {
                let (transformed, buffer) = buffer.split_at_mut(weight_len);
                let (output, turned) = buffer.split_at_mut(output_len);
                let buffers = Buffers { transformed, turned, output };
                let sizes = (depth, channels);
                let algorithm = PhantomData;
                run(
                    isa,
                    Slice::<A> { tiles, sizes, columns, weight, input, buffers, epilogue, out, algorithm },
                );
            });
        });
    });
}

/// The transform of a group of tiles.
struct Input<'a, A> {
    tiles: &'a Tiles,
    range: Range<usize>,
    /// The pixels, their channels, and as many zeros.
    source: (&'a [f32], usize, &'a [f32]),
    /// A row for each of all tiles.
    to: (SharedMut<'a, f32>, Grouped),
    algorithm: PhantomData<A>,
}

impl<A: Algorithm> Kernel for Input<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let (x, depth, zeros) = self.source;
        let (to, layout) = (self.to.0, self.to.1.of::<V>());
        // SAFETY: `x` has the shape of the tiles, the buffer was made with this layout; pieces write different groups.
        unsafe {
            let to = to.pointer().add(layout.at::<A>(self.range.start, 0));
            let x = (x.as_ptr(), depth, zeros.as_ptr());
            transform::input::<V, A>(self.tiles, self.range, x, (to, layout));
        }
    }
}

/// Working memory of a slice.
struct Buffers<'a> {
    /// The weight of a run, transformed.
    transformed: &'a mut [f32],
    /// The weight of a run, turned, where that is asked for.
    turned: &'a mut [f32],
    /// The slice's sums for all tiles.
    output: &'a mut [f32],
}

/// The convolution for some of the output channels.
struct Slice<'a, A> {
    tiles: &'a Tiles,
    /// Channels of the input and the output.
    sizes: (usize, usize),
    /// The output channels to be done.
    columns: Range<usize>,
    weight: Weight<'a>,
    /// All tiles, transformed.
    input: (&'a [f32], Grouped),
    buffers: Buffers<'a>,
    epilogue: &'a Epilogue<'a>,
    out: SharedMut<'a, f32>,
    algorithm: PhantomData<A>,
}

impl<A: Algorithm> Kernel for Slice<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Self { tiles, sizes: (depth, channels), columns, weight, input: (input, input_layout), .. } =
            self;
        let input_layout = input_layout.of::<V>();
        let Buffers { transformed, turned, output } = self.buffers;
        let (transformed, output) = (transformed.as_mut_ptr(), output.as_mut_ptr());
        let vectors = columns.len().div_ceil(V::LANES);
        let weight_layout = Panelled::new(run_len(V::LANES), vectors * V::LANES, V::LANES);
        let output_layout = Grouped::new(vectors * V::LANES, V::LANES);
        // SAFETY: the buffers are large enough for these layouts, `x`, `out` and the weight have their shapes; pieces
        // write different channels of `out`.
        unsafe {
            for start in (0..depth).step_by(run_len(V::LANES)) {
                let rows = start..(start + run_len(V::LANES)).min(depth);
                let count = rows.len();
                let from = match weight {
                    Weight::Forward(weight) => {
                        (weight.as_ptr().add(start * channels + columns.start), depth * channels, channels)
                    }
                    Weight::Turned(weight) => {
                        let turned = &mut turned[..9 * count * columns.len()];
                        turn(weight, (depth, channels), rows, columns.clone(), turned);
                        (turned.as_ptr(), count * columns.len(), columns.len())
                    }
                };
                let to = (transformed, weight_layout);
                transform::weight::<V, A>(0..count, from, columns.len(), to);
                let sums = Depth::in_runs(count, V::LANES).in_chains(CHAIN);
                let sizes = (tiles.count(), sums, vectors);
                let left = input.as_ptr().add(input_layout.at::<A>(0, start / V::LANES));
                for slot in 0..A::SLOTS {
                    let left = input_layout.left::<A>(left, slot);
                    let right = weight_layout.right::<A>(transformed, slot);
                    product::<V>(sizes, left, right, output_layout.out::<A>(output, slot, 0), start > 0);
                }
            }
            let from = (output.cast_const(), output_layout);
            let out = (self.out.pointer(), channels, columns);
            transform::output::<V, A>(tiles, 0..tiles.count(), from, self.epilogue, out);
        }
    }
}

/// The gradient with respect to the weight.
pub(super) fn backward_weight<A: Algorithm>(isa: Isa, sources: &Sources<A>, grad_weight: &mut [f32]) {
    let (count, lanes) = (sources.tiles.count(), lanes(isa));
    let (x_len, grad_len) = sources.lens(count);
    scratch::with(x_len + grad_len, |buffer| {
        let (x, grad) = buffer.split_at_mut(x_len);
        let shared = (SharedMut::new(x), SharedMut::new(grad));
        for_each_piece(count.div_ceil(GROUP), |group| {
            let range = group * GROUP..(group * GROUP + GROUP).min(count);
            let (x_from, grad_from) = sources.lens(range.start);
            let (x_len, grad_len) = sources.lens(range.len());
            // SAFETY: whole groups of rows, which no other piece has.
            let (x, grad) = unsafe { (shared.0.slice(x_from, x_len), shared.1.slice(grad_from, grad_len)) };
            run(isa, Transform { sources, range, x, grad });
        });
        let (x, grad) = (&*x, &*grad);
        let to = SharedMut::new(grad_weight);
        if sources.layouts.0.is_wide() && count >= SLOT_TILES {
            return by_slots(isa, sources, (x, grad), to);
        }
        let rows = sources.layouts.0.vectors;
        let slices: Vec<_> = panels(sources.layouts.1.vectors).collect();
        // Pieces that follow one another read the same columns of the output gradient.
        for_each_piece(slices.len() * rows, |piece| {
            let (slice, vector) = (slices[piece / rows], piece % rows);
            let layout = Grouped::new(slice.1 * lanes, lanes);
            scratch::with(layout.len::<A>(lanes), |sums| {
                run(isa, Part { sources, x, grad, vector, slice, sums: (sums, layout), to });
            });
        });
    });
}

/// The gradient for one vector of input channels and some vectors of output channels.
struct Part<'a, A> {
    sources: &'a Sources<'a, A>,
    /// All tiles of both, transformed.
    x: &'a [f32],
    grad: &'a [f32],
    vector: usize,
    /// First vector of output channels, and how many.
    slice: (usize, usize),
    /// A row for each input channel.
    sums: (&'a mut [f32], Grouped),
    to: SharedMut<'a, f32>,
}

impl<A: Algorithm> Kernel for Part<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Self { sources, vector, slice: (first, width), .. } = self;
        let Sources { tiles, x: (_, depth), grad_out: (_, channels), layouts, .. } = *sources;
        let layouts = (layouts.0.of::<V>(), layouts.1.of::<V>());
        let (sums, sums_layout) = (self.sums.0.as_mut_ptr(), self.sums.1.of::<V>());
        let range = vector * V::LANES..(vector * V::LANES + V::LANES).min(depth);
        let columns = first * V::LANES..((first + width) * V::LANES).min(channels);
        // SAFETY: the buffers were made with these layouts, for so many tiles; pieces write different parts of `to`.
        unsafe {
            let grad = self.grad.as_ptr().add(layouts.1.at::<A>(0, first));
            // Channels past the last are 0.
            let rows = range.len().next_multiple_of(V::ROWS.min(V::LANES));
            let sizes = (rows, Depth::in_runs(tiles.count(), GROUP), width);
            for slot in 0..A::SLOTS {
                let left = layouts.0.left_transposed::<A>(self.x.as_ptr(), slot, vector);
                let right = layouts.1.right::<A>(grad, slot);
                product::<V>(sizes, left, right, sums_layout.out::<A>(sums, slot, 0), false);
            }
            let from = (sums.cast_const(), sums_layout, range.start);
            let to = (self.to.pointer(), depth, channels);
            transform::grad_weight::<V, A>(range, columns, from, (1, 0), to);
        }
    }
}
