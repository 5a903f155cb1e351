//! Multi-head self-attention, softmax(Q K^T / sqrt(dim)) V, its gradient and its tangent.
//!
//! The input is the fused projection \[batch, tokens, 3 * heads * dim\]: all of Q, then all of K, then all of V, each
//! head by head. Only a band of rows of the score matrix exists at any time; a band sees all keys, so its softmax is
//! exact at once and no running maximum is needed. The backward pass and the tangent make each band again from the
//! row's log-sum-exp.
//!
//! A head of an image is the unit of work, several to a task where they are small; if there are few of them, the
//! forward pass cuts each by rows. Projections, masks and dropout are absent.

mod head;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use std::ops::Range;

use self::head::{BAND, Head};
use crate::dispatch::{Isa, isa};
use crate::elementwise::for_each_range;
use crate::threads::SharedMut;

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Images.
    pub batch: usize,
    /// Pixels.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of one head.
    pub dim: usize,
}

/// Multiply-adds of a product of a task.
const TASK_WORK: usize = 1 << 18;

/// Fewer heads in all than this are few.
const FEW_HEADS: usize = 4;

impl AttentionShape {
    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.tokens * self.heads * self.dim
    }

    /// Elements of the fused projection.
    pub fn qkv_len(&self) -> usize {
        3 * self.output_len()
    }

    /// Elements of the log-sum-exp.
    pub fn lse_len(&self) -> usize {
        self.batch * self.heads * self.tokens
    }

    /// What scores are multiplied by, 1 / sqrt(dim).
    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// Heads of a task.
    fn heads_per_task(&self) -> usize {
        (TASK_WORK / (self.tokens * self.tokens * self.dim).max(1)).max(1)
    }

    /// Rows of a head's scores that the forward pass gives to one task, whole bands.
    fn rows_per_task(&self) -> usize {
        let bands = self.tokens.div_ceil(BAND);
        let cuts = FEW_HEADS.div_ceil((self.batch * self.heads).max(1)).min(bands);
        bands.div_ceil(cuts.max(1)) * BAND
    }

    fn check(&self, qkv: &[f32], out: &[f32], lse: &[f32]) {
        assert_eq!(qkv.len(), self.qkv_len(), "qkv of {self:?} is [batch, tokens, 3 * heads * dim]");
        assert_eq!(out.len(), self.output_len(), "output of {self:?} is [batch, tokens, heads * dim]");
        assert_eq!(lse.len(), self.lse_len(), "lse of {self:?} is [batch, heads, tokens]");
    }
}

/// Writes the output, \[batch, tokens, heads * dim\], and for the backward pass the logarithm of each row's sum of
/// exponentials of scaled scores, \[batch, heads, tokens\].
///
/// # Panics
/// If a size does not fit.
pub fn forward(shape: &AttentionShape, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    forward_on(isa(), shape, qkv, out, lse);
}

fn forward_on(isa: Isa, shape: &AttentionShape, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    shape.check(qkv, out, lse);
    if shape.output_len() == 0 {
        // Nothing to attend to: the statistics are those of nothing.
        lse.fill(0.0);
        return;
    }
    let (out, lse) = (SharedMut::new(out), SharedMut::new(lse));
    for_each_band_of_rows(shape, |head, rows| Head::new(isa, shape, head).forward(qkv, rows, out, lse));
}

/// How the output of [`forward`] changes where `qkv` changes along `along`, from its input and log-sum-exp.
///
/// # Panics
/// If a size does not fit.
pub fn tangent(shape: &AttentionShape, qkv: &[f32], lse: &[f32], along: &[f32], out: &mut [f32]) {
    tangent_on(isa(), shape, qkv, lse, along, out);
}

fn tangent_on(isa: Isa, shape: &AttentionShape, qkv: &[f32], lse: &[f32], along: &[f32], out: &mut [f32]) {
    shape.check(qkv, out, lse);
    assert_eq!(along.len(), qkv.len(), "direction and qkv differ in length");
    if shape.output_len() == 0 {
        return;
    }
    let out = SharedMut::new(out);
    for_each_band_of_rows(shape, |head, rows| {
        Head::new(isa, shape, head).tangent(qkv, along, lse, rows, out);
    });
}

/// Calls `work` with each head and rows of its scores, few heads cut by rows.
fn for_each_band_of_rows(shape: &AttentionShape, work: impl Fn(usize, Range<usize>) + Sync + Send) {
    let (heads, rows) = (shape.batch * shape.heads, shape.rows_per_task());
    let cuts = shape.tokens.div_ceil(rows);
    for_each_range(heads * cuts, shape.heads_per_task(), |first, count| {
        for piece in first..first + count {
            let from = piece % cuts * rows;
            work(piece / cuts, from..(from + rows).min(shape.tokens));
        }
    });
}

/// Gradient of [`forward`] in `qkv` from its input and outputs.
///
/// # Panics
/// If a size does not fit.
pub fn backward(
    shape: &AttentionShape,
    qkv: &[f32],
    out: &[f32],
    lse: &[f32],
    grad_out: &[f32],
    grad_qkv: &mut [f32],
) {
    backward_on(isa(), shape, qkv, out, lse, grad_out, grad_qkv);
}

fn backward_on(
    isa: Isa,
    shape: &AttentionShape,
    qkv: &[f32],
    out: &[f32],
    lse: &[f32],
    grad_out: &[f32],
    grad_qkv: &mut [f32],
) {
    shape.check(qkv, out, lse);
    assert_eq!(grad_out.len(), out.len(), "gradient and output differ in length");
    assert_eq!(grad_qkv.len(), qkv.len(), "gradient and qkv differ in length");
    if shape.output_len() == 0 {
        return;
    }
    let grad_qkv = SharedMut::new(grad_qkv);
    for_each_range(shape.batch * shape.heads, shape.heads_per_task(), |first, count| {
        for head in first..first + count {
            Head::new(isa, shape, head).backward(qkv, out, lse, grad_out, grad_qkv);
        }
    });
}
