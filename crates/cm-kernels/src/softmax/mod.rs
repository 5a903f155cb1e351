//! Softmax over the last dimension of a \[rows, cols\] matrix, its logarithm, and the cross-entropy of class labels.

#[cfg(test)]
mod tests;

use crate::activation::exp::exp;
use crate::dispatch::{Isa, isa};
use crate::elementwise::multiversion::multiversion;
use crate::elementwise::{for_each_range, items_per_piece};
use crate::threads::SharedMut;

/// The largest value of a row, NaN passed over: the exponentials that follow bring it back.
#[inline(always)]
pub(crate) fn row_max(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = larger(v, *lane);
        }
    }
    rest.iter().fold(halved(lanes, larger), |m, &v| larger(v, m))
}

/// Sixteen values made one by halving their number four times.
#[inline(always)]
fn halved(mut lanes: [f32; 16], combine: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = combine(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
}

/// The sum of a row, in sixteen lanes and then in order.
#[inline(always)]
pub(crate) fn row_sum(row: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += v;
        }
    }
    halved(lanes, |a, b| a + b) + rest.iter().sum::<f32>()
}

/// The sum of products of two rows, as [`row_sum`].
#[inline(always)]
pub(crate) fn row_dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (chunks_a, chunks_b) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest = chunks_a.remainder().iter().zip(chunks_b.remainder());
    let rest = rest.map(|(a, b)| a * b).sum::<f32>();
    for (a, b) in chunks_a.zip(chunks_b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    halved(lanes, |a, b| a + b) + rest
}

/// ln sum e^x of a row as `max + above`.
#[derive(Clone, Copy, Default)]
struct LogSum {
    max: f32,
    above: f32,
}

multiversion! {
    /// Rows of probabilities, and of each row the maximum and the logarithm of the sum of e^(x - maximum). The two
    /// are kept apart because their sum would lose the digits of the second where the first is large.
    fn softmax_rows(cols: usize, x: &[f32], out: &mut [f32], sums: &mut [LogSum]) {
        for ((x, out), row) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)).zip(sums.iter_mut()) {
            let max = row_max(x);
            row.max = max;
            for (out, &x) in out.iter_mut().zip(x) {
                *out = x - max;
            }
        }
        // One long loop, because rows may be short.
        for v in out.iter_mut() {
            *v = exp::<FUSED>(*v);
        }
        for (out, row) in out.chunks_exact_mut(cols).zip(sums) {
            let sum = row_sum(out);
            row.above = sum.ln();
            let inverse = 1.0 / sum;
            for v in out {
                *v *= inverse;
            }
        }
    }
}

multiversion! {
    fn softmax_backward_rows(cols: usize, probs: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
        for ((p, g), out) in probs.chunks_exact(cols).zip(grad_out.chunks_exact(cols)).zip(grad_x.chunks_exact_mut(cols)) {
            for ((out, &p), &g) in out.iter_mut().zip(p).zip(g) {
                *out = p * g;
            }
            let dot = row_sum(out);
            for ((out, &p), &g) in out.iter_mut().zip(p).zip(g) {
                *out = p * (g - dot);
            }
        }
    }
}

multiversion! {
    fn log_softmax_backward_rows(cols: usize, log_probs: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
        for ((l, g), out) in log_probs.chunks_exact(cols).zip(grad_out.chunks_exact(cols)).zip(grad_x.chunks_exact_mut(cols)) {
            let sum = row_sum(g);
            for ((out, &l), &g) in out.iter_mut().zip(l).zip(g) {
                *out = g - exp::<FUSED>(l) * sum;
            }
        }
    }
}

fn assert_matrix(rows: usize, cols: usize, len: usize) {
    assert!(cols > 0, "a softmax over no columns is undefined");
    assert_eq!(len, rows * cols, "a matrix is [{rows}, {cols}]");
}

fn softmax_on(isa: Isa, rows: usize, cols: usize, x: &[f32], out: &mut [f32]) -> Vec<LogSum> {
    assert_matrix(rows, cols, x.len());
    assert_matrix(rows, cols, out.len());
    let mut sums = vec![LogSum::default(); rows];
    let (out, shared_sums) = (SharedMut::new(out), SharedMut::new(&mut sums));
    for_each_range(rows, items_per_piece(cols), |first, count| {
        // SAFETY: ranges of different pieces are disjoint.
        let (out, sums) = unsafe { (out.slice(first * cols, count * cols), shared_sums.slice(first, count)) };
        softmax_rows(isa, cols, &x[first * cols..(first + count) * cols], out, sums);
    });
    sums
}

