//! How transformed tiles and weights lie in memory.
//!
//! A transform of one vector of channels writes (or reads) SLOTS vectors. Vectors of a cache line's length lie
//! together if they are transformed together: for each group of 8 rows and vector of columns there is a square of
//! SLOTS small matrices `[8, LANES]`. A matrix takes the room of 9 rows: the slots of one tile are then an odd number
//! of cache lines apart and fall into different sets of the first-level cache (with 8 rows the transforms take up to a
//! half longer).
//!
//! Shorter vectors would have two rows in a line, which a transform of one row after another fetches twice, and the
//! products would read their rows in pieces of 32 bytes. There, rows are whole ([`Grouped::is_wide`]): a group of 8
//! rows has SLOTS matrices `[8, columns]`, again an odd number of lines apart.

use super::algorithm::Algorithm;
use crate::product::vector::Vector;
use crate::product::{GROUP, LINE, Left, Out, Right};

/// Small matrices from one square, or one group of whole rows, to the next: one more than are used, so that these, too,
/// are an odd number of cache lines apart.
const fn stride<A: Algorithm>() -> usize {
    A::SLOTS + 1
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

    /// The same with a number of lanes that the compiler knows.
    #[inline(always)]
    pub(super) fn of<V: Vector>(self) -> Self {
        debug_assert_eq!(self.lanes, V::LANES, "a layout for other vectors");
        Self { lanes: V::LANES, ..self }
    }

    /// Floats for `rows` rows.
    pub(super) fn len<A: Algorithm>(self, rows: usize) -> usize {
        rows.div_ceil(GROUP) * self.group::<A>()
    }

    /// Columns in whole vectors.
    pub(super) fn padded(self) -> usize {
        self.vectors * self.lanes
    }

    /// Whether the columns of a row lie one after another.
    pub(super) fn is_wide(self) -> bool {
        self.lanes < LINE
    }

    /// Floats from one row of a group to the next: an odd number of vectors, so that a column falls into many sets.
    fn row(self) -> usize {
        if self.is_wide() { (self.vectors | 1) * self.lanes } else { self.lanes }
    }

    /// Floats from one slot to the next.
    #[inline(always)]
    pub(super) fn slot(self) -> usize {
        GROUP * self.row() + LINE
    }

    /// Floats from one vector of columns to the next.
    fn vector<A: Algorithm>(self) -> usize {
        if self.is_wide() { self.lanes } else { stride::<A>() * self.slot() }
    }

    /// Floats from one group of rows to the next.
    fn group<A: Algorithm>(self) -> usize {
        let vectors = if self.is_wide() { 1 } else { self.vectors };
        vectors * stride::<A>() * self.slot()
    }

    /// Offset of the first slot of a row and vector.
    #[inline(always)]
    pub(super) fn at<A: Algorithm>(self, row: usize, vector: usize) -> usize {
        row / GROUP * self.group::<A>() + vector * self.vector::<A>() + row % GROUP * self.row()
    }

    /// A slot's matrix as a left factor: the sums run over the columns, a vector per run.
    pub(super) fn left<A: Algorithm>(self, start: *const f32, slot: usize) -> Left {
        Left {
            start: start.wrapping_add(slot * self.slot()),
            group: self.group::<A>(),
            row: self.row(),
            run: self.vector::<A>(),
            term: 1,
            ahead: 0,
        }
    }

    /// A slot's matrix transposed as a left factor, from vector `vector` of its columns on: that vector, or all later
    /// ones too if rows are whole. The sums run over the rows, a group per run.
    pub(super) fn left_transposed<A: Algorithm>(self, start: *const f32, slot: usize, vector: usize) -> Left {
        Left {
            start: start.wrapping_add(slot * self.slot() + vector * self.vector::<A>()),
            group: GROUP,
            row: 1,
            run: self.group::<A>(),
            term: self.row(),
            ahead: 0,
        }
    }

    /// A slot's matrix as a right factor: the sums run over the rows, a group per run.
    pub(super) fn right<A: Algorithm>(self, start: *const f32, slot: usize) -> Right {
        Right::Vectors {
            start: start.wrapping_add(slot * self.slot()),
            vector: self.vector::<A>(),
            run: self.group::<A>(),
            term: self.row(),
        }
    }

    /// A slot's matrix as an output, from row `row` on, which is a multiple of the rows computed together.
    pub(super) fn out<A: Algorithm>(self, start: *mut f32, slot: usize, row: usize) -> Out {
        Out {
            start: start.wrapping_add(slot * self.slot() + self.at::<A>(row, 0)),
            group: self.group::<A>(),
            row: self.row(),
            vector: self.vector::<A>(),
        }
    }
}

