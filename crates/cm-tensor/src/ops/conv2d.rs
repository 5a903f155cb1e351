//! Convolution with everything that can ride along in its last pass.

use crate::custom_op::product;
use crate::device::Device;
use crate::operation::Operation;
use crate::{
    BackwardContext, CustomOp, DeviceContext, Graph, Images, Matrix, Operand, TangentContext, Vector,
};
use cm_gpu::conv2d::Epilogue as DeviceEpilogue;
use cm_gpu::{Buffer, GpuError};
use cm_kernels::buffer::written_by;
use cm_kernels::conv2d::{self as kernel, Conv2dShape, Epilogue};
use cm_kernels::elementwise;

/// What a convolution takes besides its input: scale x (conv(x, w) + bias + image_bias + residual).
pub struct Conv2d<'a> {
    /// `[k, k, in, out]`.
    pub weight: &'a Vector,
    /// `[out]`.
    pub bias: &'a Vector,
    /// k: height and width of the kernel.
    pub kernel: usize,
    /// Distance of two neighbouring applications.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: usize,
    /// The number of output channels.
    pub out_channels: usize,
    /// One bias for each image and channel: `[N, out]`.
    pub image_bias: Option<&'a Matrix>,
    /// Added to the result: `[N, H', W', out]`.
    pub residual: Option<&'a Images>,
    /// Factor of the whole.
    pub scale: f32,
}

struct Op {
    shape: Conv2dShape,
    image_bias: bool,
    residual: bool,
    scale: f32,
}

impl CustomOp for Op {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let mut rest = inputs[3..].iter().copied();
        let epilogue = Epilogue {
            bias: Some(inputs[2]),
            image_bias: self.image_bias.then(|| rest.next().expect("given with the operation")),
            residual: self.residual.then(|| rest.next().expect("given with the operation")),
            scale: self.scale,
            relu: false,
        };
        kernel::forward(&self.shape, inputs[0], inputs[1], epilogue, output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        let Self { shape, image_bias, residual, scale } = *self;
        let Conv2dShape { kernel, stride, padding, .. } = shape;
        Some(Operation::Conv2d { kernel, stride, padding, image_bias, residual, scale })
    }

    fn keeps_input(&self, index: usize) -> bool {
        index < 2
    }

    /// Not the bias, which is added in single precision.
    fn multiplies(&self, index: usize) -> bool {
        index != 2
    }

