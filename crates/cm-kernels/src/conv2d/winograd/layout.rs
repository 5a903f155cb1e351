//! How transformed tiles and weights lie in memory.
//!
//! A transform of one vector of channels writes (or reads) SLOTS vectors. So what is transformed together lies
//! together: for each group of 8 rows and vector of columns there is a square of SLOTS small matrices `[8, LANES]`.
//! A matrix takes the room of 9 rows: the slots of one tile are then an odd number of cache lines apart and fall
//! into different sets of the first-level cache (with 8 rows the transforms take up to a half longer).

use super::algorithm::Algorithm;
use crate::product::vector::Vector;
use crate::product::{GROUP, Left, Out, Right};

/// Small matrices from one square to the next: one more than are used, so that squares, too, are an odd number of
/// cache lines apart.
const fn stride<A: Algorithm>() -> usize {
    A::SLOTS + 1
}

/// Floats from one slot of a square to the next: a constant, for the transforms address many at once.
pub(super) const fn slot<V: Vector>() -> usize {
    (GROUP + 1) * V::LANES
}

/// Floats from one slot of a transformed weight to the next, per vector of the panel's width.
pub(super) const fn weight_slot<V: Vector>() -> usize {
    (V::LANES + 1) * V::LANES
}

/// Transformed tiles (rows are tiles, columns channels), or sums of the weight's gradient (rows are input channels).
#[derive(Clone, Copy)]
pub(super) struct Grouped {
    /// Vectors of columns.
    pub(super) vectors: usize,
    /// Floats of a vector.
    lanes: usize,
}

impl Grouped {
    /// Rows of `columns` floats in vectors of `lanes`.
    pub(super) fn new(columns: usize, lanes: usize) -> Self {
        Self { vectors: columns.div_ceil(lanes), lanes }
    }

    /// Floats for `rows` rows.
    pub(super) fn len<A: Algorithm>(self, rows: usize) -> usize {
        rows.div_ceil(GROUP) * self.group::<A>()
    }

    /// Floats from one group of rows to the next.
    fn group<A: Algorithm>(self) -> usize {
        self.vectors * self.square::<A>()
    }

    /// Floats from one vector of columns to the next.
    fn square<A: Algorithm>(self) -> usize {
        stride::<A>() * self.slot()
    }

    /// Floats from one slot to the next.
    fn slot(self) -> usize {
        (GROUP + 1) * self.lanes
    }

    /// Offset of the first slot of a row and vector.
    #[inline(always)]
    pub(super) fn at<A: Algorithm>(self, row: usize, vector: usize) -> usize {
        row / GROUP * self.group::<A>() + vector * self.square::<A>() + row % GROUP * self.lanes
    }

    /// A slot's matrix as a left factor: the sums run over the columns, a vector per run.
    pub(super) fn left<A: Algorithm>(self, start: *const f32, slot: usize) -> Left {
        Left {
            start: start.wrapping_add(slot * self.slot()),
            group: self.group::<A>(),
            row: self.lanes,
            run: self.square::<A>(),
            term: 1,
            ahead: 0,
        }
    }

    /// A slot's matrix transposed as a left factor, vector `vector` of its columns: the sums run over the rows, a
    /// group per run.
    pub(super) fn left_transposed<A: Algorithm>(self, start: *const f32, slot: usize, vector: usize) -> Left {
        Left {
            start: start.wrapping_add(slot * self.slot() + vector * self.square::<A>()),
            group: GROUP,
            row: 1,
            run: self.group::<A>(),
            term: self.lanes,
            ahead: 0,
        }
    }

    /// A slot's matrix as a right factor: the sums run over the rows, a group per run.
    pub(super) fn right<A: Algorithm>(self, start: *const f32, slot: usize) -> Right {
        Right::Vectors {
            start: start.wrapping_add(slot * self.slot()),
            vector: self.square::<A>(),
            run: self.group::<A>(),
            term: self.lanes,
        }
    }

    /// A slot's matrix as an output, from row `row` on, which is a multiple of the rows computed together.
    pub(super) fn out<A: Algorithm>(self, start: *mut f32, slot: usize, row: usize) -> Out {
        Out {
            start: start.wrapping_add(slot * self.slot() + self.at::<A>(row, 0)),
            group: self.group::<A>(),
            row: self.lanes,
            vector: self.square::<A>(),
        }
    }
}

/// A transformed weight: in panels of output channels (see [`crate::product::panels`]), a panel in runs of
/// LANES input channels, a run in slots.
#[derive(Clone, Copy)]
pub(super) struct Panelled {
    /// Input channels.
    depth: usize,
    /// Output channels in vectors.
    pub(super) vectors: usize,
    lanes: usize,
}

impl Panelled {
    /// A weight of `depth` input and `channels` output channels.
    pub(super) fn new(depth: usize, channels: usize, lanes: usize) -> Self {
        Self { depth, vectors: channels.div_ceil(lanes), lanes }
    }

    /// Floats of everything.
    pub(super) fn len<A: Algorithm>(self) -> usize {
        self.vectors * self.column::<A>()
    }

    /// Floats of a panel per vector of its width.
    fn column<A: Algorithm>(self) -> usize {
        self.depth.div_ceil(self.lanes) * self.run::<A>()
    }

    /// Floats of a run per vector of its panel's width.
    fn run<A: Algorithm>(self) -> usize {
        stride::<A>() * self.slot()
    }

    /// Floats of a slot per vector of its panel's width.
    fn slot(self) -> usize {
        self.lanes * self.lanes + self.lanes
    }

    /// Offset of the first slot of input channel `k` in the panel of `width` vectors from `first` on.
    #[inline(always)]
    pub(super) fn at<A: Algorithm>(self, (first, width): (usize, usize), k: usize) -> usize {
        first * self.column::<A>() + width * (k / self.lanes * self.run::<A>() + k % self.lanes * self.lanes)
    }

    /// A slot's matrix as a right factor: the sums run over the input channels, LANES per run.
    pub(super) fn right<A: Algorithm>(self, start: *const f32, slot: usize) -> Right {
        Right::Panels { start, column: self.column::<A>(), offset: slot * self.slot(), run: self.run::<A>() }
    }
}
