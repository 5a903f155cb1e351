//! Multi-head self-attention and its gradient; the matrix of scores is never in memory.

use crate::conv2d::Precision;
use crate::source::ATTENTION;
use crate::{Buffer, Element, Gpu, GpuError};

/// Channels of a head, at most.
pub const MOST_DIM: usize = 256;

/// Widths of a head that there are kernels for.
const WIDTHS: [usize; 2] = [64, MOST_DIM];

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

    /// Which kernels take heads of so many channels.
    fn width(&self) -> usize {
        WIDTHS.into_iter().find(|&width| self.dim <= width).expect("checked with the sizes")
    }

    /// The grid of a launch, and its bytes of dynamic shared memory, for blocks that keep `mine` factors of their own
    /// rows; as in `attention.cu`.
    fn grid(&self, precision: Precision, mine: usize) -> ([usize; 3], usize) {
        let (element, width) = (precision.element(), self.width());
        let own = if width * element.size() > 512 { 32 } else { 64 };
        let theirs = if precision == Precision::Bf16 { 32 } else { 16 };
        let blocks = self.batch * self.heads * self.tokens.div_ceil(own);
        ([blocks, 1, 1], (mine * own + 2 * theirs) * (width * element.size() + 16))
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
    /// If a size does not fit, heads have more than [`MOST_DIM`] channels, or `qkv` has not the type of `precision`.
    pub fn attention(
        &self,
        precision: Precision,
        shape: &AttentionShape,
        qkv: &Buffer,
    ) -> Result<(Buffer, Buffer), GpuError> {
        shape.check(qkv);
        let &AttentionShape { batch, tokens, heads, dim } = shape;
        if shape.output_len() == 0 {
            // Nothing to attend to: the statistics are those of nothing.
            return Ok((self.unwritten(qkv.element(), 0)?, self.zeros(Element::F32, shape.rows())?));
        }
        let mut out = self.unwritten(qkv.element(), shape.output_len())?;
        let mut lse = self.unwritten(Element::F32, shape.rows())?;
        let name = format!("attention_{}", shape.width());
        let launch = self.launch(&ATTENTION, precision.variant(), &name)?.read(qkv);
        let launch = launch.write(&mut out).write(&mut lse).int(batch).int(tokens).int(heads).int(dim);
        let (grid, shared) = shape.grid(precision, 1);
        launch.float(shape.scale()).grid(grid, shared)?;
        Ok((out, lse))
    }

    /// Gradient of [`Gpu::attention`] in `qkv` from its input and outputs.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size or a type does not fit.
    pub fn attention_backward(
        &self,
        precision: Precision,
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
        let mut grad_qkv = self.unwritten(qkv.element(), qkv.len())?;
        if qkv.is_empty() {
            return Ok(grad_qkv);
        }
        // Written by the kernel of the queries, read by that of the keys.
        let mut delta = self.unwritten(Element::F32, shape.rows())?;
        for (by, mine) in [("queries", 2), ("keys", 2), ("values", 1)] {
            let name = format!("attention_by_{by}_{}", shape.width());
            let launch = self.launch(&ATTENTION, precision.variant(), &name)?;
            let launch = launch.read(qkv).read(out).read(grad_out).read(lse);
            let launch = launch.write(&mut delta).write(&mut grad_qkv);
            let launch = launch.int(batch).int(tokens).int(heads).int(dim).float(shape.scale());
            let (grid, shared) = shape.grid(precision, mine);
            launch.grid(grid, shared)?;
        }
        Ok(grad_qkv)
    }
}
