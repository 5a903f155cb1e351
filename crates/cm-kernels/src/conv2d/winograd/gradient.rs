//! The gradient with respect to the weight, summed over the tiles in the transformed domain.
//!
//! The blocks of tiles are dealt out to a few groups. A group adds its blocks in order into its own transformed
//! gradient; the groups' gradients are added in order at the end. Few tiles go another way, see [`super::few`].

use std::marker::PhantomData;

use super::algorithm::Algorithm;
use super::layout::Grouped;
use super::sums::{Multiply, Sources, Transform, transform_back};
use super::tiles::Tiles;
use super::{BLOCK_TILES, HEAVY_BLOCK_TILES, block_tiles, few};
use crate::conv2d::Conv2dShape;
use crate::dispatch::Isa;
use crate::product::vector::{lanes, run};
use crate::scratch;
use crate::threads::{SharedMut, for_each_piece};

/// Most groups, least tiles of a group, and most floats of all groups' sums (but two groups there may always be).
const MAX_GROUPS: usize = 8;
const GROUP_TILES: usize = 64;
const SUMS_FLOATS: usize = 5 << 20;

/// Up to so many pairs of channels a group's sums stay in the second-level cache, if its blocks are no larger than
/// [`BLOCK_TILES`].
const LIGHT_PAIRS: usize = 128 * 64;

/// Fewer tiles than this are few: groups of them would not keep several threads busy, and the sums would travel
/// between the caches more often than pays.
const FEW_TILES: usize = 320;

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
    let step = block_tiles::<A>(tiles.count(), HEAVY_BLOCK_TILES, depth * channels);
    let blocks = tiles.count().div_ceil(step);
    let affordable = (SUMS_FLOATS / (A::SLOTS * depth * channels)).clamp(2, MAX_GROUPS);
    let per_group = blocks.div_ceil((tiles.count() / GROUP_TILES).min(affordable));
    let groups = blocks.div_ceil(per_group);
    let sums_len = sources.sums_len();
    let block = if depth * channels <= LIGHT_PAIRS { step.min(BLOCK_TILES) } else { step };
    scratch::with(groups * sums_len, |sums| {
        sums_by_groups(isa, &sources, (block, per_group * step), sums_len, sums);
        transform_back(isa, &sources, (sums, groups), grad_weight);
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
            let end = (first + per_group).min(count);
            for start in (first..end).step_by(step) {
                let range = start..(start + step).min(end);
                run(isa, Transform { sources, range: range.clone(), x, grad });
                let (tiles, slots, sums) = (range.len(), 0..A::SLOTS, SharedMut::new(sums));
                run(isa, Multiply { sources, tiles, slots, x, grad, sums, add: start > first });
            }
        });
    });
}