/// Calls `work` on matching pieces of whole rows of two inputs and the output.
fn row_pieces2(
    rows: usize,
    cols: usize,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    work: impl Fn(&[f32], &[f32], &mut [f32]) + Sync + Send,
) {
    assert_matrix(rows, cols, a.len());
    assert_matrix(rows, cols, b.len());
    assert_matrix(rows, cols, out.len());
    let out = SharedMut::new(out);
    for_each_range(rows, items_per_piece(cols), |first, count| {
        let range = first * cols..(first + count) * cols;
        // SAFETY: ranges of different pieces are disjoint.
        let out = unsafe { out.slice(range.start, range.len()) };
        work(&a[range.clone()], &b[range], out);
    });
}

/// out\[r\] = softmax of x\[r\]; both \[rows, cols\].
///
/// # Panics
/// If `cols` is 0 or a size does not fit.
pub fn softmax(rows: usize, cols: usize, x: &[f32], out: &mut [f32]) {
    softmax_on(isa(), rows, cols, x, out);
}

/// Gradient of [`softmax`] from its output: p (g - sum of p g).
///
/// # Panics
/// If `cols` is 0 or a size does not fit.
pub fn softmax_backward(rows: usize, cols: usize, probs: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
    let isa = isa();
    row_pieces2(rows, cols, probs, grad_out, grad_x, |p, g, out| softmax_backward_rows(isa, cols, p, g, out));
}

/// out\[r\] = logarithm of the softmax of x\[r\]; both \[rows, cols\].
///
/// # Panics
/// If `cols` is 0 or a size does not fit.
pub fn log_softmax(rows: usize, cols: usize, x: &[f32], out: &mut [f32]) {
    let sums = softmax_on(isa(), rows, cols, x, out);
    for ((x, out), sum) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)).zip(&sums) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = (x - sum.max) - sum.above;
        }
    }
}

/// Gradient of [`log_softmax`] from its output: g - p sum of g.
///
/// # Panics
/// If `cols` is 0 or a size does not fit.
pub fn log_softmax_backward(
    rows: usize,
    cols: usize,
    log_probs: &[f32],
    grad_out: &[f32],
    grad_x: &mut [f32],
) {
    let isa = isa();
    row_pieces2(rows, cols, log_probs, grad_out, grad_x, |l, g, out| {
        log_softmax_backward_rows(isa, cols, l, g, out);
    });
}

/// losses\[r\] = -ln of the probability of `labels[r]`, and the probabilities, from logits \[rows, cols\].
///
/// # Panics
/// If `cols` is 0, a size does not fit, or a label is not below `cols`.
pub fn cross_entropy(
    rows: usize,
    cols: usize,
    logits: &[f32],
    labels: &[u32],
    losses: &mut [f32],
    probs: &mut [f32],
) {
    assert_eq!(labels.len(), rows, "one label per row is wanted");
    assert_eq!(losses.len(), rows, "one loss per row is wanted");
    let sums = softmax_on(isa(), rows, cols, logits, probs);
    for (((loss, logits), &label), sum) in
        losses.iter_mut().zip(logits.chunks_exact(cols)).zip(labels).zip(&sums)
    {
        *loss = sum.above - (logits[label as usize] - sum.max);
    }
}

/// Gradient of [`cross_entropy`] in the logits: grad_losses\[r\] (probs\[r\] - onehot(labels\[r\])).
///
/// # Panics
/// If `cols` is 0, a size does not fit, or a label is not below `cols`.
pub fn cross_entropy_backward(
    rows: usize,
    cols: usize,
    probs: &[f32],
    labels: &[u32],
    grad_losses: &[f32],
    grad_logits: &mut [f32],
) {
    assert_matrix(rows, cols, probs.len());
    assert_eq!(labels.len(), rows, "one label per row is wanted");
    crate::elementwise::rows_scale(rows, grad_losses, probs, grad_logits);
    for ((grad, &label), g) in grad_logits.chunks_exact_mut(cols).zip(labels).zip(grad_losses) {
        grad[label as usize] -= g;
    }
}
