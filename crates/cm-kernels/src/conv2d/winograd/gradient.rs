//! The gradient with respect to the weight, summed over the tiles in the transformed domain.
//!
//! The blocks of tiles are dealt out to a few groups. A group adds its blocks in order into its own transformed
//! gradient; the groups' gradients are added in order at the end.

use std::marker::PhantomData;
use std::ops::Range;

use super::algorithm::Algorithm;
use super::tiles::Tiles;
use super::transform::{self, Slots};
use super::block_tiles;
use crate::conv2d::product::{Left, Right, product};
use crate::conv2d::vector::{Kernel, Vector, lanes, run};
use crate::conv2d::{Conv2dShape, scratch};
use crate::dispatch::Isa;
use crate::threads::{SharedMut, for_each_piece};

/// Most groups, and least tiles of a group.
const MAX_GROUPS: usize = 8;
const GROUP_TILES: usize = 64;

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
    let padded = channels.next_multiple_of(lanes(isa));
    let step = block_tiles::<A>(tiles.count(), depth + padded, depth * padded);
    let blocks = tiles.count().div_ceil(step);
    let per_group = blocks.div_ceil((tiles.count() / GROUP_TILES).clamp(1, MAX_GROUPS));
    let groups = blocks.div_ceil(per_group);
    let (x_slots, grad_slots) = (Slots::new(step, depth), Slots::new(step, padded));
    let sum_slots = Slots::new(depth, padded);
    let sum_len = sum_slots.len::<A>();
    let zeros = depth.next_multiple_of(lanes(isa));
    scratch::with(groups * sum_len + zeros, |shared| {
        let (sums, zeros) = shared.split_at_mut(groups * sum_len);
        zeros.fill(0.0);
        let zeros = &*zeros;
        let shared = SharedMut::new(sums);
        for_each_piece(groups, |group| {
            // SAFETY: each group has its own sums.
            let sums = unsafe { shared.slice(group * sum_len, sum_len) };
            scratch::with(x_slots.len::<A>() + grad_slots.len::<A>(), |buffer| {
                let (x_buffer, grad_buffer) = buffer.split_at_mut(x_slots.len::<A>());
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
                        x_buffer: (x_buffer, x_slots),
                        grad_buffer: (grad_buffer, grad_slots),
                        sums: (sums, sum_slots),
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
            let sums = (&*sums, sum_slots, groups);
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
    x_buffer: (&'a mut [f32], Slots),
    grad_buffer: (&'a mut [f32], Slots),
    sums: (&'a mut [f32], Slots),
    /// Whether to add to the sums or to start them.
    add: bool,
    algorithm: PhantomData<A>,
}

impl<A: Algorithm> Kernel for Block<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Self { tiles, range, depth, channels, .. } = self;
        let (x_buffer, x_slots) = (self.x_buffer.0.as_mut_ptr(), self.x_buffer.1);
        let (grad_buffer, grad_slots) = (self.grad_buffer.0.as_mut_ptr(), self.grad_buffer.1);
        let (sums, sum_slots) = (self.sums.0.as_mut_ptr(), self.sums.1);
        // SAFETY: the buffers were made with these slots, `x` and `grad_out` with the shape of `tiles`.
        unsafe {
            let x = (self.x.as_ptr(), depth, self.zeros.as_ptr());
            transform::input::<V, A>(&tiles, range.clone(), x, x_buffer, x_slots);
            let grad_out = (self.grad_out.as_ptr(), channels);
            transform::grad_output::<V, A>(&tiles, range.clone(), grad_out, grad_buffer, grad_slots);
            for slot in 0..A::SLOTS {
                // The transformed input is read transposed: its channels are the rows of the product.
                let left = Left { start: x_buffer.add(slot * x_slots.step), row_step: 1, depth_step: depth };
                let right = Right::Rows(grad_buffer.add(slot * grad_slots.step), grad_slots.row);
                let sizes = (depth, range.len(), sum_slots.row / V::LANES);
                product::<V>(sizes, left, right, sums.add(slot * sum_slots.step), sum_slots.row, self.add);
            }
        }
    }
}

/// The transform of some rows (input channels) of the summed gradient back to a 3x3 kernel.
struct Rows<'a, A> {
    range: Range<usize>,
    /// The groups' sums, their layout, and how many there are.
    sums: (&'a [f32], Slots, usize),
    to: (SharedMut<'a, f32>, usize, usize),
    algorithm: PhantomData<A>,
}

impl<A: Algorithm> Kernel for Rows<'_, A> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let (sums, slots, groups) = self.sums;
        let (to, depth, channels) = self.to;
        let to = (to.pointer(), depth, channels);
        // SAFETY: the sizes are those of the weight; pieces write different rows.
        unsafe { transform::grad_weight::<V, A>(self.range, (sums.as_ptr(), slots, groups), to) };
    }
}
