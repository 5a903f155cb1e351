//! Pooling.

use crate::{BackwardContext, CustomOp, Graph, Images, Matrix};
use cm_kernels::{buffer::written_by, pool};

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

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let Self { batch, pixels, channels } = *self;
        vec![Some(written_by(batch * pixels * channels, |out| {
            pool::global_avg_pool_backward(batch, pixels, channels, &context.gradient, out);
        }))]
    }
}

/// The mean over all pixels: `[N, H, W, C]` to `[N, C]`.
pub fn global_average(graph: &mut Graph, x: &Images) -> Matrix {
    let [batch, height, width, channels] = x.shape();
    graph.apply(GlobalAverage { batch, pixels: height * width, channels }, &[x], [batch, channels])
}
