//! The products of attention: `out = alpha a b (+ out)` on matrices inside larger slices.
//!
//! A general product packs its operands first, which for 16 tokens costs more than the arithmetic. So small products
//! on AVX-512 use a register-blocked kernel that reads its operands where they are; all others go to the `gemm`
//! crate.

use crate::dispatch::Isa;

/// Multiply-adds up to which a product counts as small: 64 tokens of 32 channels.
const SMALL: usize = 64 * 64 * 32;

/// Where a matrix starts in a slice and how far its rows are apart; its columns are adjacent.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) row_stride: usize,
}

/// A matrix operand: a slice, a place in it, and whether it is read transposed.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    data: &'a [f32],
    place: Place,
    transposed: bool,
}

impl<'a> Operand<'a> {
    pub(super) fn new(data: &'a [f32], place: Place) -> Self {
        Self { data, place, transposed: false }
    }

    pub(super) fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// (row stride, column stride) of the matrix as it is read, after checking that `rows` by `cols` of it exist.
    fn strides(&self, rows: usize, cols: usize) -> (usize, usize) {
        let (stored_rows, stored_cols) = if self.transposed { (cols, rows) } else { (rows, cols) };
        assert_inside(self.data.len(), self.place, stored_rows, stored_cols);
        if self.transposed { (1, self.place.row_stride) } else { (self.place.row_stride, 1) }
    }
}

fn assert_inside(len: usize, place: Place, rows: usize, cols: usize) {
    assert!(cols <= place.row_stride, "rows of a matrix overlap");
    assert!(rows == 0 || place.start + (rows - 1) * place.row_stride + cols <= len, "matrix out of bounds");
}

/// out = alpha a b, plus the old out if `add`; a is \[m, k\], b is \[k, n\]. `turned` is scratch space.
pub(super) fn product(
    isa: Isa,
    (m, n, k): (usize, usize, usize),
    alpha: f32,
    a: Operand,
    b: Operand,
    add: bool,
    out: &mut [f32],
    at: Place,
    turned: &mut Vec<f32>,
) {
    let (a_row, a_col) = a.strides(m, k);
    let (b_row, b_col) = b.strides(k, n);
    assert_inside(out.len(), at, m, n);
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 && m * n * k <= SMALL {
        let b = if b.transposed {
            turned.resize(n * k, 0.0);
            for (i, row) in b.data[b.place.start..].chunks(b_col).take(n).enumerate() {
                for (j, &v) in row[..k].iter().enumerate() {
                    turned[j * n + i] = v;
                }
            }
            Operand::new(turned, Place { start: 0, row_stride: n })
        } else {
            b
        };
        // SAFETY: the instruction set is this machine's (see `multiversion`); the three matrices lie inside their
        // slices as asserted, the turned one by construction.
        unsafe {
            avx512::small(
                (m, n, k),
                alpha,
                (a.data.as_ptr().add(a.place.start), a_row, a_col),
                (b.data.as_ptr().add(b.place.start), b.place.row_stride),
                add,
                (out.as_mut_ptr().add(at.start), at.row_stride),
            );
        }
        return;
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (isa, turned);
    // SAFETY: the three matrices lie inside their slices as asserted; `out` is borrowed mutably, so it cannot
    // overlap the others.
    unsafe {
        ::gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr().add(at.start),
            1,
            at.row_stride as isize,
            add,
            a.data.as_ptr().add(a.place.start),
            a_col as isize,
            a_row as isize,
            b.data.as_ptr().add(b.place.start),
            b_col as isize,
            b_row as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            ::gemm::Parallelism::None,
        );
    }
}

/// The kernel for small products: blocks of 8 rows by up to 3 vectors of columns stay in registers.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    /// # Safety
    /// The machine has AVX-512 F. `a` is (start, row stride, column stride) of a readable \[m, k\] matrix, `b` (start,
    /// row stride) of a readable \[k, n\] matrix, `out` likewise of a writable \[m, n\] matrix.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn small(
        (m, n, k): (usize, usize, usize),
        alpha: f32,
        (a, a_row, a_col): (*const f32, usize, usize),
        (b, b_row): (*const f32, usize),
        add: bool,
        (out, out_row): (*mut f32, usize),
    ) {
        let mut column = 0;
        while column < n {
            let left = n - column;
            // Four vectors are better cut in halves than in three and one.
            let vectors = if left > 48 && left <= 64 { 2 } else { left.div_ceil(16).min(3) };
            let mut row = 0;
            while row < m {
                let rows = match m - row {
                    8.. => 8,
                    4.. => 4,
                    _ => 1,
                };
                // SAFETY: row < m and column < n, so these point into (or one past) the caller's matrices.
                let (a, b, out) =
                    unsafe { (a.add(row * a_row), b.add(column), out.add(row * out_row + column)) };
                let (a, b, out) = ((a, a_row, a_col), (b, b_row), (out, out_row));
                // SAFETY: the block's rows are below m and its columns, cut to `left`, below n.
                unsafe {
                    match (rows, vectors) {
                        (8, 1) => block::<8, 1>(left, k, alpha, a, b, add, out),
                        (8, 2) => block::<8, 2>(left, k, alpha, a, b, add, out),
                        (8, _) => block::<8, 3>(left, k, alpha, a, b, add, out),
                        (4, 1) => block::<4, 1>(left, k, alpha, a, b, add, out),
                        (4, 2) => block::<4, 2>(left, k, alpha, a, b, add, out),
                        (4, _) => block::<4, 3>(left, k, alpha, a, b, add, out),
                        (_, 1) => block::<1, 1>(left, k, alpha, a, b, add, out),
                        (_, 2) => block::<1, 2>(left, k, alpha, a, b, add, out),
                        (_, _) => block::<1, 3>(left, k, alpha, a, b, add, out),
                    }
                }
                row += rows;
            }
            column += 16 * vectors;
        }
    }

    /// R rows by the first `columns` of 16 V columns.
    ///
    /// # Safety
    /// As [`small`], for the block.
    #[target_feature(enable = "avx512f")]
    unsafe fn block<const R: usize, const V: usize>(
        columns: usize,
        k: usize,
        alpha: f32,
        (a, a_row, a_col): (*const f32, usize, usize),
        (b, b_row): (*const f32, usize),
        add: bool,
        (out, out_row): (*mut f32, usize),
    ) {
        let masks: [__mmask16; V] =
            std::array::from_fn(|v| ((1_u32 << columns.saturating_sub(16 * v).min(16)) - 1) as __mmask16);
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        for p in 0..k {
            let mut row = [_mm512_setzero_ps(); V];
            for v in 0..V {
                // SAFETY: masked lanes are not touched; the others are inside b.
                row[v] = unsafe { _mm512_maskz_loadu_ps(masks[v], b.wrapping_add(p * b_row + 16 * v)) };
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: r < R rows and p < k columns exist.
                let factor = _mm512_set1_ps(unsafe { *a.add(r * a_row + p * a_col) });
                for v in 0..V {
                    sums[v] = _mm512_fmadd_ps(factor, row[v], sums[v]);
                }
            }
        }
        let alpha = _mm512_set1_ps(alpha);
        for (r, sums) in sums.iter().enumerate() {
            for v in 0..V {
                let to = out.wrapping_add(r * out_row + 16 * v);
                // SAFETY: masked lanes are not touched; the others are inside out.
                unsafe {
                    let old = if add { _mm512_maskz_loadu_ps(masks[v], to) } else { _mm512_setzero_ps() };
                    _mm512_mask_storeu_ps(to, masks[v], _mm512_fmadd_ps(alpha, sums[v], old));
                }
            }
        }
    }
}
