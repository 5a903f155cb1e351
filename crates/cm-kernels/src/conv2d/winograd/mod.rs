//! 3x3 convolutions with stride 1 and padding 1 by minimal filtering: 2.25 or 4 times fewer products.
//!
//! A block of tiles is transformed, multiplied (one matrix product per position of the transformed tile) and
//! transformed back by one thread, so that the transformed numbers stay in its L2 cache; blocks run in parallel.
//! The weight is transformed once per call. Two algorithms: F(4x4,3x3), and F(2x2,3x3) for images so small that
//! larger tiles would mostly stick out of them.

mod algorithm;
mod convolve;
mod gradient;
mod tiles;
mod transform;

use self::algorithm::Algorithm;
pub(super) use self::algorithm::{F2, F4};
pub(super) use self::convolve::{forward, forward_turned};
pub(super) use self::gradient::backward_weight;
use self::tiles::Tiles;
use super::Conv2dShape;

/// Whether these algorithms can do the convolution.
pub(super) fn supports(shape: &Conv2dShape) -> bool {
    shape.kernel == 3 && shape.stride == 1 && shape.padding == 1
}

/// Products per pair of channels: what to compare with `pixels * 9` of the direct way.
pub(super) fn products<A: Algorithm>(shape: &Conv2dShape) -> usize {
    Tiles::new::<A>(shape).count() * A::SLOTS
}

/// Floats of transformed input and output that a block may have: they should fit into the L2 cache.
const BLOCK_FLOATS: usize = 320 * 1024;

/// Least and most tiles of a block: enough rows for the matrix product, and no more than give the cache reuse.
const BLOCK_TILES: std::ops::RangeInclusive<usize> = 16..=128;

/// Multiply-adds below which a block is not worth a task.
const BLOCK_WORK: usize = 1 << 20;

/// Tiles per block, a multiple of 8: bounded by the cache, and small enough for 8 blocks if those have enough work.
fn block_tiles<A: Algorithm>(tiles: usize, floats_per_tile: usize, work_per_tile: usize) -> usize {
    let cache = BLOCK_FLOATS / (A::SLOTS * floats_per_tile).max(1);
    let work = (BLOCK_WORK / (A::SLOTS * work_per_tile).max(1)).max(tiles.div_ceil(8));
    cache.clamp(*BLOCK_TILES.start(), *BLOCK_TILES.end()).min(work.next_multiple_of(8)).next_multiple_of(8)
}
