//! What the gradient with respect to a weight is summed from, and how: the tiles of both sources, transformed, their
//! products slot by slot, and the way back.

use std::marker::PhantomData;
use std::ops::Range;

use super::algorithm::Algorithm;
use super::layout::Grouped;
use super::tiles::Tiles;
use super::transform;
use crate::dispatch::Isa;
use crate::product::vector::{Kernel, Vector, run};
use crate::product::{Depth, GROUP, product};
use crate::scratch;
use crate::threads::{SharedMut, for_each_piece};

/// Rows of the weight that one piece transforms back.
const ROWS: usize = 8;

/// What the gradient is made of.
pub(super) struct Sources<'a, A> {
    pub(super) tiles: Tiles,
    /// The convolution's input and its channels.
    pub(super) x: (&'a [f32], usize),
    /// As many zeros as the input has channels.
    pub(super) zeros: &'a [f32],
    /// The gradient of its output, and its channels.
    pub(super) grad_out: (&'a [f32], usize),
    /// How both lie when transformed.
    pub(super) layouts: (Grouped, Grouped),
    pub(super) algorithm: PhantomData<A>,
}

impl<A: Algorithm> Sources<'_, A> {
    /// Floats of so many tiles of both, transformed.
    pub(super) fn lens(&self, tiles: usize) -> (usize, usize) {
        (self.layouts.0.len::<A>(tiles), self.layouts.1.len::<A>(tiles))
    }

    /// Floats of the transformed gradient. It has a row per input channel, but is made a vector of input channels at a
    /// time.
    pub(super) fn sums_len(&self) -> usize {
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
pub(super) struct Multiply<'a, A> {
    pub(super) sources: &'a Sources<'a, A>,
    pub(super) tiles: usize,
    pub(super) slots: Range<usize>,
    pub(super) x: &'a [f32],
    pub(super) grad: &'a [f32],
    /// In the layout of the output gradient.
    pub(super) sums: SharedMut<'a, f32>,
    /// Whether to add to the sums or to start them.
    pub(super) add: bool,
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
                let rows = step.min(depth - first).next_multiple_of(V::ROWS.min(V::LANES));
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
pub(super) fn transform_back<A: Algorithm>(
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
