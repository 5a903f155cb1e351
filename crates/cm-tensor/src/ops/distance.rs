//! The distance between the student's output and a target, one value for each image.

use crate::composed::{
    AnyDevice, Axis, Flat, HasShape, MaxTo, MeanTo, SumTo, Tape, Tensor, WithEmptyTape, for_each_column,
    for_each_row, shaped, taken,
};
use crate::{BackwardContext, CustomOp, Graph, Images, Vector};
pub use cm_kernels::distance::Distance as PairDistance;
use cm_kernels::{buffer::written_by, distance as kernel};

/// A distance and the number of images.
struct Pairs {
    kind: PairDistance,
    rows: usize,
}

impl CustomOp for Pairs {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        kernel::distance(self.kind, output.len(), inputs[0], inputs[1], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn passes_gradient(&self, index: usize) -> bool {
        index == 0
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let [x, y] = context.inputs else { unreachable!("two inputs were given") };
        let gradient = &context.gradient;
        let by_x = written_by(x.len(), |out| {
            kernel::distance_backward(self.kind, gradient.len(), x, y, gradient, out);
        });
        vec![context.wanted[0].then_some(by_x), None]
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let [x, y] = taken(inputs);
        let values = x.shape().0 / self.rows;
        let d = shaped(x - y, (self.rows, values));
        match self.kind {
            PairDistance::L1 => d.abs().mean::<(usize,), Axis<1>>(),
            // The smallest number keeps the derivative of the root at 0 finite, and with it the gradient 0.
            PairDistance::L2 => (d.square().mean::<(usize,), Axis<1>>() + f32::MIN_POSITIVE).sqrt(),
            PairDistance::SquaredL2 => d.square().mean::<(usize,), Axis<1>>(),
            PairDistance::LInfinity => d.abs().max::<(usize,), Axis<1>>(),
            PairDistance::PseudoHuber { c } => (d.square().sum::<(usize,), Axis<1>>() + c * c).sqrt() - c,
        }
    }
}

/// The distance of each image of `student` to its `target`; no gradient flows to `target`.
///
/// # Panics
/// If the shapes differ.
pub fn pair_distance(graph: &mut Graph, kind: PairDistance, student: &Images, target: &Images) -> Vector {
    assert_eq!(student.shape(), target.shape(), "a distance between different shapes");
    let rows = student.shape()[0];
    graph.apply(Pairs { kind, rows }, &[student, target], [rows])
}

struct FeatureDistance {
    rows: usize,
    weights: Vec<f32>,
}

impl CustomOp for FeatureDistance {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        kernel::unit_feature_distance(output.len(), &self.weights, inputs[0], inputs[1], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn passes_gradient(&self, index: usize) -> bool {
        index == 0
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let [x, y] = context.inputs else { unreachable!("two inputs were given") };
        let gradient = &context.gradient;
        let by_x = written_by(x.len(), |out| {
            kernel::unit_feature_distance_backward(gradient.len(), &self.weights, x, y, gradient, out);
        });
        vec![context.wanted[0].then_some(by_x), None]
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let [x, y] = taken(inputs);
        let channels = self.weights.len();
        let pixels = x.shape().0 / channels;
        let weights = x.device().tensor_from_vec(self.weights.clone(), (channels,));
        let d = unit_length(shaped(x, (pixels, channels))) - unit_length(shaped(y, (pixels, channels)));
        let weights = for_each_row(weights, &d);
        let sums = (d.square() * weights).sum::<(usize,), Axis<1>>();
        shaped(sums, (self.rows, pixels / self.rows)).mean::<(usize,), Axis<1>>()
    }
}

/// Zhang et al. 2018, Equation 1, for one layer with equal channel weights: the features of each pixel brought to
/// unit length, squared differences summed over channels, averaged over pixels. No gradient flows to `target`.
///
/// # Panics
/// If the shapes differ.
pub fn feature_distance(graph: &mut Graph, student: &Images, target: &Images) -> Vector {
    weighted_feature_distance(graph, vec![1.0; student.shape()[3]], student, target)
}

/// [`feature_distance`] with one weight for each channel, as LPIPS has learned them.
///
/// # Panics
/// If the shapes differ, or there is not one weight for each channel.
pub fn weighted_feature_distance(
    graph: &mut Graph,
    weights: Vec<f32>,
    student: &Images,
    target: &Images,
) -> Vector {
    assert_eq!(student.shape(), target.shape(), "a distance between different shapes");
    let [count, _, _, channels] = student.shape();
    assert_eq!(weights.len(), channels, "one weight for each channel");
    graph.apply(FeatureDistance { rows: count, weights }, &[student, target], [count])
}

/// Each row divided by its length, as `cm-kernels` does.
fn unit_length<D: AnyDevice, T: Tape<f32, D>>(
    x: Tensor<(usize, usize), f32, D, T>,
) -> Tensor<(usize, usize), f32, D, T> {
    let square = x.with_empty_tape().square().sum::<(usize,), Axis<1>>();
    let length = (square + f32::MIN_POSITIVE).sqrt() + LENGTH_EPS;
    let length = for_each_column(length, &x);
    x / length
}

/// Added to the length of a feature vector before dividing by it, as LPIPS does.
const LENGTH_EPS: f32 = 1e-10;
