//! Right factors packed into [`panels`], and products with them.

use std::ops::Range;

use super::vector::{Kernel, Vector, lanes, run};
use super::{CHAIN, Depth, LINE, Left, Out, Right, panels, product};
use crate::dispatch::Isa;
use crate::threads::{SharedMut, for_each_piece_if};

/// A part of a larger row-major matrix.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// From the part's first element on.
    data: &'a [f32],
    rows: usize,
    columns: usize,
    /// Floats from one row to the next.
    stride: usize,
}

impl<'a> Rows<'a> {
    /// The matrix `[rows, columns]` whose rows are `stride` floats apart in `data`, from its start on.
    ///
    /// # Panics
    /// If `data` does not hold it.
    pub(crate) fn new(data: &'a [f32], (rows, columns): (usize, usize), stride: usize) -> Self {
        assert!(columns <= stride, "rows of a matrix overlap");
        assert!(rows == 0 || (rows - 1) * stride + columns <= data.len(), "matrix out of bounds");
        Self { data, rows, columns, stride }
    }

    fn row(&self, row: usize) -> &'a [f32] {
        &self.data[row * self.stride..][..self.columns]
    }
}

/// Floats of a packed matrix with so many rows and columns, for vectors of `lanes` floats.
pub(crate) fn packed_len(rows: usize, columns: usize, lanes: usize) -> usize {
    rows * columns.next_multiple_of(lanes)
}

/// Packs a whole row-major matrix of rows of `columns` floats for vectors of `lanes` floats, padded with zeros. In
/// parallel if it is large.
pub(crate) fn pack(matrix: &[f32], columns: usize, lanes: usize, to: &mut [f32]) {
    let matrix = Rows::new(matrix, (matrix.len() / columns, columns), columns);
    let panels: Vec<_> = panels(columns.div_ceil(lanes)).collect();
    let to = SharedMut::new(to);
    for_each_piece_if(matrix.data.len(), panels.len(), |piece| {
        let (columns, range) = place(panels[piece], matrix.rows, lanes);
        // SAFETY: each piece has its own panel.
        let panel = unsafe { to.slice(range.start, range.len()) };
        pack_panel(matrix, columns, panel);
    });
}

/// Packs a matrix on the calling thread.
pub(crate) fn pack_rows(matrix: Rows, lanes: usize, to: &mut [f32]) {
    for panel in panels(matrix.columns.div_ceil(lanes)) {
        let (columns, range) = place(panel, matrix.rows, lanes);
        pack_panel(matrix, columns, &mut to[range]);
    }
}

/// Packs the transpose of a matrix on the calling thread.
pub(crate) fn pack_transposed(matrix: Rows, lanes: usize, to: &mut [f32]) {
    for panel in panels(matrix.rows.div_ceil(lanes)) {
        let (columns, range) = place(panel, matrix.columns, lanes);
        transpose_panel(matrix, columns, &mut to[range]);
    }
}

/// The columns of a panel, padding included, and where it lies.
fn place((first, width): (usize, usize), depth: usize, lanes: usize) -> (Range<usize>, Range<usize>) {
    let columns = first * lanes..(first + width) * lanes;
    (columns.clone(), columns.start * depth..columns.end * depth)
}

/// The given columns of a matrix, of which some may be past its last.
fn pack_panel(matrix: Rows, columns: Range<usize>, panel: &mut [f32]) {
    let inside = columns.start..columns.end.min(matrix.columns);
    for (row, to) in panel.chunks_exact_mut(columns.len()).enumerate() {
        let (values, padding) = to.split_at_mut(inside.len());
        values.copy_from_slice(&matrix.row(row)[inside.clone()]);
        padding.fill(0.0);
    }
}

/// The left factor of a product.
#[derive(Clone, Copy)]
pub(crate) enum Factor<'a> {
    Plain(Rows<'a>),
    Transposed(Rows<'a>),
}

/// `out = left right`, or `out += left right`, on the calling thread. `right` is packed for `isa` and has `columns`
/// columns; rows of `out` are `stride` floats apart and get whole vectors, zeros after the last column.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn multiply(
    isa: Isa,
    left: Factor,
    (right, columns): (&[f32], usize),
    (out, stride): (&mut [f32], usize),
    add: bool,
) {
    let (rows, depth) = match left {
        Factor::Plain(left) => (left.rows, left.columns),
        Factor::Transposed(left) => (left.columns, left.rows),
    };
    let padded = columns.next_multiple_of(lanes(isa));
    assert!(depth > 0 && right.len() >= depth * padded, "right factor out of bounds");
    assert!(padded <= stride, "rows of a product overlap");
    assert!(rows == 0 || (rows - 1) * stride + padded <= out.len(), "product out of bounds");
    run(isa, Multiply { left, sizes: (rows, depth, padded), right, out, stride, add });
}

