//! 3x3 convolutions with stride 1 by minimal filtering: 2.25 or 4 times fewer products.
//!
//! A block of tiles is transformed, multiplied (one matrix product per position of the transformed tile) and
//! transformed back by one thread, so that the transformed numbers stay in its L2 cache; blocks run in parallel.
//! The weight is transformed once per call. Where there are few tiles it is the weight that is cut into pieces, see
//! [`few`]. Two algorithms: F(4x4,3x3), and F(2x2,3x3) for images so small that
//! larger tiles would mostly stick out of them.

mod algorithm;
mod convolve;
mod few;
mod gradient;
mod layout;
mod sums;
mod tiles;
mod transform;

use self::algorithm::Algorithm;
pub(crate) use self::algorithm::F4_PAIRS;
pub(super) use self::algorithm::{F2, F4};
pub(super) use self::convolve::{forward, forward_turned};
pub(super) use self::gradient::backward_weight;
use self::tiles::Tiles;
use super::Conv2dShape;

/// A weight as it lies in memory.
#[derive(Clone, Copy)]
enum Weight<'a> {
    /// `[3, 3, in, out]` of the convolution to be done.
    Forward(&'a [f32]),
    /// `[3, 3, out, in]` of the convolution to be done, to be turned by half a turn.
    Turned(&'a [f32]),
}

/// Whether these algorithms can do the convolution.
pub(super) fn supports(shape: &Conv2dShape) -> bool {
    shape.kernel == 3 && shape.stride == 1
}

/// Products per pair of channels: what to compare with `pixels * 9` of the direct way.
pub(super) fn products<A: Algorithm>(shape: &Conv2dShape) -> usize {
    Tiles::new::<A>(shape).count() * A::SLOTS
}

/// Most tiles of a block: no more than the second-level cache holds of them, and enough for each pass over the weight.
const BLOCK_TILES: usize = 32;

/// The same where what every block passes over fills that cache by itself: the sums of the weight's gradient, and the
/// transformed weights of so many pairs of channels.
const HEAVY_BLOCK_TILES: usize = 64;
const HEAVY_PAIRS: usize = 256 * 256;

/// Multiply-adds below which a block is not worth a task.
const BLOCK_WORK: usize = 1 << 20;

/// Tiles per block, a multiple of 8 and at most `most`: few enough for a multiple of 4 blocks if those have enough work.
fn block_tiles<A: Algorithm>(tiles: usize, most: usize, pairs: usize) -> usize {
    let work = BLOCK_WORK / (A::SLOTS * pairs);
    let blocks = tiles.div_ceil(most).next_multiple_of(4);
    tiles.div_ceil(blocks.max(1)).max(work).clamp(1, most).next_multiple_of(8)
}
