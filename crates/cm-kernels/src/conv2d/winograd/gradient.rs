//! The gradient with respect to the weight, summed over the tiles in the transformed domain.
//!
//! The blocks of tiles are dealt out to a few groups. A group adds its blocks in order into its own transformed
//! gradient; the groups' gradients are added in order at the end. Few tiles go another way, see [`super::few`].

use std::marker::PhantomData;
use std::ops::Range;

use super::algorithm::Algorithm;
use super::layout::Grouped;
use super::tiles::Tiles;
use super::transform;
use super::{block_tiles, few};
use crate::conv2d::Conv2dShape;
use crate::dispatch::Isa;
use crate::product::vector::{Kernel, Vector, lanes, run};
use crate::product::{Depth, GROUP, product};
use crate::scratch;
use crate::threads::{SharedMut, for_each_piece};

/// Most groups, least tiles of a group, and most floats of all groups' sums (but two groups there may always be).
const MAX_GROUPS: usize = 8;
const GROUP_TILES: usize = 64;
const SUMS_FLOATS: usize = 5 << 20;

/// Fewer tiles than this are few: groups of them would not keep several threads busy, and the sums would travel
/// between the caches more often than pays.
const FEW_TILES: usize = 320;

/// Rows of the weight that one piece transforms back.
const ROWS: usize = 8;

pub(in crate::conv2d) fn backward_weight<A: Algorithm>(
    isa: Isa,
    shape: &Conv2dShape,
    x: &[f32],
    grad_out: &[f32],
    grad_weight: &mut [f32],
) {
    let (depth, channels) = (shape.in_channels, shape.out_channels);
    let tiles = Tiles::new::<A>(shape);
    if tiles.count() == 0 {
        grad_weight.fill(0.0);
        return;
    }
    let layouts = (Grouped::new(depth, lanes(isa)), Grouped::new(channels, lanes(isa)));
    let zeros = vec![0.0; depth.next_multiple_of(lanes(isa))];
    let sources = Sources::<A> {
        tiles,
        x: (x, depth),
        zeros: &zeros,
        grad_out: (grad_out, channels),
        layouts,
        algorithm: PhantomData,
    };
    if tiles.count() < FEW_TILES {
        return few::backward_weight(isa, &sources, grad_weight);
    }
    let grad_weight = SharedMut::new(grad_weight);
    let step = block_tiles::<A>(tiles.count(), depth, channels);
    let blocks = tiles.count().div_ceil(step);
    let affordable = (SUMS_FLOATS / (A::SLOTS * depth * channels)).clamp(2, MAX_GROUPS);
    let per_group = blocks.div_ceil((tiles.count() / GROUP_TILES).min(affordable));
    let groups = blocks.div_ceil(per_group);
    let sums_len = sources.sums_len();
    scratch::with(groups * sums_len, |sums| {
        sums_by_groups(isa, &sources, (step, per_group * step), sums_len, sums);
        transform_back(isa, &sources, (sums, groups), grad_weight);
    });
}

/// The gradient from the transforms of all tiles: each slot's sums for themselves, in one go.
pub(super) fn by_slots<A: Algorithm>(
    isa: Isa,
    sources: &Sources<A>,
    (x, grad): (&[f32], &[f32]),
    grad_weight: SharedMut<'_, f32>,
) {
    scratch::with(sources.sums_len(), |sums| {
        let shared = SharedMut::new(sums);
        for_each_piece(A::SLOTS, |slot| {
            let (tiles, slots, sums) = (sources.tiles.count(), slot..slot + 1, shared);
            run(isa, Multiply { sources, tiles, slots, x, grad, sums, add: false });
        });
        transform_back(isa, sources, (sums, 1), grad_weight);
    });
}

/// The sums of some groups, one after another, added in order and transformed back.
fn transform_back<A: Algorithm>(
    isa: Isa,
    sources: &Sources<A>,
    (sums, groups): (&[f32], usize),
    grad_weight: SharedMut<'_, f32>,
) {
    let (depth, channels) = (sources.x.1, sources.grad_out.1);
    for_each_piece(depth.div_ceil(ROWS), |piece| {
        let range = piece * ROWS..(piece * ROWS + ROWS).min(depth);
        let sums = (sums, sources.layouts.1, groups);
        let to = (grad_weight, depth, channels);
        run(isa, Rows::<A> { range, sums, to, algorithm: PhantomData });
    });
}

/// The transformed gradient of each group of `per_group` tiles, in blocks of `step`.
fn sums_by_groups<A: Algorithm>(
    isa: Isa,
    sources: &Sources<A>,
    (step, per_group): (usize, usize),
    sums_len: usize,
    sums: &mut [f32],
) {
    let count = sources.tiles.count();
    let shared = SharedMut::new(sums);
    for_each_piece(count.div_ceil(per_group), |group| {
        // SAFETY: each group has its own sums.
        let sums = unsafe { shared.slice(group * sums_len, sums_len) };
        let (x_len, grad_len) = sources.lens(step);
        scratch::with(x_len + grad_len, |buffer| {
            let (x, grad) = buffer.split_at_mut(x_len);
            let first = group * per_group;
            for start in (first..(first + per_group).min(count)).step_by(step) {
                let range = start..(start + step).min(count);
                run(isa, Transform { sources, range: range.clone(), x, grad });
                let (tiles, slots, sums) = (range.len(), 0..A::SLOTS, SharedMut::new(sums));
                run(isa, Multiply { sources, tiles, slots, x, grad, sums, add: start > first });
            }
        });
    });
}

