//! Element-wise non-linearities.

use crate::device::Device;
use crate::operation::Operation;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, TangentContext, Var};
use cm_gpu::{Buffer, GpuError};
use cm_kernels::{activation, buffer::written_by};
use dfdx::shapes::Shape;

struct Silu;

impl CustomOp for Silu {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        activation::silu(inputs[0], output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::Silu)
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let (x, along) = (context.inputs[0], context.first());
        written_by(x.len(), |out| activation::silu_backward(x, along, out))
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let x = context.inputs[0];
        vec![Some(written_by(x.len(), |grad| activation::silu_backward(x, &context.gradient, grad)))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        Ok((device.gpu().silu(&inputs[0])?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        Ok(vec![Some(device.gpu().silu_backward(context.input(0), &context.gradient)?)])
    }
}

/// x sigmoid(x), also called swish (Hendrycks and Gimpel 2016).
pub fn silu<S: Shape<Concrete = S>>(graph: &mut Graph, x: &Var<S>) -> Var<S> {
    graph.apply(Silu, &[x], x.shape())
}

struct Relu;

impl CustomOp for Relu {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        activation::relu(inputs[0], output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::Relu)
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let (x, along) = (context.inputs[0], context.first());
        written_by(x.len(), |out| activation::relu_backward(x, along, out))
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let x = context.inputs[0];
        vec![Some(written_by(x.len(), |grad| activation::relu_backward(x, &context.gradient, grad)))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        Ok((device.gpu().relu(&inputs[0])?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        Ok(vec![Some(device.gpu().relu_backward(context.input(0), &context.gradient)?)])
    }
}

/// max(x, 0).
pub fn relu<S: Shape<Concrete = S>>(graph: &mut Graph, x: &Var<S>) -> Var<S> {
    graph.apply(Relu, &[x], x.shape())
}
