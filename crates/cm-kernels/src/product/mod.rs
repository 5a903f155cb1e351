//! A small single-threaded matrix product whose factors lie in the order they are read: the inner loop of
//! convolutions and of attention.
//!
//! Beside the `gemm` crate because these make their factors themselves and can make them in the right order, once for
//! many products; for the few channels and few tiles of small networks packing is half of the time.
//! Measured on one core: 160 to 170 GFLOP/s for depths of 24 to 128, where the crate reaches 120 on large squares.

#![expect(clippy::needless_range_loop, reason = "small matrices: indices name rows and columns, and unroll")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod pack;
#[cfg(test)]
mod tests;
pub(crate) mod vector;

use self::vector::Vector;

/// Rows that lie together: the largest register block.
pub(crate) const GROUP: usize = 8;

/// Most vectors across a panel.
const PANEL: usize = 3;

/// Floats of a cache line.
pub(crate) const LINE: usize = 16;

/// The panels of a matrix that is `vectors` vectors wide: (first vector, width in vectors), widths 1 to [`PANEL`]
/// and as equal as possible.
#[inline(always)]
pub(crate) fn panels(vectors: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = vectors.div_ceil(PANEL);
    (0..count).map(move |i| {
        let from = i * vectors / count;
        (from, (i + 1) * vectors / count - from)
    })
}

/// Terms that are added one after another where values go forward through a network, and gradients back. Minimal filtering's
/// transform back makes the rounding errors of such sums four to eight times as large: by chains the output of whole networks is
/// one and a half to two times as near to the one in double precision, for 3 to 5 % of a 3x3 convolution's time.
pub(crate) const CHAIN: usize = 32;

/// The length of the sums of a product, in runs: `runs - 1` of `run` terms and one of `last`.
#[derive(Clone, Copy)]
pub(crate) struct Depth {
    runs: usize,
    run: usize,
    last: usize,
    /// Terms that are added one after another; what each such chain comes to is added to what the ones before it did. Where
    /// all terms are one chain, it goes on from what a product is added to.
    chain: usize,
}

impl Depth {
    /// `terms >= 1` terms in runs of `run`.
    pub(crate) fn in_runs(terms: usize, run: usize) -> Self {
        let runs = terms.div_ceil(run);
        Self { runs, run, last: terms - (runs - 1) * run, chain: usize::MAX }
    }

    /// The same sums, in chains of so many terms, a multiple of a run's: rounding errors grow with the length of a chain.
    pub(crate) fn in_chains(self, chain: usize) -> Self {
        Self { chain, ..self }
    }

    /// The same sums, in as few runs as there are chains if the runs follow one another in both factors: with AVX2 a run of
    /// 8 terms costs a tenth of its time more.
    #[inline(always)]
    fn joined(self, left: Left, panel: Panel) -> (Self, Left, Panel) {
        let follow = left.run == self.run * left.term && panel.run == self.run * panel.term;
        // Each run asks for lines ahead.
        if !follow || left.ahead > 0 {
            return (self, left, panel);
        }
        let terms = (self.runs - 1) * self.run + self.last;
        let run = terms.min(self.chain);
        let left = Left { run: run * left.term, ..left };
        (Self::in_runs(terms, run).in_chains(self.chain), left, Panel { run: run * panel.term, ..panel })
    }

    /// One run.
    pub(crate) fn whole(terms: usize) -> Self {
        Self::in_runs(terms, terms)
    }
}

/// The left factor: the element of row `r` and term `t` of run `d` is
/// `start[r / GROUP * group + r % GROUP * row + d * run + t * term]`.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) start: *const f32,
    pub(crate) group: usize,
    pub(crate) row: usize,
    pub(crate) run: usize,
    pub(crate) term: usize,
    /// From a run's first element to one that will be needed later, whose cache line is asked for; 0 asks for none.
    pub(crate) ahead: usize,
}

impl Left {
    /// A row-major matrix of rows `row` floats apart, in runs of [`LINE`] terms.
    ///
    /// It is read through memory: while a group of rows is multiplied, the next one's lines are asked for. Rows of a
    /// few hundred bytes make so many streams that the machine does not see them itself.
    pub(crate) fn rows(start: *const f32, row: usize) -> Self {
        Self { start, group: GROUP * row, row, run: LINE, term: 1, ahead: GROUP * row }
    }

    /// A matrix of so many terms in a row, whose rows lie in groups, term by term; in runs of [`LINE`] terms.
    pub(crate) fn grouped(start: *const f32, terms: usize) -> Self {
        Self { start, group: GROUP * terms, row: 1, run: GROUP * LINE, term: GROUP, ahead: 0 }
    }

    /// The transpose of a row-major matrix of rows `row` floats apart.
    pub(crate) fn columns(start: *const f32, row: usize) -> Self {
        Self { start, group: GROUP, row: 1, run: LINE * row, term: row, ahead: 0 }
    }
}

/// The right factor, as many whole vectors wide as the output.
#[derive(Clone, Copy)]
pub(crate) enum Right {
    /// Panels; that of `width` vectors from vector `v` on has the vectors of term `t` of run `d` one after another
    /// at `start[v * column + width * (offset + d * run + t * LANES)]`.
    Panels { start: *const f32, column: usize, offset: usize, run: usize },
    /// Vector `v` of term `t` of run `d` is at `start[v * vector + d * run + t * term]`.
    Vectors { start: *const f32, vector: usize, run: usize, term: usize },
}

impl Right {
    /// A matrix of `depth` rows packed by [`pack::pack`], in runs of [`LINE`] terms.
    pub(crate) fn packed<V: Vector>(start: *const f32, depth: usize) -> Self {
        Self::Panels { start, column: depth * V::LANES, offset: 0, run: LINE * V::LANES }
    }
}

