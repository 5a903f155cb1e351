//! Halving, doubling and interpolating to another resolution.

use crate::device::Device;
use crate::operation::Operation;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, Images, TangentContext};
use cm_gpu::resample::Map;
use cm_gpu::{Buffer, GpuError};
use cm_kernels::{buffer::written_by, resample};

#[derive(Clone, Copy)]
struct Extents {
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
}

/// A linear map of images and its adjoint, both of `cm-kernels`, on the extents of the map's input.
struct Linear {
    from: Extents,
    forward: Kernel,
    backward: Kernel,
    map: Map,
}

type Kernel = fn(usize, usize, usize, usize, &[f32], &mut [f32]);

impl CustomOp for Linear {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let Extents { batch, height, width, channels } = self.from;
        (self.forward)(batch, height, width, channels, inputs[0], output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(match self.map {
            Map::AverageDown => Operation::AveragePool { side: 2, stride: 2 },
            Map::NearestUp => Operation::NearestUp,
            Map::FirDown => Operation::FirDown,
            Map::FirUp => Operation::FirUp,
            Map::FirSmooth => Operation::FirSmooth,
            Map::Bilinear(..) => Operation::Bilinear,
            Map::BilinearCorners(..) | Map::BicubicSmooth(..) => return None,
        })
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let Extents { batch, height, width, channels } = self.from;
        let along = context.first();
        written_by(context.output.len(), |out| (self.forward)(batch, height, width, channels, along, out))
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let Extents { batch, height, width, channels } = self.from;
        vec![Some(written_by(batch * height * width * channels, |out| {
            (self.backward)(batch, height, width, channels, &context.gradient, out);
        }))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let Extents { batch, height, width, channels } = self.from;
        let x = &inputs[0];
        Ok((device.gpu().resample(self.map, batch, (height, width), channels, x)?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let Extents { batch, height, width, channels } = self.from;
        let (from, gradient) = ((height, width), &context.gradient);
        Ok(vec![Some(device.gpu().resample_backward(self.map, batch, from, channels, gradient)?)])
    }
}

/// Applies a map from images of any size to images of `to` = (height, width).
fn apply(
    graph: &mut Graph,
    x: &Images,
    to: (usize, usize),
    map: Map,
    forward: Kernel,
    backward: Kernel,
) -> Images {
    let [batch, height, width, channels] = x.shape();
    let from = Extents { batch, height, width, channels };
    graph.apply(Linear { from, forward, backward, map }, &[x], [batch, to.0, to.1, channels])
}

/// Half of each side.
///
/// # Panics
/// If height or width is odd.
fn halves(x: &Images) -> (usize, usize) {
    let [_, height, width, _] = x.shape();
    assert!(height % 2 == 0 && width % 2 == 0, "{height}x{width} pixels cannot be halved");
    (height / 2, width / 2)
}

/// Means of 2x2 pixels: `[N, H, W, C]` to `[N, H/2, W/2, C]`.
///
/// # Panics
/// If height or width is odd.
pub fn average_down(graph: &mut Graph, x: &Images) -> Images {
    apply(graph, x, halves(x), Map::AverageDown, resample::avg_down2, resample::avg_down2_backward)
}

/// Each pixel repeated 2x2: `[N, H, W, C]` to `[N, 2H, 2W, C]`.
pub fn nearest_up(graph: &mut Graph, x: &Images) -> Images {
    let [_, height, width, _] = x.shape();
    apply(
        graph,
        x,
        (2 * height, 2 * width),
        Map::NearestUp,
        resample::nearest_up2,
        resample::nearest_up2_backward,
    )
}

/// Half the resolution through the filter (1, 3, 3, 1): `[N, H, W, C]` to `[N, H/2, W/2, C]` (Song et al. 2021).
///
/// # Panics
/// If height or width is odd.
pub fn fir_down(graph: &mut Graph, x: &Images) -> Images {
    apply(graph, x, halves(x), Map::FirDown, resample::fir_down2, resample::fir_down2_backward)
}

/// Twice the resolution through the filter (1, 3, 3, 1): `[N, H, W, C]` to `[N, 2H, 2W, C]` (Song et al. 2021).
pub fn fir_up(graph: &mut Graph, x: &Images) -> Images {
    let [_, height, width, _] = x.shape();
    apply(graph, x, (2 * height, 2 * width), Map::FirUp, resample::fir_up2, resample::fir_up2_backward)
}

/// The filter (1, 3, 3, 1) alone, over two zeros on every side: `[N, H, W, C]` to `[N, H+1, W+1, C]`. A 3x3 convolution
/// of stride 2 without padding then halves the image (Song et al. 2021, the input pyramid).
pub fn fir_smooth(graph: &mut Graph, x: &Images) -> Images {
    let [_, height, width, _] = x.shape();
    apply(
        graph,
        x,
        (height + 1, width + 1),
        Map::FirSmooth,
        resample::fir_smooth,
        resample::fir_smooth_backward,
    )
}

struct Bilinear {
    from: [usize; 4],
    to: (usize, usize),
}

impl CustomOp for Bilinear {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let [batch, height, width, channels] = self.from;
        resample::bilinear(batch, (height, width), self.to, channels, inputs[0], output);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::Bilinear)
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let [batch, height, width, channels] = self.from;
        written_by(context.output.len(), |out| {
            resample::bilinear(batch, (height, width), self.to, channels, context.first(), out);
        })
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let [batch, height, width, channels] = self.from;
        vec![Some(written_by(self.from.iter().product(), |out| {
            let from = (height, width);
            resample::bilinear_backward(batch, from, self.to, channels, &context.gradient, out);
        }))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let [batch, height, width, channels] = self.from;
        let map = Map::Bilinear(self.to.0, self.to.1);
        Ok((device.gpu().resample(map, batch, (height, width), channels, &inputs[0])?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let [batch, height, width, channels] = self.from;
        let (map, from) = (Map::Bilinear(self.to.0, self.to.1), (height, width));
        Ok(vec![Some(device.gpu().resample_backward(map, batch, from, channels, &context.gradient)?)])
    }
}

/// Bilinear interpolation to `to` = (height, width), pixel centres aligned, no smoothing before reduction:
/// `[N, H, W, C]` to `[N, to.0, to.1, C]`.
pub fn bilinear(graph: &mut Graph, x: &Images, to: (usize, usize)) -> Images {
    let from @ [batch, _, _, channels] = x.shape();
    graph.apply(Bilinear { from, to }, &[x], [batch, to.0, to.1, channels])
}
