//! Arithmetic on whole slices: sums, scalings, per-image scalings, reductions, channel concatenation.
//!
//! Everything here moves memory and little else; operations that belong together are fused elsewhere
//! (convolution epilogues, [`crate::group_norm`], [`crate::update`]). Reductions accumulate in `f64` in an order
//! that depends on the length only.

pub(crate) mod multiversion;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use crate::dispatch::isa;
use crate::threads::{MIN_PARALLEL, PIECE, SharedMut, for_each_piece, sum_in_order};
use multiversion::multiversion;

/// Calls `work(from, len)` for consecutive ranges of `piece` elements that cover `0..len`.
pub(crate) fn for_each_range(len: usize, piece: usize, work: impl Fn(usize, usize) + Sync + Send) {
    if len <= MIN_PARALLEL && len <= piece {
        work(0, len);
    } else {
        for_each_piece(len.div_ceil(piece), |i| work(i * piece, piece.min(len - i * piece)));
    }
}

/// How many items of `size` elements make one piece of about [`PIECE`] elements; at least one.
pub(crate) fn items_per_piece(size: usize) -> usize {
    (PIECE / size.max(1)).max(1)
}

/// Applies `work` to matching pieces of an input and the output.
pub(crate) fn pieces1(x: &[f32], out: &mut [f32], work: impl Fn(&[f32], &mut [f32]) + Sync + Send) {
    assert_eq!(x.len(), out.len(), "input and output lengths differ");
    let shared = SharedMut::new(out);
    for_each_range(x.len(), PIECE, |from, len| {
        // SAFETY: ranges of different pieces are disjoint.
        work(&x[from..from + len], unsafe { shared.slice(from, len) });
    });
}

/// Applies `work` to matching pieces of two inputs and the output.
pub(crate) fn pieces2(
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    work: impl Fn(&[f32], &[f32], &mut [f32]) + Sync + Send,
) {
    assert_eq!(a.len(), out.len(), "first input and output lengths differ");
    assert_eq!(b.len(), out.len(), "second input and output lengths differ");
    let shared = SharedMut::new(out);
    for_each_range(a.len(), PIECE, |from, len| {
        let range = from..from + len;
        // SAFETY: ranges of different pieces are disjoint.
        work(&a[range.clone()], &b[range], unsafe { shared.slice(from, len) });
    });
}

multiversion! {
    fn add_piece(a: &[f32], b: &[f32], scale: f32, out: &mut [f32]) {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = scale * (a + b);
        }
    }
}

multiversion! {
    fn scaled_piece(a: &[f32], scale: f32, out: &mut [f32]) {
        for (out, a) in out.iter_mut().zip(a) {
            *out = scale * a;
        }
    }
}

multiversion! {
    fn add_assign_piece(x: &[f32], acc: &mut [f32]) {
        for (acc, x) in acc.iter_mut().zip(x) {
            *acc += x;
        }
    }
}

multiversion! {
    fn mul_piece(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = a * b;
        }
    }
}

multiversion! {
    fn mul_assign_piece(x: &[f32], acc: &mut [f32]) {
        for (acc, x) in acc.iter_mut().zip(x) {
            *acc *= x;
        }
    }
}

multiversion! {
    fn lerp_piece(x: &[f32], weight: f32, acc: &mut [f32]) {
        for (acc, x) in acc.iter_mut().zip(x) {
            *acc += weight * (x - *acc);
        }
    }
}

multiversion! {
    fn combine_piece(a: f32, x: &[f32], b: f32, y: &[f32], out: &mut [f32]) {
        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
            *out = a * x + b * y;
        }
    }
}

/// Independent partial sums, so that the compiler may vectorise and the order is fixed.
const LANES: usize = 16;

multiversion! {
    fn dot_piece(x: &[f32], y: &[f32]) -> f64 {
        let mut lanes = [0.0_f64; LANES];
        let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
        let tail: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
        for (x, y) in xs.zip(ys) {
            for ((lane, &x), &y) in lanes.iter_mut().zip(x).zip(y) {
                *lane += f64::from(x) * f64::from(y);
            }
        }
        lanes.iter().sum::<f64>() + tail
    }
}

