//! Another scale for each channel.

use crate::device::Device;
use crate::operation::Operation;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, Images, TangentContext};
use cm_gpu::{Buffer, GpuError};

struct Affine {
    inputs: usize,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Affine {
    fn map(&self, x: &[f32], shift: impl Fn(usize) -> f32, output: &mut [f32]) {
        let channels = self.scale.len();
        for (out, x) in output.chunks_exact_mut(channels).zip(x.chunks_exact(self.inputs)) {
            for (c, out) in out.iter_mut().enumerate() {
                *out = self.scale[c] * x[c.min(self.inputs - 1)] + shift(c);
            }
        }
    }
}

impl CustomOp for Affine {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        self.map(inputs[0], |c| self.shift[c], output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::AffineChannels { scale: self.scale.clone(), shift: self.shift.clone() })
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let mut out = vec![0.0; context.output.len()];
        self.map(context.first(), |_| 0.0, &mut out);
        out
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let channels = self.scale.len();
        let mut by_x = vec![0.0; context.gradient.len() / channels * self.inputs];
        for (out, g) in by_x.chunks_exact_mut(self.inputs).zip(context.gradient.chunks_exact(channels)) {
            for (c, g) in g.iter().enumerate() {
                out[c.min(self.inputs - 1)] += self.scale[c] * g;
            }
        }
        vec![Some(by_x)]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let (scale, shift) = (device.gpu().upload(&self.scale)?, device.gpu().upload(&self.shift)?);
        Ok((device.gpu().affine_channels(self.inputs, &inputs[0], &scale, &shift)?, vec![scale]))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let scale = &context.saved[0];
        Ok(vec![Some(device.gpu().affine_channels_backward(self.inputs, scale, &context.gradient)?)])
    }
}

/// `scale` x + `shift`, channel by channel; one channel becomes as many as there are factors.
///
/// # Panics
/// If the images have neither one channel nor one for each factor, or the shifts are not as many.
pub fn affine_channels(graph: &mut Graph, x: &Images, scale: Vec<f32>, shift: Vec<f32>) -> Images {
    let [batch, height, width, inputs] = x.shape();
    let channels = scale.len();
    assert_eq!(shift.len(), channels, "one shift for each factor");
    assert!(inputs == 1 || inputs == channels, "{inputs} channels to {channels}");
    graph.apply(Affine { inputs, scale, shift }, &[x], [batch, height, width, channels])
}