/// The output: vector `v` of row `r` is at `start[r / GROUP * group + r % GROUP * row + v * vector]`.
#[derive(Clone, Copy)]
pub(crate) struct Out {
    pub(crate) start: *mut f32,
    pub(crate) group: usize,
    pub(crate) row: usize,
    pub(crate) vector: usize,
}

impl Out {
    /// A row-major matrix of rows `row` floats apart.
    pub(crate) fn rows<V: Vector>(start: *mut f32, row: usize) -> Self {
        Self { start, group: GROUP * row, row, vector: V::LANES }
    }
}

/// `out = left right`, or `out += left right`, for `rows` rows and `vectors` whole vectors. The order of the
/// additions depends on nothing but `depth`.
///
/// # Safety
/// The instruction set of `V`; all elements so described readable, those of `out` writable and nobody else's.
#[inline(always)]
pub(crate) unsafe fn product<V: Vector>(
    (rows, depth, vectors): (usize, Depth, usize),
    left: Left,
    right: Right,
    out: Out,
    add: bool,
) {
    for (first, width) in panels(vectors) {
        // SAFETY: the panel's vectors are inside the matrices.
        unsafe {
            let panel = match right {
                Right::Panels { start, column, offset, run } => Panel {
                    start: start.add(first * column + width * offset),
                    vector: V::LANES,
                    run: width * run,
                    term: width * V::LANES,
                },
                Right::Vectors { start, vector, run, term } => {
                    Panel { start: start.add(first * vector), vector, run, term }
                }
            };
            let out = Out { start: out.start.add(first * out.vector), ..out };
            // Later panels find the left factor in the cache.
            let left = if first == 0 { left } else { Left { ahead: 0, ..left } };
            let (depth, left, panel) = depth.joined(left, panel);
            match width {
                1 => panel_rows::<V, 1>(rows, depth, left, panel, out, add),
                2 => panel_rows::<V, 2>(rows, depth, left, panel, out, add),
                _ => panel_rows::<V, 3>(rows, depth, left, panel, out, add),
            }
        }
    }
}

/// Asks for the cache line at an address: a hint, right for any address.
#[inline(always)]
fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: touches nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// A panel of the right factor: vector `v` of term `t` of run `d` is at `start[v * vector + d * run + t * term]`.
#[derive(Clone, Copy)]
struct Panel {
    start: *const f32,
    vector: usize,
    run: usize,
    term: usize,
}

/// All rows of one panel, in register blocks of 8, 4 and 1 rows.
#[inline(always)]
unsafe fn panel_rows<V: Vector, const C: usize>(
    rows: usize,
    depth: Depth,
    left: Left,
    panel: Panel,
    out: Out,
    add: bool,
) {
    let mut row = 0;
    // SAFETY: each block's rows are inside `rows` and inside one group.
    unsafe {
        macro_rules! block {
            ($size:literal) => {
                let left =
                    Left { start: left.start.add(row / GROUP * left.group + row % GROUP * left.row), ..left };
                let out =
                    Out { start: out.start.add(row / GROUP * out.group + row % GROUP * out.row), ..out };
                block::<V, $size, C>(depth, left, panel, out, add);
                row += $size;
            };
        }
        if V::ROWS == 8 {
            while row + 8 <= rows {
                block!(8);
            }
        }
        while row + 4 <= rows {
            block!(4);
        }
        while row < rows {
            block!(1);
        }
    }
}

/// One register block of `R` rows and `C` vectors.
#[inline(always)]
unsafe fn block<V: Vector, const R: usize, const C: usize>(
    depth: Depth,
    left: Left,
    panel: Panel,
    out: Out,
    add: bool,
) {
    // SAFETY: the caller's; addresses past the last term are formed but not read.
    unsafe {
        let mut sums = [[V::splat(0.0); C]; R];
        let goes_on = add && depth.chain == usize::MAX;
        if goes_on {
            for r in 0..R {
                for c in 0..C {
                    sums[r][c] = V::load(out.start.add(r * out.row + c * out.vector));
                }
            }
        }
        let (mut summed, mut add) = (0, add && !goes_on);
        for run in 0..depth.runs {
            if summed == depth.chain {
                keep(&sums, out, add);
                sums = [[V::splat(0.0); C]; R];
                (summed, add) = (0, true);
            }
            let terms = if run + 1 < depth.runs { depth.run } else { depth.last };
            let mut a = left.start.wrapping_add(run * left.run);
            let mut b = panel.start.wrapping_add(run * panel.run);
            if left.ahead > 0 {
                for r in 0..R {
                    prefetch(a.wrapping_add(left.ahead + r * left.row));
                }
            }
            for _ in 0..terms {
                let mut vectors = [V::splat(0.0); C];
                for c in 0..C {
                    vectors[c] = V::load(b.add(c * panel.vector));
                }
                V::add_term(&mut sums, &vectors, a, left.row);
                a = a.wrapping_add(left.term);
                b = b.wrapping_add(panel.term);
            }
            summed += terms;
        }
        keep(&sums, out, add);
    }
}

/// The sums of a register block to their places, or added to what is there.
///
/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn keep<V: Vector, const R: usize, const C: usize>(sums: &[[V; C]; R], out: Out, add: bool) {
    // SAFETY: the caller's.
    unsafe {
        let place = |r: usize, c: usize| out.start.add(r * out.row + c * out.vector);
        if add {
            for r in 0..R {
                for c in 0..C {
                    V::load(place(r, c)).add(sums[r][c]).store(place(r, c));
                }
            }
        } else {
            for r in 0..R {
                for c in 0..C {
                    sums[r][c].store(place(r, c));
                }
            }
        }
    }
}