multiversion! {
    fn sum_piece(x: &[f32]) -> f64 {
        let mut lanes = [0.0_f64; LANES];
        let xs = x.chunks_exact(LANES);
        let tail: f64 = xs.remainder().iter().map(|&x| f64::from(x)).sum();
        for x in xs {
            for (lane, &x) in lanes.iter_mut().zip(x) {
                *lane += f64::from(x);
            }
        }
        lanes.iter().sum::<f64>() + tail
    }
}

/// out = scale * (a + b).
///
/// # Panics
/// If the lengths differ.
pub fn add(a: &[f32], b: &[f32], scale: f32, out: &mut [f32]) {
    let isa = isa();
    pieces2(a, b, out, |a, b, out| add_piece(isa, a, b, scale, out));
}

/// out = scale * a.
///
/// # Panics
/// If the lengths differ.
pub fn scaled(a: &[f32], scale: f32, out: &mut [f32]) {
    let isa = isa();
    pieces1(a, out, |a, out| scaled_piece(isa, a, scale, out));
}

/// acc += x.
///
/// # Panics
/// If the lengths differ.
pub fn add_assign(acc: &mut [f32], x: &[f32]) {
    let isa = isa();
    pieces1(x, acc, |x, acc| add_assign_piece(isa, x, acc));
}

/// out = a * b, element by element.
///
/// # Panics
/// If the lengths differ.
pub fn mul(a: &[f32], b: &[f32], out: &mut [f32]) {
    let isa = isa();
    pieces2(a, b, out, |a, b, out| mul_piece(isa, a, b, out));
}

/// acc *= x, element by element.
///
/// # Panics
/// If the lengths differ.
pub fn mul_assign(acc: &mut [f32], x: &[f32]) {
    let isa = isa();
    pieces1(x, acc, |x, acc| mul_assign_piece(isa, x, acc));
}

/// acc += weight * (x - acc).
///
/// # Panics
/// If the lengths differ.
pub fn lerp(acc: &mut [f32], x: &[f32], weight: f32) {
    let isa = isa();
    pieces1(x, acc, |x, acc| lerp_piece(isa, x, weight, acc));
}

/// Length of one row when `len` elements are `rows` equal rows.
fn row_len(rows: usize, len: usize) -> usize {
    if rows == 0 {
        assert_eq!(len, 0, "no rows, but {len} elements");
        return 0;
    }
    assert_eq!(len % rows, 0, "{len} elements do not make {rows} equal rows");
    len / rows
}

/// Calls `work(row, from, len)` for each row, several short rows in one task.
fn for_each_row(rows: usize, per_row: usize, work: impl Fn(usize, std::ops::Range<usize>) + Sync + Send) {
    for_each_range(rows, items_per_piece(per_row), |first, count| {
        for row in first..first + count {
            work(row, row * per_row..(row + 1) * per_row);
        }
    });
}

/// out\[i, j\] = a\[i\] x\[i, j\] + b\[i\] y\[i, j\]: the per-image scalings of a preconditioner. `x`, `y` and `out`
/// are \[rows, anything\].
///
/// # Panics
/// If a size does not fit.
pub fn rows_scale_add(rows: usize, a: &[f32], x: &[f32], b: &[f32], y: &[f32], out: &mut [f32]) {
    let per_row = row_len(rows, x.len());
    assert!(a.len() == rows && b.len() == rows, "one factor per row is wanted");
    assert!(y.len() == x.len() && out.len() == x.len(), "input and output lengths differ");
    let (isa, shared) = (isa(), SharedMut::new(out));
    for_each_row(rows, per_row, |row, range| {
        // SAFETY: each row is visited once.
        let out = unsafe { shared.slice(range.start, per_row) };
        combine_piece(isa, a[row], &x[range.clone()], b[row], &y[range], out);
    });
}

