//! Matrix products on row-major slices: `out <- alpha a b + beta out`, and the three products of a linear layer.
//!
//! The arithmetic is the `gemm` crate's, one thread per product; this module adds checked shapes and the cutting
//! into pieces. The pieces depend on the sizes alone, so results are the same for any number of threads.
//! Deliberately absent: batched products (see [`crate::attention`]) and epilogues.

use ::gemm::Parallelism;

use crate::buffer::unwritten;
use crate::threads::{SharedMut, for_each_piece};

/// Multiply-adds below which a piece is not worth a task (about 20 microseconds on one AVX-512 core).
const MIN_PIECE_WORK: usize = 1 << 20;

/// Most pieces of one product: enough to balance the load of a few dozen threads.
const MAX_PIECES: usize = 16;

/// Most parts of the long sum of a weight's gradient.
const MAX_PARTS: usize = 8;

/// A weight's gradient with a side beyond this is cut by rows or columns, not along the sum.
const LARGE_GRADIENT: usize = 512;

/// Rows or columns of a piece are a multiple of this, so that only the last piece has a ragged edge.
const PIECE_STEP: usize = 16;

/// A read-only matrix: a slice with a size and two strides.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The matrix `[rows, cols]` stored row by row in `data`.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows * cols` values.
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows}x{cols} matrix needs that many values");
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The same values with rows and columns exchanged; nothing is copied.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows `from..from + rows`.
    fn row_range(self, from: usize, rows: usize) -> Self {
        assert!(from + rows <= self.rows, "rows out of range");
        Self { data: self.data.get(from * self.row_stride..).unwrap_or(&[]), rows, ..self }
    }

    /// Columns `from..from + cols`.
    fn col_range(self, from: usize, cols: usize) -> Self {
        self.transposed().row_range(from, cols).transposed()
    }
}

/// `out <- alpha a b + beta out`, row-major, `a: [m, k]`, `b: [k, n]`, `out: [m, n]`.
///
/// With `beta = 0` the old contents of `out` are not read. Bit-identical for any number of threads.
///
/// # Panics
/// If the sizes do not fit.
pub fn gemm(a: Matrix, b: Matrix, alpha: f32, beta: f32, out: &mut [f32]) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner sizes of a product differ");
    assert_eq!(out.len(), m * n, "the output of a product is {m}x{n}");
    if k == 0 {
        out.iter_mut().for_each(|value| *value = if beta == 0.0 { 0.0 } else { beta * *value });
        return;
    }
    let by_rows = m >= n;
    let length = m.max(n);
    let (pieces, step) = cut(length, m * n * k);
    let shared = SharedMut::new(out);
    for_each_piece(pieces, |piece| {
        let from = piece * step;
        let count = step.min(length - from);
        if by_rows {
            // SAFETY: each piece writes its own rows of `out`.
            let rows = unsafe { shared.slice(from * n, count * n) };
            // SAFETY: `rows` is a whole row-major [count, n] matrix.
            unsafe { product(a.row_range(from, count), b, alpha, beta, rows.as_mut_ptr(), n) };
        } else {
            // SAFETY: each piece writes its own columns: the ranges interleave, but no element is in two, and no
            // reference to them is made. `out` holds all of the [m, n] matrix, so every address is inside it.
            unsafe {
                product(a, b.col_range(from, count), alpha, beta, shared.pointer().add(from), n);
            }
        }
    });
}

/// Number of pieces for `length` rows or columns of `work` multiply-adds in total, and their size.
fn cut(length: usize, work: usize) -> (usize, usize) {
    if length == 0 {
        return (0, 0);
    }
    let wanted = (work / MIN_PIECE_WORK).clamp(1, MAX_PIECES);
    let step = length.div_ceil(wanted).next_multiple_of(PIECE_STEP);
    (length.div_ceil(step), step)
}

