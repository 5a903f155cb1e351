//! A small single-threaded matrix product whose right factor lies in panels: the inner loop of every variant.
//!
//! Beside the `gemm` crate because a convolution makes both factors itself and can make them in the order in which
//! they are read: the right one in panels (columns padded to whole vectors), the left one row by row. So nothing
//! is packed, which for the few channels and few tiles of small networks is most of the time of a product.

use super::vector::Vector;

/// Most vectors across a panel.
const PANEL: usize = 3;

/// The panels of a matrix that is `vectors` vectors wide: (first vector, width in vectors), widths 1 to [`PANEL`]
/// and as equal as possible.
#[inline(always)]
pub(super) fn panels(vectors: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = vectors.div_ceil(PANEL);
    (0..count).map(move |i| {
        let from = i * vectors / count;
        (from, (i + 1) * vectors / count - from)
    })
}

/// The left factor: element `(row, k)` is `start[row * row_step + k * depth_step]`.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) start: *const f32,
    pub(super) row_step: usize,
    pub(super) depth_step: usize,
}

/// The right factor, `[depth, vectors * LANES]`.
#[derive(Clone, Copy)]
pub(super) enum Right {
    /// One panel after another, each `[depth, width * LANES]`.
    Panels(*const f32),
    /// Row by row, rows so many floats apart.
    Rows(*const f32, usize),
}

/// `out = left right`, or `out += left right`; `out` has `rows` rows of `vectors` whole vectors, `out_step` floats
/// apart. The order of the additions depends on nothing but `depth`.
///
/// # Safety
/// The instruction set of `V`; all elements so described readable, those of `out` writable and nobody else's.
#[inline(always)]
pub(super) unsafe fn product<V: Vector>(
    (rows, depth, vectors): (usize, usize, usize),
    left: Left,
    right: Right,
    out: *mut f32,
    out_step: usize,
    add: bool,
) {
    for (from, width) in panels(vectors) {
        // SAFETY: the panel's columns are inside the matrices.
        unsafe {
            let (panel, step) = match right {
                Right::Panels(start) => (start.add(from * V::LANES * depth), width * V::LANES),
                Right::Rows(start, step) => (start.add(from * V::LANES), step),
            };
            let out = out.add(from * V::LANES);
            match width {
                1 => panel_rows::<V, 1>(rows, depth, left, panel, step, out, out_step, add),
                2 => panel_rows::<V, 2>(rows, depth, left, panel, step, out, out_step, add),
                _ => panel_rows::<V, 3>(rows, depth, left, panel, step, out, out_step, add),
            }
        }
    }
}

/// All rows of one panel, in register blocks of 8, 4 and 1 rows.
#[inline(always)]
unsafe fn panel_rows<V: Vector, const C: usize>(
    rows: usize,
    depth: usize,
    left: Left,
    right: *const f32,
    right_step: usize,
    out: *mut f32,
    out_step: usize,
    add: bool,
) {
    let mut row = 0;
    // SAFETY: each block's rows are inside `rows`.
    unsafe {
        macro_rules! block {
            ($size:literal) => {
                let left = Left { start: left.start.add(row * left.row_step), ..left };
                block::<V, $size, C>(depth, left, right, right_step, out.add(row * out_step), out_step, add);
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
    depth: usize,
    left: Left,
    right: *const f32,
    right_step: usize,
    out: *mut f32,
    out_step: usize,
    add: bool,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[V::splat(0.0); C]; R];
        if add {
            for r in 0..R {
                for c in 0..C {
                    sums[r][c] = V::load(out.add(r * out_step + c * V::LANES));
                }
            }
        }
        let (mut a, mut b) = (left.start, right);
        for _ in 0..depth {
            let mut columns = [V::splat(0.0); C];
            for c in 0..C {
                columns[c] = V::load(b.add(c * V::LANES));
            }
            for r in 0..R {
                let factor = V::splat(*a.add(r * left.row_step));
                for c in 0..C {
                    sums[r][c] = columns[c].mul_add(factor, sums[r][c]);
                }
            }
            a = a.wrapping_add(left.depth_step);
            b = b.wrapping_add(right_step);
        }
        for r in 0..R {
            for c in 0..C {
                sums[r][c].store(out.add(r * out_step + c * V::LANES));
            }
        }
    }
}