/// What the gradient is made of.
pub(super) struct Sources<'a, A> {
    pub(super) tiles: Tiles,
    /// The convolution's input and its channels.
    pub(super) x: (&'a [f32], usize),
    /// As many zeros as the input has channels.
    zeros: &'a [f32],
    /// The gradient of its output, and its channels.
    pub(super) grad_out: (&'a [f32], usize),
    /// How both lie when transformed.
    pub(super) layouts: (Grouped, Grouped),
    algorithm: PhantomData<A>,
}

impl<A: Algorithm> Sources<'_, A> {
    /// Floats of so many tiles of both, transformed.
    pub(super) fn lens(&self, tiles: usize) -> (usize, usize) {
        (self.layouts.0.len::<A>(tiles), self.layouts.1.len::<A>(tiles))
    }

    /// Floats of the transformed gradient. It has a row per input channel, but is made a vector of input channels at a
    /// time.
    fn sums_len(&self) -> usize {
        let (x, grad) = self.layouts;
        grad.len::<A>(x.padded())
    }
}

/// Transforms the tiles `range` of both sources.
pub(super) struct Transform<'a, A> {
    pub(super) sources: &'a Sources<'a, A>,
    pub(super) range: Range<usize>,
    pub(super) x: &'a mut [f32],
    pub(super) grad: &'a mut [f32],
}

impl<A: Algorithm> Kernel for Transform<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Sources { tiles, x, zeros, grad_out, layouts, .. } = self.sources;
        // SAFETY: the buffers were made with these layouts, `x` and `grad_out` with the shape of `tiles`.
        unsafe {
            let x = (x.0.as_ptr(), x.1, zeros.as_ptr());
            transform::input::<V, A>(tiles, self.range.clone(), x, (self.x.as_mut_ptr(), layouts.0));
            let grad_out = (grad_out.0.as_ptr(), grad_out.1);
            transform::grad_output::<V, A>(tiles, self.range, grad_out, (self.grad.as_mut_ptr(), layouts.1));
        }
    }
}

/// The products of `tiles` transformed tiles in some slots.
struct Multiply<'a, A> {
    sources: &'a Sources<'a, A>,
    tiles: usize,
    slots: Range<usize>,
    x: &'a [f32],
    grad: &'a [f32],
    /// In the layout of the output gradient.
    sums: SharedMut<'a, f32>,
    /// Whether to add to the sums or to start them.
    add: bool,
}

impl<A: Algorithm> Kernel for Multiply<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Sources { x: (_, depth), layouts: (x_layout, grad_layout), .. } = *self.sources;
        let (x_layout, grad_layout) = (x_layout.of::<V>(), grad_layout.of::<V>());
        let sums = self.sums.pointer();
        // Rows that are made together.
        let step = if x_layout.is_wide() { depth } else { V::LANES };
        for slot in self.slots {
            for first in (0..depth).step_by(step) {
                // The transformed input is read transposed: its channels are the rows of the product. Channels past
                // the last are 0.
                let left = x_layout.left_transposed::<A>(self.x.as_ptr(), slot, first / V::LANES);
                let right = grad_layout.right::<A>(self.grad.as_ptr(), slot);
                let rows = step.min(depth - first).next_multiple_of(V::ROWS);
                let sizes = (rows, Depth::in_runs(self.tiles, GROUP), grad_layout.vectors);
                let to = grad_layout.out::<A>(sums, slot, first);
                // SAFETY: the buffers were made with these layouts, for so many tiles; pieces that share sums have
                // different slots.
                unsafe { product::<V>(sizes, left, right, to, self.add) };
            }
        }
    }
}

/// The transform of some rows (input channels) of the summed gradient back to a 3x3 kernel.
struct Rows<'a, A> {
    range: Range<usize>,
    /// The groups' sums, their layout, and how many there are.
    sums: (&'a [f32], Grouped, usize),
    to: (SharedMut<'a, f32>, usize, usize),
    algorithm: PhantomData<A>,
}

impl<A: Algorithm> Kernel for Rows<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let (sums, layout, groups) = self.sums;
        let (to, depth, channels) = self.to;
        let to = (to.pointer(), depth, channels);
        let parts = (groups, sums.len() / groups);
        // SAFETY: the sizes are those of the weight; pieces write different rows.
        unsafe {
            transform::grad_weight::<V, A>(self.range, 0..channels, (sums.as_ptr(), layout, 0), parts, to);
        }
    }
}
