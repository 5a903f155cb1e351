//! Halving, doubling and interpolating to another resolution.

use crate::{BackwardContext, CustomOp, Graph, Images};
use cm_kernels::{buffer::written_by, resample};

#[derive(Clone, Copy)]
struct Extents {
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
}

struct AverageDown(Extents);

impl CustomOp for AverageDown {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let Extents { batch, height, width, channels } = self.0;
        resample::avg_down2(batch, height, width, channels, inputs[0], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let Extents { batch, height, width, channels } = self.0;
        vec![Some(written_by(batch * height * width * channels, |out| {
            resample::avg_down2_backward(batch, height, width, channels, &context.gradient, out);
        }))]
    }
}

/// Means of 2x2 pixels: `[N, H, W, C]` to `[N, H/2, W/2, C]`.
///
/// # Panics
/// If height or width is odd.
pub fn average_down(graph: &mut Graph, x: &Images) -> Images {
    let [batch, height, width, channels] = x.shape();
    assert!(height % 2 == 0 && width % 2 == 0, "{height}x{width} pixels cannot be halved");
    let extents = Extents { batch, height, width, channels };
    graph.apply(AverageDown(extents), &[x], [batch, height / 2, width / 2, channels])
}

struct NearestUp(Extents);

impl CustomOp for NearestUp {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let Extents { batch, height, width, channels } = self.0;
        resample::nearest_up2(batch, height, width, channels, inputs[0], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let Extents { batch, height, width, channels } = self.0;
        vec![Some(written_by(batch * height * width * channels, |out| {
            resample::nearest_up2_backward(batch, height, width, channels, &context.gradient, out);
        }))]
    }
}

/// Each pixel repeated 2x2: `[N, H, W, C]` to `[N, 2H, 2W, C]`.
pub fn nearest_up(graph: &mut Graph, x: &Images) -> Images {
    let [batch, height, width, channels] = x.shape();
    let extents = Extents { batch, height, width, channels };
    graph.apply(NearestUp(extents), &[x], [batch, 2 * height, 2 * width, channels])
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

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let [batch, height, width, channels] = self.from;
        vec![Some(written_by(self.from.iter().product(), |out| {
            let from = (height, width);
            resample::bilinear_backward(batch, from, self.to, channels, &context.gradient, out);
        }))]
    }
}

/// Bilinear interpolation to `to` = (height, width), pixel centres aligned, no smoothing before reduction:
/// `[N, H, W, C]` to `[N, to.0, to.1, C]`.
pub fn bilinear(graph: &mut Graph, x: &Images, to: (usize, usize)) -> Images {
    let from @ [batch, _, _, channels] = x.shape();
    graph.apply(Bilinear { from, to }, &[x], [batch, to.0, to.1, channels])
}
