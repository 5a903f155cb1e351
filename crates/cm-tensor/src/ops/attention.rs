//! Self-attention over the pixels of an image.

use crate::custom_op::product;
use crate::device::Device;
use crate::operation::Operation;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, Images, TangentContext};
use cm_gpu::{Buffer, GpuError};
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

    fn operation(&self) -> Option<Operation> {
        Some(Operation::Attention { heads: self.0.heads })
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn keeps_output(&self) -> bool {
        true
    }

    fn multiplies(&self, _: usize) -> bool {
        true
    }

    fn flops(&self) -> u64 {
        let AttentionShape { batch, tokens, heads, dim } = self.0;
        product([4, batch, heads, tokens, tokens, dim])
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let (qkv, along) = (context.inputs[0], context.first());
        written_by(self.0.output_len(), |out| attention::tangent(&self.0, qkv, context.saved, along, out))
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let qkv = context.inputs[0];
        vec![Some(written_by(qkv.len(), |grad| {
            attention::backward(&self.0, qkv, context.output, context.saved, &context.gradient, grad);
        }))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let qkv = &inputs[0];
        let (output, log_sum_exp) = device.gpu().attention(device.precision(), &on_device(&self.0), qkv)?;
        Ok((output, vec![log_sum_exp]))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let qkv = context.input(0);
        let output = context.output.expect("the output is kept");
        let (shape, log_sum_exp) = (on_device(&self.0), &context.saved[0]);
        let (gpu, precision, gradient) = (device.gpu(), device.precision(), &context.gradient);
        Ok(vec![Some(gpu.attention_backward(precision, &shape, qkv, output, log_sum_exp, gradient)?)])
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

fn on_device(shape: &AttentionShape) -> cm_gpu::attention::AttentionShape {
    let AttentionShape { batch, tokens, heads, dim } = *shape;
    cm_gpu::attention::AttentionShape { batch, tokens, heads, dim }
}