/// One single-threaded product into the matrix at `out` with rows `row_stride` apart.
///
/// # Safety
/// `out` must be valid for the `[a.rows, b.cols]` elements so described, and nobody else may touch them.
unsafe fn product(a: Matrix, b: Matrix, alpha: f32, beta: f32, out: *mut f32, row_stride: usize) {
    // SAFETY: `a` and `b` were checked when built; `out` by the caller.
    unsafe {
        ::gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out,
            1,
            row_stride as isize,
            beta != 0.0,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            beta,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// A linear layer: `out[m, n] = x[m, k] w[k, n] (+ bias[n])`.
///
/// # Panics
/// If the sizes do not fit.
pub fn linear(m: usize, k: usize, n: usize, x: &[f32], w: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    assert_eq!(out.len(), m * n, "the output of a linear layer is {m}x{n}");
    let (x, w) = (Matrix::row_major(x, m, k), Matrix::row_major(w, k, n));
    match bias {
        None => gemm(x, w, 1.0, 0.0, out),
        Some(bias) => {
            assert_eq!(bias.len(), n, "a bias has one value per output");
            if n > 0 {
                out.chunks_exact_mut(n).for_each(|row| row.copy_from_slice(bias));
            }
            gemm(x, w, 1.0, 1.0, out);
        }
    }
}

/// The gradient of [`linear`] with respect to its input: `grad_x[m, k] = grad_out[m, n] w[k, n]^T`.
///
/// # Panics
/// If the sizes do not fit.
pub fn linear_backward_data(m: usize, k: usize, n: usize, w: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
    let (grad_out, w) = (Matrix::row_major(grad_out, m, n), Matrix::row_major(w, k, n));
    gemm(grad_out, w.transposed(), 1.0, 0.0, grad_x);
}

/// The gradients of [`linear`] with respect to its weight, `grad_w[k, n] = x[m, k]^T grad_out[m, n]`, and bias,
/// `grad_bias[n]` = the column sums of `grad_out`.
///
/// # Panics
/// If the sizes do not fit.
pub fn linear_backward_weight(
    m: usize,
    k: usize,
    n: usize,
    x: &[f32],
    grad_out: &[f32],
    grad_w: &mut [f32],
    grad_bias: Option<&mut [f32]>,
) {
    assert_eq!(grad_w.len(), k * n, "the gradient of a weight has its size, {k}x{n}");
    let grad_out = Matrix::row_major(grad_out, m, n);
    let x = Matrix::row_major(x, m, k).transposed();
    // A long sum into a small matrix has no rows to cut: cut the sum, into parts added in their order.
    let parts = (m * k * n / (2 * MIN_PIECE_WORK)).clamp(1, MAX_PARTS);
    if parts == 1 || k.max(n) > LARGE_GRADIENT {
        gemm(x, grad_out, 1.0, 0.0, grad_w);
    } else {
        let step = m.div_ceil(parts);
        let mut sums = unwritten(parts * k * n);
        let shared = SharedMut::new(&mut sums);
        for_each_piece(parts, |part| {
            let from = (part * step).min(m);
            let count = step.min(m - from);
            // SAFETY: each part writes its own matrix.
            let sum = unsafe { shared.slice(part * k * n, k * n) };
            let (x, grad_out) = (x.col_range(from, count), grad_out.row_range(from, count));
            // SAFETY: `sum` is a whole row-major [k, n] matrix.
            unsafe { product(x, grad_out, 1.0, 0.0, sum.as_mut_ptr(), n) };
        });
        let (first, rest) = sums.split_at(k * n);
        grad_w.copy_from_slice(first);
        for part in rest.chunks_exact(k * n) {
            grad_w.iter_mut().zip(part).for_each(|(sum, &value)| *sum += value);
        }
    }
    if let Some(grad_bias) = grad_bias {
        assert_eq!(grad_bias.len(), n, "a bias has one value per output");
        column_sums(grad_out.data, n, grad_bias);
    }
}

/// `sums[c]` = the sum of column `c` of the row-major matrix `data` with rows of `columns` values. Rows are added in
/// single precision within runs of [`SUM_RUN`], the runs in double precision.
pub(crate) fn column_sums(data: &[f32], columns: usize, sums: &mut [f32]) {
    assert_eq!(sums.len(), columns, "one sum per column");
    if columns == 0 {
        return;
    }
    let piece_len = (SUM_PIECE / columns).max(1).next_multiple_of(SUM_RUN) * columns;
    let pieces = data.len().div_ceil(piece_len).max(1);
    let mut totals = vec![0.0f64; pieces * columns];
    let shared = SharedMut::new(&mut totals);
    for_each_piece(pieces, |piece| {
        // SAFETY: each piece has its own sums.
        let totals = unsafe { shared.slice(piece * columns, columns) };
        let mut run = vec![0.0f32; columns];
        for rows in data[piece * piece_len..data.len().min((piece + 1) * piece_len)].chunks(columns * SUM_RUN)
        {
            run.fill(0.0);
            for row in rows.chunks_exact(columns) {
                run.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
            }
            totals.iter_mut().zip(&run).for_each(|(total, &sum)| *total += f64::from(sum));
        }
    });
    for (c, sum) in sums.iter_mut().enumerate() {
        *sum = totals.iter().skip(c).step_by(columns).sum::<f64>() as f32;
    }
}

/// Rows that [`column_sums`] adds in single precision before it changes to double.
const SUM_RUN: usize = 32;

/// Values that [`column_sums`] adds in one piece.
const SUM_PIECE: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Fixed numbers in [-1, 1).
    fn numbers(seed: usize, len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
    }

    /// `alpha a b + beta out` by definition, in double precision.
    fn exact(a: Matrix, b: Matrix, alpha: f32, beta: f32, out: &[f32]) -> Vec<f64> {
        let at = |m: &Matrix, r: usize, c: usize| f64::from(m.data[r * m.row_stride + c * m.col_stride]);
        let mut result = vec![0.0; a.rows * b.cols];
        for (i, value) in result.iter_mut().enumerate() {
            let (r, c) = (i / b.cols, i % b.cols);
            let sum: f64 = (0..a.cols).map(|k| at(&a, r, k) * at(&b, k, c)).sum();
            *value =
                f64::from(alpha) * sum + if beta == 0.0 { 0.0 } else { f64::from(beta) * f64::from(out[i]) };
        }
        result
    }

    fn assert_close(got: &[f32], exact: &[f64]) {
        assert_eq!(got.len(), exact.len());
        let scale = exact.iter().fold(1e-30, |max: f64, v| max.max(v.abs()));
        for (g, e) in got.iter().zip(exact) {
            assert!((f64::from(*g) - e).abs() <= 2e-6 * scale, "{g} is not {e}");
        }
    }

    #[test]
    fn products_agree_with_the_definition_for_all_orders_and_factors() {
        // The last two are cut into pieces, by rows and by columns.
        for (m, n, k) in [
            (0, 3, 2),
            (3, 0, 2),
            (2, 3, 0),
            (1, 1, 1),
            (7, 5, 3),
            (16, 17, 33),
            (200, 90, 130),
            (90, 200, 130),
        ] {
            let (a, b, old) = (numbers(1, m * k), numbers(2, k * n), numbers(3, m * n));
            let lefts = [Matrix::row_major(&a, m, k), Matrix::row_major(&a, k, m).transposed()];
            let rights = [Matrix::row_major(&b, k, n), Matrix::row_major(&b, n, k).transposed()];
            for (left, right) in lefts.into_iter().zip(rights) {
                for (alpha, beta) in [(1.0, 0.0), (0.5, 1.0), (-2.0, 0.25)] {
                    let mut out = if beta == 0.0 { vec![f32::NAN; m * n] } else { old.clone() };
                    gemm(left, right, alpha, beta, &mut out);
                    assert_close(&out, &exact(left, right, alpha, beta, &old));
                }
            }
        }
    }

    #[test]
    fn a_linear_layer_and_its_gradients_agree_with_the_definition() {
        // The last one has its sum cut into parts.
        for (m, k, n) in [(0, 2, 3), (1, 1, 1), (5, 3, 4), (128, 24, 96), (9000, 24, 24)] {
            let (x, w, bias, grad_out) =
                (numbers(1, m * k), numbers(2, k * n), numbers(3, n), numbers(4, m * n));
            let (x_m, w_m, g_m) = (
                Matrix::row_major(&x, m, k),
                Matrix::row_major(&w, k, n),
                Matrix::row_major(&grad_out, m, n),
            );
            let tiled: Vec<f32> = bias.iter().copied().cycle().take(m * n).collect();
            let mut out = vec![f32::NAN; m * n];
            linear(m, k, n, &x, &w, Some(&bias), &mut out);
            assert_close(&out, &exact(x_m, w_m, 1.0, 1.0, &tiled));
            let mut grad_x = vec![f32::NAN; m * k];
            linear_backward_data(m, k, n, &w, &grad_out, &mut grad_x);
            assert_close(&grad_x, &exact(g_m, w_m.transposed(), 1.0, 0.0, &[]));
            let (mut grad_w, mut grad_bias) = (vec![f32::NAN; k * n], vec![f32::NAN; n]);
            linear_backward_weight(m, k, n, &x, &grad_out, &mut grad_w, Some(&mut grad_bias));
            assert_close(&grad_w, &exact(x_m.transposed(), g_m, 1.0, 0.0, &[]));
            let ones = vec![1.0; m];
            assert_close(&grad_bias, &exact(Matrix::row_major(&ones, 1, m), g_m, 1.0, 0.0, &[]));
        }
    }

    #[test]
    fn results_are_the_same_for_any_number_of_threads() {
        let (m, k, n) = (9000, 24, 40);
        let (x, w, grad_out) = (numbers(1, m * k), numbers(2, k * n), numbers(3, m * n));
        let results = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut out, mut grad_w, mut grad_bias) = (vec![0.0; m * n], vec![0.0; k * n], vec![0.0; n]);
                linear(m, k, n, &x, &w, None, &mut out);
                linear_backward_weight(m, k, n, &x, &grad_out, &mut grad_w, Some(&mut grad_bias));
                [out, grad_w, grad_bias].concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            })
        });
        assert!(results[0] == results[1] && results[0] == results[2]);
    }
}
