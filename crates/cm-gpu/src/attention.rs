//! Multi-head self-attention and its gradient; the matrix of scores is never in memory.

use crate::source::{ATTENTION, Variant};
use crate::{Buffer, Element, Gpu, GpuError};

/// Channels of a head, at most.
pub const MOST_DIM: usize = 256;

/// Rows that a block has of its own, keys of a tile of the forward pass, rows of a tile of the backward pass, and values
/// that a row is rounded up to: as in `attention.cu`.
const MINE: usize = 32;
const KEYS: usize = 16;
const THEIRS: usize = 8;
const SPAN: usize = 32;

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Images.
    pub batch: usize,
    /// Pixels.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of one head, [`MOST_DIM`] at most.
    pub dim: usize,
}

impl AttentionShape {
    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.tokens * self.heads * self.dim
    }

    /// Rows of all heads' scores.
    pub fn rows(&self) -> usize {
        self.batch * self.heads * self.tokens
    }

    fn check(&self, qkv: &Buffer) {
        assert!(self.dim <= MOST_DIM, "heads of {} channels: {MOST_DIM} is the most", self.dim);
        assert_eq!(qkv.len(), 3 * self.output_len(), "qkv of {self:?} is [batch, tokens, 3 * heads * dim]");
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// Values of a row in shared memory.
    fn row(&self) -> usize {
        self.dim.next_multiple_of(SPAN) + 4
    }

    fn blocks(&self) -> usize {
        self.batch * self.heads * self.tokens.div_ceil(MINE)
    }
}

impl Gpu {
    /// softmax(Q K^T / sqrt(dim)) V, \[batch, tokens, heads * dim\], in the type of `qkv`, and for the backward pass the
    /// logarithm of each row's sum of exponentials of scaled scores, \[batch, heads, tokens\], in single precision.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit, or heads have more than [`MOST_DIM`] channels.
    pub fn attention(&self, shape: &AttentionShape, qkv: &Buffer) -> Result<(Buffer, Buffer), GpuError> {
        shape.check(qkv);
        let &AttentionShape { batch, tokens, heads, dim } = shape;
        if shape.output_len() == 0 {
            // Nothing to attend to: the statistics are those of nothing.
            return Ok((self.unwritten(qkv.element(), 0)?, self.zeros(Element::F32, shape.rows())?));
        }
        let mut out = self.unwritten(qkv.element(), shape.output_len())?;
        let mut lse = self.unwritten(Element::F32, shape.rows())?;
        let launch = self.launch(&ATTENTION, Variant::of(qkv.element()), "attention")?.read(qkv);
        let launch = launch.write(&mut out).write(&mut lse).int(batch).int(tokens).int(heads).int(dim);
        let shared = 4 * ((MINE + 2 * KEYS) * shape.row() + MINE * (KEYS + 1));
        launch.float(shape.scale()).grid([shape.blocks(), 1, 1], shared)?;
        Ok((out, lse))
    }

    /// Gradient of [`Gpu::attention`] in `qkv` from its input and outputs.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn attention_backward(
        &self,
        shape: &AttentionShape,
        qkv: &Buffer,
        out: &Buffer,
        lse: &Buffer,
        grad_out: &Buffer,
    ) -> Result<Buffer, GpuError> {
        shape.check(qkv);
        let &AttentionShape { batch, tokens, heads, dim } = shape;
        assert_eq!(out.len(), shape.output_len(), "output of {shape:?} is [batch, tokens, heads * dim]");
        assert_eq!(grad_out.len(), out.len(), "gradient and output differ in length");
        assert_eq!(lse.len(), shape.rows(), "lse of {shape:?} is [batch, heads, tokens]");
        let variant = Variant::of(qkv.element());
        let mut grad_qkv = self.unwritten(qkv.element(), qkv.len())?;
        if qkv.is_empty() {
            return Ok(grad_qkv);
        }
        let mut delta = self.unwritten(Element::F32, shape.rows())?;
        let launch = self.launch(&ATTENTION, variant, "attention_delta")?.read(out).read(grad_out);
        let launch = launch.write(&mut delta).int(batch).int(tokens).int(heads).int(dim);
        launch.grid([shape.rows().div_ceil(8), 1, 1], 0)?;
        let shared = 4 * (2 * (MINE + THEIRS) * shape.row() + MINE * 2 * (THEIRS + 1));
        for name in ["attention_backward_queries", "attention_backward_keys"] {
            let launch = self.launch(&ATTENTION, variant, name)?.read(qkv).read(grad_out).read(lse);
            let launch = launch.read(&delta).write(&mut grad_qkv).int(batch).int(tokens).int(heads).int(dim);
            launch.float(shape.scale()).grid([shape.blocks(), 1, 1], shared)?;
        }
        Ok(grad_qkv)
    }
}