struct Multiply<'a> {
    left: Factor<'a>,
    /// Rows, terms, and columns in whole vectors.
    sizes: (usize, usize, usize),
    right: &'a [f32],
    out: &'a mut [f32],
    stride: usize,
    add: bool,
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let (rows, terms, columns) = self.sizes;
        let (left, depth) = match self.left {
            Factor::Plain(left) => {
                (Left::rows(left.data.as_ptr(), left.stride), Depth::in_runs(terms, LINE).in_chains(CHAIN))
            }
            Factor::Transposed(left) => (Left::columns(left.data.as_ptr(), left.stride), Depth::whole(terms)),
        };
        let right = Right::packed::<V>(self.right.as_ptr(), terms);
        let out = Out::rows::<V>(self.out.as_mut_ptr(), self.stride);
        // SAFETY: the left matrix lies in its slice (checked when it was made), the others in theirs (checked by
        // `multiply`).
        unsafe { product::<V>((rows, depth, columns / V::LANES), left, right, out, self.add) };
    }
}

/// Side of the squares that are transposed in registers.
const SQUARE: usize = 4;

/// The given rows of a matrix, of which some may be past its last, as columns.
fn transpose_panel(matrix: Rows, columns: Range<usize>, panel: &mut [f32]) {
    let width = columns.len();
    for c0 in (0..width).step_by(SQUARE) {
        let rows: [&[f32]; SQUARE] = std::array::from_fn(|i| {
            let row = columns.start + c0 + i;
            if row < matrix.rows { matrix.row(row) } else { &[] }
        });
        let whole = if rows.iter().all(|row| !row.is_empty()) { matrix.columns / SQUARE * SQUARE } else { 0 };
        for d0 in (0..whole).step_by(SQUARE) {
            let square: [[f32; SQUARE]; SQUARE] =
                rows.map(|row| std::array::from_fn(|d| row[d0..d0 + SQUARE][d]));
            for d in 0..SQUARE {
                panel[(d0 + d) * width + c0..][..SQUARE].copy_from_slice(&square.map(|row| row[d]));
            }
        }
        for d in whole..matrix.columns {
            for (to, row) in panel[d * width + c0..][..SQUARE].iter_mut().zip(rows) {
                *to = row.get(d).copied().unwrap_or(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrix that was packed, padding included.
    fn unpacked(packed: &[f32], (rows, columns): (usize, usize), lanes: usize) -> Vec<f32> {
        let padded = columns.next_multiple_of(lanes);
        let mut matrix = vec![f32::NAN; rows * padded];
        for panel in panels(padded / lanes) {
            let (columns, range) = place(panel, rows, lanes);
            for (row, values) in packed[range].chunks_exact(columns.len()).enumerate() {
                matrix[row * padded..][columns.clone()].copy_from_slice(values);
            }
        }
        matrix
    }

    #[test]
    fn packed_matrices_hold_every_element_and_zeros_beside() {
        for lanes in [4, 8, 16] {
            for (rows, columns) in [(1, 1), (5, 3), (3, 16), (17, 49), (8, 100), (33, 128)] {
                let stride = columns + 3;
                let data: Vec<f32> = (0..rows * stride).map(|i| i as f32 + 1.0).collect();
                let matrix = Rows::new(&data, (rows, columns), stride);
                let at = |row: usize, column: usize| {
                    if row < rows && column < columns { data[row * stride + column] } else { 0.0 }
                };

                let mut packed = vec![f32::NAN; packed_len(rows, columns, lanes)];
                pack_rows(matrix, lanes, &mut packed);
                let padded = columns.next_multiple_of(lanes);
                for (i, value) in unpacked(&packed, (rows, columns), lanes).into_iter().enumerate() {
                    assert_eq!(value, at(i / padded, i % padded));
                }

                let mut packed = vec![f32::NAN; packed_len(columns, rows, lanes)];
                pack_transposed(matrix, lanes, &mut packed);
                let padded = rows.next_multiple_of(lanes);
                for (i, value) in unpacked(&packed, (columns, rows), lanes).into_iter().enumerate() {
                    assert_eq!(value, at(i % padded, i / padded));
                }
            }
        }
    }

    #[test]
    fn products_agree_with_the_definition() {
        let values = |seed: usize, len: usize| -> Vec<f32> {
            (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
        };
        for isa in Isa::available() {
            for (rows, depth, columns) in [(1, 1, 1), (7, 5, 3), (8, 16, 16), (21, 33, 50), (64, 40, 128)] {
                let (left, right) = (values(1, rows * depth), values(2, depth * columns));
                let mut packed = vec![f32::NAN; packed_len(depth, columns, lanes(isa))];
                pack_rows(Rows::new(&right, (depth, columns), columns), lanes(isa), &mut packed);
                let turned: Vec<f32> = (0..rows * depth).map(|i| left[i % rows * depth + i / rows]).collect();
                let factors = [
                    Factor::Plain(Rows::new(&left, (rows, depth), depth)),
                    Factor::Transposed(Rows::new(&turned, (depth, rows), rows)),
                ];
                let stride = columns.next_multiple_of(lanes(isa)) + 1;
                for factor in factors {
                    let mut out = vec![f32::NAN; rows * stride];
                    multiply(isa, factor, (&packed, columns), (&mut out, stride), false);
                    multiply(isa, factor, (&packed, columns), (&mut out, stride), true);
                    for row in 0..rows {
                        for column in 0..columns {
                            let exact: f64 = (0..depth)
                                .map(|k| {
                                    f64::from(left[row * depth + k]) * f64::from(right[k * columns + column])
                                })
                                .sum();
                            let got = f64::from(out[row * stride + column]);
                            assert!((got - 2.0 * exact).abs() < 1e-5, "{got} is not {}", 2.0 * exact);
                        }
                    }
                }
            }
        }
    }
}
