//! Dropout by a key.

use crate::device::Device;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, TangentContext, Var};
use cm_gpu::{Buffer, GpuError};
use cm_kernels::buffer::written_by;
use cm_kernels::dropout as kernel;
use dfdx::shapes::Shape;

struct Dropout {
    key: u64,
    probability: f32,
}

impl CustomOp for Dropout {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        kernel::dropout(self.key, self.probability, inputs[0], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let along = context.first();
        written_by(along.len(), |out| kernel::dropout(self.key, self.probability, along, out))
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let gradient = &context.gradient;
        let drop = |out: &mut [f32]| kernel::dropout(self.key, self.probability, gradient, out);
        vec![Some(written_by(gradient.len(), drop))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        Ok((device.gpu().dropout(self.key, self.probability, &inputs[0])?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        Ok(vec![Some(device.gpu().dropout(self.key, self.probability, &context.gradient)?)])
    }
}

/// Sets each value to 0 with the given probability and divides the others by the rest: a pure function of `key`.
pub fn dropout<S: Shape<Concrete = S>>(graph: &mut Graph, x: &Var<S>, key: u64, probability: f32) -> Var<S> {
    graph.apply(Dropout { key, probability }, &[x], x.shape())
}
