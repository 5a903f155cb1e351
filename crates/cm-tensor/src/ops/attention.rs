//! Self-attention over the pixels of an image.

use crate::composed::{
    AnyDevice, Axes4, Axis, Flat, PermuteTo, ReshapeTo, Tape, Tensor, TryMatMul, WithEmptyTape, flat, shaped,
    taken,
};
use crate::custom_op::product;
use crate::{BackwardContext, CustomOp, Graph, Images};
use cm_kernels::attention::{self, AttentionShape};
use cm_kernels::buffer::{unwritten, written_by};

struct Attention(AttentionShape);

impl CustomOp for Attention {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let AttentionShape { batch, tokens, heads, .. } = self.0;
        let mut log_sum_exp = unwritten(batch * heads * tokens);
        attention::forward(&self.0, inputs[0], output, &mut log_sum_exp);
        log_sum_exp
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn keeps_output(&self) -> bool {
        true
    }

    fn flops(&self) -> u64 {
        let AttentionShape { batch, tokens, heads, dim } = self.0;
        product([4, batch, heads, tokens, tokens, dim])
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let qkv = context.inputs[0];
        vec![Some(written_by(qkv.len(), |grad| {
            attention::backward(&self.0, qkv, context.output, context.saved, &context.gradient, grad);
        }))]
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let AttentionShape { batch, tokens, heads, dim } = self.0;
        let [qkv] = taken(inputs);
        let qkv = shaped(qkv, (batch, tokens, 3, heads, dim));
        let part = |qkv: Tensor<(usize, usize, usize, usize, usize), f32, D, T>, index: usize| {
            let part = shaped(qkv.slice((.., .., index..index + 1, .., ..)), (batch, tokens, heads, dim));
            part.permute::<(usize, usize, usize, usize), Axes4<0, 2, 1, 3>>().contiguous()
        };
        let keys =
            part(qkv.with_empty_tape(), 1).permute::<(usize, usize, usize, usize), Axes4<0, 1, 3, 2>>();
        let values = part(qkv.with_empty_tape(), 2);
        let scores = (part(qkv, 0) * (dim as f32).sqrt().recip()).matmul(keys);
        let mixed = scores.softmax::<Axis<3>>().matmul(values);
        flat(mixed.permute::<(usize, usize, usize, usize), Axes4<0, 2, 1, 3>>())
    }
}

/// softmax(Q K^T / sqrt(d)) V for each image and head.
///
/// # Shapes
/// `qkv`: `[N, H, W, 3C]`, all of Q, then K, then V, each of `heads` x d channels; result: `[N, H, W, C]`.
///
/// # Panics
/// If the channels are not 3 x `heads` x d.
pub fn attention(graph: &mut Graph, qkv: &Images, heads: usize) -> Images {
    let [batch, height, width, channels] = qkv.shape();
    assert_eq!(
        channels % (3 * heads),
        0,
        "{channels} channels are not queries, keys and values of {heads} heads"
    );
    let dim = channels / (3 * heads);
    let shape = AttentionShape { batch, tokens: height * width, heads, dim };
    graph.apply(Attention(shape), &[qkv], [batch, height, width, heads * dim])
}
