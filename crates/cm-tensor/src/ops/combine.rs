//! Sums, mixtures, concatenation.

use crate::device::Device;
use crate::operation::Operation;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, Images, TangentContext, Var};
use cm_gpu::{Buffer, GpuError};
use cm_kernels::{
    buffer::{unwritten, written_by},
    elementwise,
};
use dfdx::shapes::Shape;

struct Add {
    scale: f32,
}

impl CustomOp for Add {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        elementwise::add(inputs[0], inputs[1], self.scale, output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::Add { scale: self.scale })
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        written_by(context.output.len(), |out| match context.tangents {
            [Some(a), Some(b)] => elementwise::add(a, b, self.scale, out),
            [a, b] => elementwise::scaled(a.or(*b).expect("one of two changes"), self.scale, out),
            _ => unreachable!("two inputs were given"),
        })
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let mut gradient = context.gradient;
        if self.scale != 1.0 {
            let scaled = written_by(gradient.len(), |out| elementwise::scaled(&gradient, self.scale, out));
            gradient = scaled;
        }
        if let [true, true] = context.wanted {
            return vec![Some(gradient.clone()), Some(gradient)];
        }
        // One addend is a constant: the gradient moves on without a copy.
        if context.wanted[0] { vec![Some(gradient), None] } else { vec![None, Some(gradient)] }
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let [a, b] = device.alike(&inputs[0], &inputs[1])?;
        Ok((device.gpu().add(&a, &b, self.scale)?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let gradient = device.scaled(&context.gradient, self.scale)?;
        Ok(context.wanted.iter().map(|wanted| wanted.then(|| gradient.clone())).collect())
    }
}

/// `scale` x (a + b).
///
/// # Panics
/// If the shapes differ.
pub fn add<S: Shape<Concrete = S>>(graph: &mut Graph, a: &Var<S>, b: &Var<S>, scale: f32) -> Var<S> {
    assert_eq!(a.shape(), b.shape(), "a sum of different shapes");
    graph.apply(Add { scale }, &[a, b], a.shape())
}

struct Blend {
    a: Vec<f32>,
    b: Vec<f32>,
}

impl CustomOp for Blend {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        elementwise::rows_scale_add(self.a.len(), &self.a, inputs[0], &self.b, inputs[1], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let rows = self.a.len();
        written_by(context.output.len(), |out| match context.tangents {
            [Some(x), Some(y)] => elementwise::rows_scale_add(rows, &self.a, x, &self.b, y, out),
            [Some(x), None] => elementwise::rows_scale(rows, &self.a, x, out),
            [None, Some(y)] => elementwise::rows_scale(rows, &self.b, y, out),
            _ => unreachable!("two inputs were given, and one changes"),
        })
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let gradient = &context.gradient;
        let part = |wanted: bool, factor: &[f32]| {
            wanted.then(|| {
                written_by(gradient.len(), |out| elementwise::rows_scale(factor.len(), factor, gradient, out))
            })
        };
        vec![part(context.wanted[0], &self.a), part(context.wanted[1], &self.b)]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let [x, y] = device.alike(&inputs[0], &inputs[1])?;
        let (a, b) = (device.gpu().upload(&self.a)?, device.gpu().upload(&self.b)?);
        let output = device.gpu().rows_scale_add(&a, &x, Some((&b, &y)))?;
        Ok((output, vec![a, b]))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let part = |(wanted, factor): (&bool, &Buffer)| {
            wanted.then(|| device.gpu().rows_scale_add(factor, &context.gradient, None)).transpose()
        };
        context.wanted.iter().zip(context.saved).map(part).collect()
    }
}

/// `a`\[i\] x\[i\] + `b`\[i\] y\[i\] for each image i: preconditioning, weighted sums of losses.
///
/// # Panics
/// If the shapes differ, or there is not one factor for each image, that is, for each index of the first axis.
pub fn blend<S>(graph: &mut Graph, a: Vec<f32>, x: &Var<S>, b: Vec<f32>, y: &Var<S>) -> Var<S>
where
    S: Shape<Concrete = S> + std::ops::Index<usize, Output = usize>,
{
    assert_eq!(x.shape(), y.shape(), "a mixture of different shapes");
    assert!(a.len() == x.shape()[0] && b.len() == a.len(), "one factor for each image");
    graph.apply(Blend { a, b }, &[x, y], x.shape())
}

struct Concat {
    pixels: usize,
    a: usize,
    b: usize,
}

impl CustomOp for Concat {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        elementwise::concat_channels(self.pixels, &[(inputs[0], self.a), (inputs[1], self.b)], output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::Concat)
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let [a, b] = context.tangents else { unreachable!("two inputs were given") };
        let still = |part: &Option<&[f32]>, channels: usize| {
            vec![0.0; if part.is_none() { self.pixels * channels } else { 0 }]
        };
        let (no_a, no_b) = (still(a, self.a), still(b, self.b));
        let parts = [(a.unwrap_or(&no_a), self.a), (b.unwrap_or(&no_b), self.b)];
        written_by(context.output.len(), |out| elementwise::concat_channels(self.pixels, &parts, out))
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let (mut a, mut b) = (unwritten(self.pixels * self.a), unwritten(self.pixels * self.b));
        elementwise::split_channels(self.pixels, self.a, self.b, &context.gradient, &mut a, &mut b);
        vec![context.wanted[0].then_some(a), context.wanted[1].then_some(b)]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let [a, b] = device.alike(&inputs[0], &inputs[1])?;
        Ok((device.gpu().concat_channels(self.pixels, &a, &b)?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let part = |index: usize, (first, count): (usize, usize)| {
            let slice = || device.gpu().slice_channels(&context.gradient, self.a + self.b, first, count);
            context.wanted[index].then(slice).transpose()
        };
        Ok(vec![part(0, (0, self.a))?, part(1, (self.a, self.b))?])
    }
}

/// The channels of a, then those of b.
///
/// # Panics
/// If counts, heights or widths differ.
pub fn concat(graph: &mut Graph, a: &Images, b: &Images) -> Images {
    let ([n, h, w, channels_a], [nb, hb, wb, channels_b]) = (a.shape(), b.shape());
    assert_eq!((n, h, w), (nb, hb, wb), "images of different sizes");
    let op = Concat { pixels: n * h * w, a: channels_a, b: channels_b };
    graph.apply(op, &[a, b], [n, h, w, channels_a + channels_b])
}
