//! Pooling.

use crate::device::Device;
use crate::operation::Operation;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, Images, Matrix, TangentContext};
use cm_gpu::{Buffer, GpuError};
use cm_kernels::buffer::written_by;
use cm_kernels::pool::{self, PoolShape};

struct GlobalAverage {
    batch: usize,
    pixels: usize,
    channels: usize,
}

impl CustomOp for GlobalAverage {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        pool::global_avg_pool(self.batch, self.pixels, self.channels, inputs[0], output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::GlobalAverage)
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        written_by(context.output.len(), |out| {
            pool::global_avg_pool(self.batch, self.pixels, self.channels, context.first(), out);
        })
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let Self { batch, pixels, channels } = *self;
        vec![Some(written_by(batch * pixels * channels, |out| {
            pool::global_avg_pool_backward(batch, pixels, channels, &context.gradient, out);
        }))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let &Self { batch, pixels, channels } = self;
        Ok((device.gpu().global_average(batch, pixels, channels, &inputs[0])?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let &Self { batch, pixels, channels } = self;
        let by_x = device.gpu().global_average_backward(batch, pixels, channels, &context.gradient)?;
        Ok(vec![Some(by_x)])
    }
}

/// The mean over all pixels: `[N, H, W, C]` to `[N, C]`.
pub fn global_average(graph: &mut Graph, x: &Images) -> Matrix {
    let [batch, height, width, channels] = x.shape();
    graph.apply(GlobalAverage { batch, pixels: height * width, channels }, &[x], [batch, channels])
}

/// Pixels are numbered in `f32` between the passes of [`MaxPool`].
const MAX_PIXELS: usize = 1 << f32::MANTISSA_DIGITS;

struct MaxPool(PoolShape);

impl CustomOp for MaxPool {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let mut winners = vec![0; output.len()];
        pool::max_pool(&self.0, inputs[0], output, &mut winners);
        winners.into_iter().map(|pixel| pixel as f32).collect()
    }

    fn operation(&self) -> Option<Operation> {
        let PoolShape { kernel, stride, round_up, .. } = self.0;
        Some(Operation::MaxPool { side: kernel, stride, round_up })
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let winners: Vec<u32> = context.saved.iter().map(|&pixel| pixel as u32).collect();
        let along = context.first();
        written_by(winners.len(), |out| pool::max_pool_tangent(&self.0, &winners, along, out))
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let winners: Vec<u32> = context.saved.iter().map(|&pixel| pixel as u32).collect();
        vec![Some(written_by(self.0.input_len(), |out| {
            pool::max_pool_backward(&self.0, &winners, &context.gradient, out);
        }))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let (largest, winners) = device.gpu().max_pool(&on_device(&self.0), &inputs[0])?;
        Ok((largest, vec![winners]))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let winners = &context.saved[0];
        let by_x = device.gpu().max_pool_backward(&on_device(&self.0), winners, &context.gradient)?;
        Ok(vec![Some(by_x)])
    }
}

/// Largest values of windows of `side` pixels, `stride` apart; a last window that hangs over the border is taken if
/// `round_up`.
///
/// # Panics
/// If images have more than 2^24 pixels.
pub fn max_pool(graph: &mut Graph, x: &Images, side: usize, stride: usize, round_up: bool) -> Images {
    let shape = unpadded(x, side, stride, round_up);
    assert!(shape.height * shape.width <= MAX_PIXELS, "too many pixels to be numbered");
    let out = [shape.batch, shape.out_height(), shape.out_width(), shape.channels];
    graph.apply(MaxPool(shape), &[x], out)
}

struct AveragePool(PoolShape);

impl CustomOp for AveragePool {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        pool::avg_pool(&self.0, inputs[0], output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::AveragePool { side: self.0.kernel, stride: self.0.stride })
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        written_by(self.0.output_len(), |out| pool::avg_pool(&self.0, context.first(), out))
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        vec![Some(written_by(self.0.input_len(), |out| {
            pool::avg_pool_backward(&self.0, &context.gradient, out);
        }))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        Ok((device.gpu().average_pool(&on_device(&self.0), false, &inputs[0])?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        Ok(vec![Some(device.gpu().average_pool_backward(&on_device(&self.0), &context.gradient)?)])
    }
}

/// Means of windows of `side` pixels, `stride` apart.
pub fn average_pool(graph: &mut Graph, x: &Images, side: usize, stride: usize) -> Images {
    let shape = unpadded(x, side, stride, false);
    let out = [shape.batch, shape.out_height(), shape.out_width(), shape.channels];
    graph.apply(AveragePool(shape), &[x], out)
}

fn unpadded(x: &Images, kernel: usize, stride: usize, round_up: bool) -> PoolShape {
    let [batch, height, width, channels] = x.shape();
    PoolShape { batch, height, width, channels, kernel, stride, padding: 0, round_up }
}

fn on_device(shape: &PoolShape) -> cm_gpu::pool::PoolShape {
    let PoolShape { batch, height, width, channels, kernel, stride, padding, round_up } = *shape;
    cm_gpu::pool::PoolShape { batch, height, width, channels, kernel, stride, padding, round_up }
}
