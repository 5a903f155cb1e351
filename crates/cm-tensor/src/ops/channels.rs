//! Another scale for each channel.

use crate::composed::{
    AnyDevice, Axis, BroadcastTo, Flat, HasShape, Tape, flat, for_each_row, shaped, taken,
};
use crate::{BackwardContext, CustomOp, Graph, Images};

struct Affine {
    inputs: usize,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl CustomOp for Affine {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let channels = self.scale.len();
        for (out, x) in output.chunks_exact_mut(channels).zip(inputs[0].chunks_exact(self.inputs)) {
            for (c, out) in out.iter_mut().enumerate() {
                *out = self.scale[c] * x[c.min(self.inputs - 1)] + self.shift[c];
            }
        }
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let channels = self.scale.len();
        let mut by_x = vec![0.0; context.gradient.len() / channels * self.inputs];
        for (out, g) in by_x.chunks_exact_mut(self.inputs).zip(context.gradient.chunks_exact(channels)) {
            for (c, g) in g.iter().enumerate() {
                out[c.min(self.inputs - 1)] += self.scale[c] * g;
            }
        }
        vec![Some(by_x)]
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let [x] = taken(inputs);
        let channels = self.scale.len();
        let pixels = x.shape().0 / self.inputs;
        let device = x.device().clone();
        let x = if self.inputs == channels {
            shaped(x, (pixels, channels))
        } else {
            x.broadcast_like::<_, Axis<1>>(&(pixels, channels))
        };
        let scale = for_each_row(device.tensor_from_vec(self.scale.clone(), (channels,)), &x);
        let shift = for_each_row(device.tensor_from_vec(self.shift.clone(), (channels,)), &x);
        flat(x * scale + shift)
    }
}

/// `scale` x + `shift`, channel by channel; one channel becomes as many as there are factors.
///
/// # Panics
/// If the images have neither one channel nor one for each factor, or the shifts are not as many.
pub fn affine_channels(graph: &mut Graph, x: &Images, scale: Vec<f32>, shift: Vec<f32>) -> Images {
    let [batch, height, width, inputs] = x.shape();
    let channels = scale.len();
    assert_eq!(shift.len(), channels, "one shift for each factor");
    assert!(inputs == 1 || inputs == channels, "{inputs} channels to {channels}");
    graph.apply(Affine { inputs, scale, shift }, &[x], [batch, height, width, channels])
}
