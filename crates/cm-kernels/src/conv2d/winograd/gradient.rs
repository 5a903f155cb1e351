//! The gradient with respect to the weight, summed over the tiles in the transformed domain.
//!
//! The blocks of tiles are dealt out to a few groups. A group adds its blocks in order into its own transformed
//! gradient; the groups' gradients are added in order at the end.

use std::marker::PhantomData;
use std::ops::Range;

use super::algorithm::Algorithm;
use super::block_tiles;
use super::layout::Grouped;
use super::tiles::Tiles;
use super::transform;
use crate::conv2d::product::{Depth, GROUP, product};
use crate::conv2d::vector::{Kernel, Vector, lanes, run};
use crate::conv2d::{Conv2dShape, scratch};
use crate::dispatch::Isa;
use crate::threads::{SharedMut, for_each_piece};

/// Most groups, least tiles of a group, and most floats of all groups' sums (but two groups there may always be).
const MAX_GROUPS: usize = 8;
const GROUP_TILES: usize = 64;
const SUMS_FLOATS: usize = 5 << 20;

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
    let step = block_tiles::<A>(tiles.count(), depth, channels);
    let blocks = tiles.count().div_ceil(step);
    let affordable = (SUMS_FLOATS / (A::SLOTS * depth * channels)).clamp(2, MAX_GROUPS);
    let per_group = blocks.div_ceil((tiles.count() / GROUP_TILES).clamp(1, affordable));
    let groups = blocks.div_ceil(per_group);
    let (x_layout, grad_layout) = (Grouped::new(depth, lanes(isa)), Grouped::new(channels, lanes(isa)));
    // The sums have a row per input channel, but are made a vector of input channels at a time.
    let sums_len = grad_layout.len::<A>(depth.next_multiple_of(lanes(isa)));
    let zeros_len = depth.next_multiple_of(lanes(isa));
    scratch::with(groups * sums_len + zeros_len, |shared| {
        let (sums, zeros) = shared.split_at_mut(groups * sums_len);
        zeros.fill(0.0);
        let zeros = &*zeros;
        let shared = SharedMut::new(sums);
        for_each_piece(groups, |group| {
            // SAFETY: each group has its own sums.
            let sums = unsafe { shared.slice(group * sums_len, sums_len) };
            let x_len = x_layout.len::<A>(step);
            scratch::with(x_len + grad_layout.len::<A>(step), |buffer| {
                let (x_buffer, grad_buffer) = buffer.split_at_mut(x_len);
                let first = group * per_group * step;
                let last = (first + per_group * step).min(tiles.count());
                for start in (first..last).step_by(step) {
                    let block = Block::<A> {
                        tiles,
                        range: start..(start + step).min(last),
                        depth,
                        channels,
                        x,
                        zeros,
                        grad_out,
                        x_buffer: (x_buffer, x_layout),
                        grad_buffer: (grad_buffer, grad_layout),
                        sums,
                        add: start > first,
                        algorithm: PhantomData,
                    };
                    run(isa, block);
                }
            });
        });
        let grad_weight = SharedMut::new(grad_weight);
        for_each_piece(depth.div_ceil(ROWS), |piece| {
            let range = piece * ROWS..(piece * ROWS + ROWS).min(depth);
            let sums = (&*sums, grad_layout, groups);
            let to = (grad_weight, depth, channels);
            run(isa, Rows::<A> { range, sums, to, algorithm: PhantomData });
        });
    });
}

/// The contribution of one block of tiles to the transformed gradient.
struct Block<'a, A> {
    tiles: Tiles,
    range: Range<usize>,
    /// Channels of the input.
    depth: usize,
    /// Channels of the output.
    channels: usize,
    x: &'a [f32],
    zeros: &'a [f32],
    grad_out: &'a [f32],
    x_buffer: (&'a mut [f32], Grouped),
    grad_buffer: (&'a mut [f32], Grouped),
    /// In the layout of the output gradient.
    sums: &'a mut [f32],
    /// Whether to add to the sums or to start them.
    add: bool,
    algorithm: PhantomData<A>,
}

impl<A: Algorithm> Kernel for Block<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Self { tiles, range, depth, channels, .. } = self;
        let (x_buffer, x_layout) = (self.x_buffer.0.as_mut_ptr(), self.x_buffer.1);
        let (grad_buffer, grad_layout) = (self.grad_buffer.0.as_mut_ptr(), self.grad_buffer.1);
        let sums = self.sums.as_mut_ptr();
        // SAFETY: the buffers were made with these layouts, `x` and `grad_out` with the shape of `tiles`.
        unsafe {
            let x = (self.x.as_ptr(), depth, self.zeros.as_ptr());
            transform::input::<V, A>(&tiles, range.clone(), x, (x_buffer, x_layout));
            let grad_out = (self.grad_out.as_ptr(), channels);
            transform::grad_output::<V, A>(&tiles, range.clone(), grad_out, (grad_buffer, grad_layout));
            for slot in 0..A::SLOTS {
                for vector in 0..x_layout.vectors {
                    // The transformed input is read transposed: its channels are the rows of the product. Channels
                    // past the last are 0.
                    let left = x_layout.left_transposed::<A>(x_buffer, slot, vector);
                    let right = grad_layout.right::<A>(grad_buffer, slot);
                    let rows = V::LANES.min(depth - vector * V::LANES).next_multiple_of(V::ROWS);
                    let sizes = (rows, Depth::in_runs(range.len(), GROUP), grad_layout.vectors);
                    let to = grad_layout.out::<A>(sums, slot, vector * V::LANES);
                    product::<V>(sizes, left, right, to, self.add);
                }
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
        unsafe { transform::grad_weight::<V, A>(self.range, (sums.as_ptr(), layout), parts, to) };
    }
}