/// out\[i, j\] = a\[i\] x\[i, j\]; `x` and `out` are \[rows, anything\].
///
/// # Panics
/// If a size does not fit.
pub fn rows_scale(rows: usize, a: &[f32], x: &[f32], out: &mut [f32]) {
    let per_row = row_len(rows, x.len());
    assert_eq!(a.len(), rows, "one factor per row is wanted");
    assert_eq!(out.len(), x.len(), "input and output lengths differ");
    let (isa, shared) = (isa(), SharedMut::new(out));
    for_each_row(rows, per_row, |row, range| {
        // SAFETY: each row is visited once.
        let out = unsafe { shared.slice(range.start, per_row) };
        scaled_piece(isa, &x[range], a[row], out);
    });
}

/// out\[i\] = sum over j of x\[i, j\] y\[i, j\], accumulated in `f64`.
///
/// # Panics
/// If a size does not fit.
pub fn rows_dot(rows: usize, x: &[f32], y: &[f32], out: &mut [f32]) {
    let per_row = row_len(rows, x.len());
    assert_eq!(out.len(), rows, "one result per row is wanted");
    assert_eq!(y.len(), x.len(), "input lengths differ");
    let (isa, shared) = (isa(), SharedMut::new(out));
    for_each_row(rows, per_row, |row, range| {
        // SAFETY: each row is visited once.
        let out = unsafe { shared.slice(row, 1) };
        out[0] = dot_piece(isa, &x[range.clone()], &y[range]) as f32;
    });
}

/// Sum of squares in `f64`; the order depends on the length only.
pub fn sum_squares(x: &[f32]) -> f64 {
    let isa = isa();
    sum_in_order(x.len().div_ceil(PIECE), |i| {
        let x = &x[i * PIECE..x.len().min((i + 1) * PIECE)];
        dot_piece(isa, x, x)
    })
}

/// Sum in `f64`; the order depends on the length only.
pub fn sum(x: &[f32]) -> f64 {
    let isa = isa();
    sum_in_order(x.len().div_ceil(PIECE), |i| sum_piece(isa, &x[i * PIECE..x.len().min((i + 1) * PIECE)]))
}

/// out\[i\] = a\[i\] followed by b\[i\] and so on, for each of `pixels` pixels; `parts` are (values, channels).
///
/// # Panics
/// If a size does not fit.
pub fn concat_channels(pixels: usize, parts: &[(&[f32], usize)], out: &mut [f32]) {
    let c: usize = parts.iter().map(|(_, channels)| channels).sum();
    for (values, channels) in parts {
        assert_eq!(values.len(), pixels * channels, "an input is [{pixels}, {channels}]");
    }
    assert_eq!(out.len(), pixels * c, "output is [{pixels}, {c}]");
    let shared = SharedMut::new(out);
    for_each_range(pixels, items_per_piece(c), |first, count| {
        // SAFETY: ranges of different pieces are disjoint.
        let out = unsafe { shared.slice(first * c, count * c) };
        for (i, mut out) in out.chunks_exact_mut(c.max(1)).enumerate() {
            for &(values, channels) in parts {
                let (to, rest) = out.split_at_mut(channels);
                to.copy_from_slice(&values[(first + i) * channels..][..channels]);
                out = rest;
            }
        }
    });
}

/// The reverse of [`concat_channels`], hence also its backward pass.
///
/// # Panics
/// If a size does not fit.
pub fn split_channels(pixels: usize, ca: usize, cb: usize, joined: &[f32], a: &mut [f32], b: &mut [f32]) {
    let c = ca + cb;
    assert!(
        a.len() == pixels * ca && b.len() == pixels * cb,
        "outputs are [{pixels}, {ca}] and [{pixels}, {cb}]"
    );
    assert_eq!(joined.len(), pixels * c, "input is [{pixels}, {c}]");
    let (a, b) = (SharedMut::new(a), SharedMut::new(b));
    for_each_range(pixels, items_per_piece(c), |first, count| {
        // SAFETY: ranges of different pieces are disjoint.
        let (a, b) = unsafe { (a.slice(first * ca, count * ca), b.slice(first * cb, count * cb)) };
        for i in 0..count {
            let (in_a, in_b) = joined[(first + i) * c..(first + i + 1) * c].split_at(ca);
            a[i * ca..(i + 1) * ca].copy_from_slice(in_a);
            b[i * cb..(i + 1) * cb].copy_from_slice(in_b);
        }
    });
}
