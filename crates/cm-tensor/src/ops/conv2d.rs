//! Convolution with everything that can ride along in its last pass.

use crate::composed::{
    AnyDevice, Axis, BroadcastTo, Flat, Tape, TryMatMul, Windows, WithEmptyTape, flat, for_each_row, shaped,
};
use crate::custom_op::product;
use crate::{BackwardContext, CustomOp, Graph, Images, Matrix, Operand, Vector};
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

    fn keeps_input(&self, index: usize) -> bool {
        index < 2
    }

    fn flops(&self) -> u64 {
        let s = &self.shape;
        let counts = [2, s.batch, s.out_height(), s.out_width(), s.out_channels];
        product(counts.into_iter().chain([s.in_channels, s.kernel, s.kernel]))
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

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let shape = &self.shape;
        let (pixels, inner, outputs) =
            (shape.out_height() * shape.out_width(), shape.in_channels, shape.out_channels);
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().expect("given with the operation");
        let x = shaped(next(), (shape.batch, shape.height, shape.width, inner));
        let weight = shaped(next(), (shape.kernel * shape.kernel, inner, outputs));
        let bias = next();
        let windows = Windows {
            kernel: shape.kernel,
            stride: shape.stride,
            padding: shape.padding,
            out: (shape.out_height(), shape.out_width()),
        };
        let products = windows.places(x, 0.0).enumerate().map(|(place, values)| {
            let matrix = weight.with_empty_tape().slice((place..place + 1, .., ..));
            values.matmul(shaped(matrix, (inner, outputs)))
        });
        let sum = products.reduce(|sum, product| sum + product).expect("a kernel has a place");
        let sum = for_each_row(bias, &sum) + sum;
        let mut sum = shaped(sum, (shape.batch, pixels, outputs));
        if self.image_bias {
            let part = shaped(next(), (shape.batch, outputs));
            sum = part.broadcast_like::<_, Axis<1>>(&(shape.batch, pixels, outputs)) + sum;
        }
        if self.residual {
            sum = sum + shaped(next(), (shape.batch, pixels, outputs));
        }
        flat(sum * self.scale)
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
