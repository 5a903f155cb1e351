//! What networks that preserve magnitudes do to pixels (Karras et al. 2024).

use crate::device::Device;
use crate::operation::Operation;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, Images, Matrix, TangentContext};
use cm_gpu::{Buffer, GpuError};

/// Added to a magnitude before it divides (Karras et al. 2024, Equation 47).
const EPS: f32 = 1e-4;

struct PixelNorm {
    /// Values that are normalised together.
    each: usize,
}

impl PixelNorm {
    /// A vector times the matrix of derivatives at `x`, whose divisors are `saved`.
    fn derivative(&self, mut along: Vec<f32>, x: &[f32], saved: &[f32]) -> Vec<f32> {
        let each = self.each as f32;
        let parts = along.chunks_exact_mut(self.each).zip(x.chunks_exact(self.each));
        for ((g, x), &by) in parts.zip(saved) {
            let product: f32 = g.iter().zip(x).map(|(g, x)| g * x).sum();
            // The divisor's own derivative: x / (norm root), and norm = (by - EPS) root.
            let norm_root = (by - EPS) * each;
            let pull = if norm_root > 0.0 { product / (by * by * norm_root) } else { 0.0 };
            g.iter_mut().zip(x).for_each(|(g, x)| *g = *g / by - pull * x);
        }
        along
    }
}

impl CustomOp for PixelNorm {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let root = (self.each as f32).sqrt();
        let parts = inputs[0].chunks_exact(self.each).zip(output.chunks_exact_mut(self.each));
        parts
            .map(|(x, y)| {
                let norm = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32;
                let by = EPS + norm / root;
                x.iter().zip(y).for_each(|(x, y)| *y = x / by);
                by
            })
            .collect()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::PixelNorm { each: self.each, eps: EPS })
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        // The matrix of derivatives is symmetric.
        self.derivative(context.first().to_vec(), context.inputs[0], context.saved)
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        vec![Some(self.derivative(context.gradient, context.inputs[0], context.saved))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let (output, divisors) = device.gpu().pixel_norm(self.each, &inputs[0])?;
        Ok((output, vec![divisors]))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let [x, gradient] = device.alike(context.input(0), &context.gradient)?;
        Ok(vec![Some(device.gpu().pixel_norm_backward(&x, &context.saved[0], &gradient)?)])
    }
}

/// Every pixel's channels, in `groups` of as many, over their root mean square and 1e-4 more.
///
/// # Panics
/// If the channels cannot be shared out to the groups.
pub fn pixel_norm(graph: &mut Graph, x: &Images, groups: usize) -> Images {
    let channels = x.shape()[3];
    assert_eq!(channels % groups, 0, "{channels} channels in {groups} groups");
    graph.apply(PixelNorm { each: channels / groups }, &[x], x.shape())
}

struct Modulate {
    pixels: usize,
    channels: usize,
}

impl CustomOp for Modulate {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let image = self.pixels * self.channels;
        let images = inputs[0].chunks_exact(image).zip(output.chunks_exact_mut(image));
        for ((x, y), by) in images.zip(inputs[1].chunks_exact(self.channels)) {
            for (x, y) in x.chunks_exact(self.channels).zip(y.chunks_exact_mut(self.channels)) {
                x.iter().zip(by).zip(y).for_each(|((x, by), y)| *y = x * (1.0 + by));
            }
        }
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::Modulate)
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let [x, by] = context.inputs else { unreachable!("two inputs were given") };
        let image = self.pixels * self.channels;
        // Place of a value in the factors.
        let factor = |place: usize| place / image * self.channels + place % self.channels;
        let change = |place: usize| {
            let of_x = context.tangents[0].map_or(0.0, |along| along[place] * (1.0 + by[factor(place)]));
            of_x + context.tangents[1].map_or(0.0, |along| x[place] * along[factor(place)])
        };
        (0..x.len()).map(change).collect()
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let image = self.pixels * self.channels;
        let mut of_x = context.gradient;
        let mut of_factors = vec![0.0; context.inputs[1].len()];
        let images = of_x.chunks_exact_mut(image).zip(context.inputs[0].chunks_exact(image));
        let factors =
            context.inputs[1].chunks_exact(self.channels).zip(of_factors.chunks_exact_mut(self.channels));
        for ((g, x), (by, of_by)) in images.zip(factors) {
            for (g, x) in g.chunks_exact_mut(self.channels).zip(x.chunks_exact(self.channels)) {
                for (((g, x), by), of_by) in g.iter_mut().zip(x).zip(by).zip(of_by.iter_mut()) {
                    *of_by += *g * x;
                    *g *= 1.0 + by;
                }
            }
        }
        vec![context.wanted[0].then_some(of_x), context.wanted[1].then_some(of_factors)]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let factors = device.single(&inputs[1])?;
        Ok((device.gpu().modulate(self.channels, &inputs[0], &factors)?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let factors = device.single(context.input(1))?;
        context.each_wanted(|input| match input {
            0 => device.gpu().modulate(self.channels, &context.gradient, &factors),
            _ => {
                let [x, gradient] = device.alike(context.input(0), &context.gradient)?;
                device.gpu().modulate_backward(self.channels, factors.len(), &x, &gradient)
            }
        })
    }
}

/// x (1 + `by`), one factor for each image and channel.
///
/// # Shapes
/// `x`: `[N, H, W, C]`; `by`: `[N, C]`.
///
/// # Panics
/// If there is not one factor for each image and channel.
pub fn modulate(graph: &mut Graph, x: &Images, by: &Matrix) -> Images {
    let [batch, height, width, channels] = x.shape();
    assert_eq!(by.shape(), [batch, channels], "one factor for each image and channel");
    graph.apply(Modulate { pixels: height * width, channels }, &[x, by], x.shape())
}

struct Clamp {
    limit: f32,
}

impl CustomOp for Clamp {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        inputs[0].iter().zip(output).for_each(|(x, y)| *y = x.clamp(-self.limit, self.limit));
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::Clamp(self.limit))
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let change = |(&along, x): (&f32, &f32)| if x.abs() > self.limit { 0.0 } else { along };
        context.first().iter().zip(context.inputs[0]).map(change).collect()
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let mut gradient = context.gradient;
        let beyond = gradient.iter_mut().zip(context.inputs[0]).filter(|(_, x)| x.abs() > self.limit);
        beyond.for_each(|(g, _)| *g = 0.0);
        vec![Some(gradient)]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        Ok((device.gpu().clamp(&inputs[0], self.limit)?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let [x, gradient] = device.alike(context.input(0), &context.gradient)?;
        Ok(vec![Some(device.gpu().clamp_backward(&x, &gradient, self.limit)?)])
    }
}

/// Values between -`limit` and `limit`.
pub fn clamp(graph: &mut Graph, x: &Images, limit: f32) -> Images {
    graph.apply(Clamp { limit }, &[x], x.shape())
}