    fn flops(&self) -> u64 {
        let s = &self.shape;
        let counts = [2, s.batch, s.out_height(), s.out_width(), s.out_channels];
        product(counts.into_iter().chain([s.in_channels, s.kernel, s.kernel]))
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let TangentContext { inputs, tangents, output, .. } = context;
        let image_bias = if self.image_bias { tangents[3] } else { None };
        let residual = if self.residual { tangents[tangents.len() - 1] } else { None };
        let mut rest = Epilogue { bias: tangents[2], image_bias, residual, scale: self.scale, relu: false };
        let mut sum: Option<Vec<f32>> = None;
        // By the product rule; what else changes rides along in the first product.
        for (x, weight) in [(tangents[0], Some(inputs[1])), (Some(inputs[0]), tangents[1])] {
            let (Some(x), Some(weight)) = (x, weight) else { continue };
            let rest = std::mem::replace(&mut rest, Epilogue { scale: self.scale, ..Epilogue::default() });
            let part = written_by(output.len(), |out| kernel::forward(&self.shape, x, weight, rest, out));
            match &mut sum {
                Some(sum) => elementwise::add_assign(sum, &part),
                None => sum = Some(part),
            }
        }
        sum.unwrap_or_else(|| {
            // A convolution of nothing, with what is added to it.
            let nothing = vec![0.0; inputs[0].len()];
            written_by(output.len(), |out| kernel::forward(&self.shape, &nothing, inputs[1], rest, out))
        })
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let shape = &self.shape;
        let mut gradient = context.gradient;
        if self.scale != 1.0 {
            gradient = written_by(gradient.len(), |out| elementwise::scaled(&gradient, self.scale, out));
        }
        let (x, weight, wanted) = (context.inputs[0], context.inputs[1], context.wanted);
        let mut parts = vec![
            wanted[0].then(|| {
                written_by(shape.input_len(), |out| kernel::backward_data(shape, weight, &gradient, out))
            }),
            wanted[1].then(|| {
                written_by(shape.weight_len(), |out| kernel::backward_weight(shape, x, &gradient, out))
            }),
            wanted[2]
                .then(|| written_by(shape.out_channels, |out| kernel::backward_bias(shape, &gradient, out))),
        ];
        if self.image_bias {
            let len = shape.batch * shape.out_channels;
            parts.push(
                wanted[parts.len()]
                    .then(|| written_by(len, |out| kernel::backward_image_bias(shape, &gradient, out))),
            );
        }
        if self.residual {
            parts.push(wanted[parts.len()].then_some(gradient));
        }
        parts
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let (x, weight) = (&inputs[0], &inputs[1]);
        let bias = device.single(&inputs[2])?;
        let mut rest = inputs[3..].iter();
        let image_bias = if self.image_bias { rest.next() } else { None };
        let residual = if self.residual { rest.next() } else { None };
        let epilogue =
            DeviceEpilogue { bias: Some(&bias), image_bias, residual, scale: self.scale, relu: false };
        let shape = on_device(&self.shape);
        Ok((device.gpu().conv2d(device.precision(), &shape, x, weight, epilogue)?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let (shape, scale) = (on_device(&self.shape), self.scale);
        let (gpu, precision, gradient) = (device.gpu(), device.precision(), &context.gradient);
        let part = |index: usize| match index {
            0 => gpu.conv2d_backward_data(precision, &shape, context.input(1), gradient, scale),
            1 => gpu.conv2d_backward_weight(precision, &shape, context.input(0), gradient, scale),
            2 => gpu.conv2d_backward_bias(&shape, gradient, scale),
            3 if self.image_bias => gpu.conv2d_backward_image_bias(&shape, gradient, scale),
            _ => device.scaled(gradient, scale),
        };
        context.each_wanted(part)
    }
}

/// The convolution of `x` (cross-correlation, as everywhere in deep learning).
///
/// # Shapes
/// `x`: `[N, H, W, in]`; result: `[N, (H + 2p - k) / s + 1, ..., out]`.
///
/// # Panics
/// If the weights do not fit the channels, or the kernel is larger than the padded image.
pub fn conv2d(graph: &mut Graph, x: &Images, conv: Conv2d<'_>) -> Images {
    let [batch, height, width, in_channels] = x.shape();
    let Conv2d { kernel, stride, padding, out_channels, scale, .. } = conv;
    let shape = Conv2dShape { batch, height, width, in_channels, out_channels, kernel, stride, padding };
    let mut inputs: Vec<&dyn Operand> = vec![x, conv.weight, conv.bias];
    inputs.extend(conv.image_bias.map(|part| part as &dyn Operand));
    inputs.extend(conv.residual.map(|part| part as &dyn Operand));
    let op = Op { shape, image_bias: conv.image_bias.is_some(), residual: conv.residual.is_some(), scale };
    let (out_height, out_width) = (op.shape.out_height(), op.shape.out_width());
    graph.apply(op, &inputs, [batch, out_height, out_width, out_channels])
}

fn on_device(shape: &Conv2dShape) -> cm_gpu::conv2d::Conv2dShape {
    let Conv2dShape { batch, height, width, in_channels, out_channels, stride, .. } = *shape;
    let (kernel, padding) = ([shape.kernel; 2], [shape.padding; 2]);
    cm_gpu::conv2d::Conv2dShape { batch, height, width, in_channels, out_channels, kernel, stride, padding }
}
