//! Multi-head self-attention, softmax(Q K^T / sqrt(dim)) V, and its gradient.
//!
//! The input is the fused projection \[batch, tokens, 3 * heads * dim\]: all of Q, then all of K, then all of V, each
//! head by head. Only a band of rows of the score matrix exists at any time; a band sees all keys, so its softmax is
//! exact at once and no running maximum is needed. The backward pass makes each band again from the row's
//! log-sum-exp.
//!
//! An image is the unit of work, several to a task where they are small. Projections, masks and dropout are absent.

mod blocked;
#[cfg(test)]
mod naive;
mod product;
#[cfg(test)]
mod tests;

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

/// Multiply-adds of a task.
const TASK_WORK: usize = 1 << 18;

impl AttentionShape {
    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.image()
    }

    /// Elements of the fused projection.
    pub fn qkv_len(&self) -> usize {
        3 * self.output_len()
    }

    /// Elements of the log-sum-exp.
    pub fn lse_len(&self) -> usize {
        self.batch * self.heads * self.tokens
    }

    /// Output elements of one image.
    fn image(&self) -> usize {
        self.tokens * self.heads * self.dim
    }

    fn images_per_task(&self) -> usize {
        (TASK_WORK / (self.tokens * self.image()).max(1)).max(1)
    }

    fn check(&self, qkv: &[f32], out: &[f32], lse: &[f32]) {
        assert_eq!(qkv.len(), self.qkv_len(), "qkv of {self:?} is [batch, tokens, 3 * heads * dim]");
        assert_eq!(out.len(), self.output_len(), "output of {self:?} is [batch, tokens, heads * dim]");
        assert_eq!(lse.len(), self.lse_len(), "lse of {self:?} is [batch, heads, tokens]");
    }

    /// Runs `work(image)` over all images, those of one task in order.
    fn for_each_task(&self, work: impl Fn(std::ops::Range<usize>) + Sync + Send) {
        if self.output_len() == 0 {
            return;
        }
        for_each_range(self.batch, self.images_per_task(), |first, count| work(first..first + count));
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
    let (image, rows) = (shape.image(), shape.heads * shape.tokens);
    let (out, lse) = (SharedMut::new(out), SharedMut::new(lse));
    shape.for_each_task(|images| {
        let mut work = blocked::Work::new(shape);
        for n in images {
            // SAFETY: each image is visited once.
            let (out, lse) = unsafe { (out.slice(n * image, image), lse.slice(n * rows, rows)) };
            work.forward(isa, &qkv[n * 3 * image..(n + 1) * 3 * image], out, lse);
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
    let (image, rows) = (shape.image(), shape.heads * shape.tokens);
    let grad_qkv = SharedMut::new(grad_qkv);
    shape.for_each_task(|images| {
        let mut work = blocked::Work::new(shape);
        for n in images {
            let (range, wide) = (n * image..(n + 1) * image, n * 3 * image..(n + 1) * 3 * image);
            // SAFETY: each image is visited once.
            let grad_qkv = unsafe { grad_qkv.slice(wide.start, wide.len()) };
            let lse = &lse[n * rows..(n + 1) * rows];
            work.backward(isa, &qkv[wide], &out[range.clone()], lse, &grad_out[range], grad_qkv);
        }
    });
}