/// A transformed weight: in panels of output channels (see [`crate::product::panels`]), a panel in runs of
/// LANES input channels, a run in slots. With vectors shorter than a line a panel is in slots, a slot in runs, so that a
/// product reads its panel in one go.
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

    /// The same with a number of lanes that the compiler knows.
    #[inline(always)]
    pub(super) fn of<V: Vector>(self) -> Self {
        debug_assert_eq!(self.lanes, V::LANES, "a layout for other vectors");
        Self { lanes: V::LANES, ..self }
    }

    /// Floats of everything.
    pub(super) fn len<A: Algorithm>(self) -> usize {
        self.vectors * self.column::<A>()
    }

    /// Whether the runs of a slot lie one after another.
    fn is_wide(self) -> bool {
        self.lanes < LINE
    }

    /// Runs of a panel.
    fn runs(self) -> usize {
        self.depth.div_ceil(self.lanes)
    }

    /// Floats of a panel per vector of its width.
    fn column<A: Algorithm>(self) -> usize {
        let squares = if self.is_wide() { 1 } else { self.runs() };
        squares * stride::<A>() * self.slot()
    }

    /// Floats from one run to the next per vector of its panel's width.
    fn run<A: Algorithm>(self) -> usize {
        if self.is_wide() { self.lanes * self.lanes } else { stride::<A>() * self.slot() }
    }

    /// Floats from one slot to the next per vector of its panel's width.
    #[inline(always)]
    pub(super) fn slot(self) -> usize {
        let runs = if self.is_wide() { self.runs() } else { 1 };
        runs * self.lanes * self.lanes + self.lanes
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

#[cfg(test)]
mod tests {
    use super::super::algorithm::{F2, F4};
    use super::*;

    /// Marks the places of one vector in all slots, each of which must be free.
    fn mark<A: Algorithm>(taken: &mut [bool], at: usize, slot: usize, lanes: usize) {
        for slot in (0..A::SLOTS).map(|i| at + i * slot) {
            for place in &mut taken[slot..slot + lanes] {
                assert!(!std::mem::replace(place, true), "two numbers in one place");
            }
        }
    }

    fn no_two_numbers_share_a_place<A: Algorithm>() {
        for lanes in [4, 8, 16] {
            for (rows, columns) in [(1, 1), (5, 20), (16, 64), (17, 130)] {
                let layout = Grouped::new(columns, lanes);
                let mut taken = vec![false; layout.len::<A>(rows)];
                for row in 0..rows {
                    for vector in 0..layout.vectors {
                        mark::<A>(&mut taken, layout.at::<A>(row, vector), layout.slot(), lanes);
                    }
                }
                let layout = Panelled::new(rows, columns, lanes);
                let mut taken = vec![false; layout.len::<A>()];
                for panel in crate::product::panels(layout.vectors) {
                    for row in 0..rows {
                        let at = layout.at::<A>(panel, row);
                        mark::<A>(&mut taken, at, panel.1 * layout.slot(), panel.1 * lanes);
                    }
                }
            }
        }
    }

    #[test]
    fn no_two_numbers_of_a_layout_share_a_place() {
        no_two_numbers_share_a_place::<F2>();
        no_two_numbers_share_a_place::<F4>();
    }
}
