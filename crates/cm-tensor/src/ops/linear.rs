//! The affine map.

use crate::custom_op::product;
use crate::device::Device;
use crate::operation::Operation;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, Matrix, TangentContext, Vector};
use cm_gpu::conv2d::{Conv2dShape, Epilogue};
use cm_gpu::{Buffer, GpuError};
use cm_kernels::{
    buffer::{unwritten, written_by},
    elementwise, gemm,
};

struct Linear {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl CustomOp for Linear {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let bias = inputs.get(2).copied();
        gemm::linear(self.rows, self.inputs, self.outputs, inputs[0], inputs[1], bias, output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::Linear)
    }

    fn keeps_input(&self, index: usize) -> bool {
        index < 2
    }

    fn multiplies(&self, index: usize) -> bool {
        index < 2
    }

    fn flops(&self) -> u64 {
        product([2, self.rows, self.inputs, self.outputs])
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let Self { rows, inputs, outputs } = *self;
        let TangentContext { inputs: values, tangents, output, .. } = context;
        let mut bias = tangents.get(2).copied().flatten();
        let mut sum: Option<Vec<f32>> = None;
        // By the product rule; a change of the bias is added to the first product.
        for (x, weight) in [(tangents[0], Some(values[1])), (Some(values[0]), tangents[1])] {
            let (Some(x), Some(weight)) = (x, weight) else { continue };
            let bias = bias.take();
            let part =
                written_by(output.len(), |out| gemm::linear(rows, inputs, outputs, x, weight, bias, out));
            match &mut sum {
                Some(sum) => elementwise::add_assign(sum, &part),
                None => sum = Some(part),
            }
        }
        sum.or_else(|| Some(bias?.repeat(rows))).expect("one input at least changes")
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let Self { rows, inputs, outputs } = *self;
        let (x, weight, gradient) = (context.inputs[0], context.inputs[1], &context.gradient);
        let grad_x = context.wanted[0].then(|| {
            written_by(rows * inputs, |out| {
                gemm::linear_backward_data(rows, inputs, outputs, weight, gradient, out);
            })
        });
        // One pass gives both; where neither is wanted, as in a fixed network, there is none.
        if !context.wanted[1..].contains(&true) {
            return std::iter::once(grad_x).chain(context.wanted[1..].iter().map(|_| None)).collect();
        }
        let mut grad_weight = unwritten(inputs * outputs);
        let mut grad_bias = (context.wanted.len() == 3).then(|| unwritten(outputs));
        let bias = grad_bias.as_deref_mut();
        gemm::linear_backward_weight(rows, inputs, outputs, x, gradient, &mut grad_weight, bias);
        [grad_x, Some(grad_weight)].into_iter().chain(grad_bias.map(Some)).collect()
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let (x, weight) = (&inputs[0], &inputs[1]);
        let bias = inputs.get(2).map(|bias| device.single(bias)).transpose()?;
        let epilogue = Epilogue { bias: bias.as_ref(), ..Epilogue::default() };
        let shape = Conv2dShape::linear(self.rows, self.inputs, self.outputs);
        let output = device.gpu().conv2d(device.precision(), &shape, x, weight, epilogue)?;
        Ok((output, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let shape = Conv2dShape::linear(self.rows, self.inputs, self.outputs);
        let (gpu, precision, gradient) = (device.gpu(), device.precision(), &context.gradient);
        let part = |index: usize| match index {
            0 => gpu.conv2d_backward_data(precision, &shape, context.input(1), gradient, 1.0),
            1 => gpu.conv2d_backward_weight(precision, &shape, context.input(0), gradient, 1.0),
            _ => gpu.conv2d_backward_bias(&shape, gradient, 1.0),
        };
        context.each_wanted(part)
    }
}

/// x W + b, or x W.
///
/// # Shapes
/// `x`: `[N, in]`; `weight`: `[in, out]`; `bias`: `[out]`; result: `[N, out]`.
///
/// # Panics
/// If the weight does not fit.
pub fn linear(graph: &mut Graph, x: &Matrix, weight: &Vector, bias: Option<&Vector>) -> Matrix {
    let ([rows, inputs], [values]) = (x.shape(), weight.shape());
    assert!(inputs > 0 && values % inputs == 0, "a weight of {values} values for {inputs} inputs");
    let outputs = values / inputs;
    let op = Linear { rows, inputs, outputs };
    match bias {
        Some(bias) => graph.apply(op, &[x, weight, bias], [rows, outputs]),
        None => graph.apply(op, &[x, weight], [rows, outputs]),
    }
}
