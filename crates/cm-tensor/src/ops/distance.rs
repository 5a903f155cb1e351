//! The distance between the student's output and a target, one value for each image.

use crate::{BackwardContext, CustomOp, Graph, Images, Vector};
pub use cm_kernels::distance::Distance as PairDistance;
use cm_kernels::{buffer::written_by, distance as kernel};

impl CustomOp for PairDistance {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        kernel::distance(*self, output.len(), inputs[0], inputs[1], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let [x, y] = context.inputs else { unreachable!("two inputs were given") };
        let gradient = &context.gradient;
        let by_x =
            written_by(x.len(), |out| kernel::distance_backward(*self, gradient.len(), x, y, gradient, out));
        vec![context.wanted[0].then_some(by_x), None]
    }
}

/// The distance of each image of `student` to its `target`; no gradient flows to `target`.
///
/// # Panics
/// If the shapes differ.
pub fn pair_distance(graph: &mut Graph, kind: PairDistance, student: &Images, target: &Images) -> Vector {
    assert_eq!(student.shape(), target.shape(), "a distance between different shapes");
    graph.apply(kind, &[student, target], [student.shape()[0]])
}

struct FeatureDistance {
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

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let [x, y] = context.inputs else { unreachable!("two inputs were given") };
        let gradient = &context.gradient;
        let by_x = written_by(x.len(), |out| {
            kernel::unit_feature_distance_backward(gradient.len(), &self.weights, x, y, gradient, out);
        });
        vec![context.wanted[0].then_some(by_x), None]
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
    graph.apply(FeatureDistance { weights }, &[student, target], [count])
}
