//! The distance between the student's output and a target, one value for each image.

use crate::device::Device;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, Images, TangentContext, Vector};
use cm_gpu::{Buffer, GpuError};
pub use cm_kernels::distance::Distance as PairDistance;
use cm_kernels::{buffer::written_by, distance as kernel, elementwise, feature_distance as features};

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

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let [x, y] = context.inputs else { unreachable!("two inputs were given") };
        by_gradient(self.rows, x, context.first(), |ones, gradient| {
            kernel::distance_backward(self.kind, self.rows, x, y, ones, gradient);
        })
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let [x, y] = context.inputs else { unreachable!("two inputs were given") };
        let gradient = &context.gradient;
        let by_x = written_by(x.len(), |out| {
            kernel::distance_backward(self.kind, gradient.len(), x, y, gradient, out);
        });
        vec![context.wanted[0].then_some(by_x), None]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let [x, y] = device.alike(&inputs[0], &inputs[1])?;
        Ok((device.gpu().distance(on_device(self.kind), self.rows, &x, &y)?, Vec::new()))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let [x, y] = device.alike(context.input(0), context.input(1))?;
        let by_x = || device.gpu().distance_backward(on_device(self.kind), &x, &y, &context.gradient);
        Ok(vec![context.wanted[0].then(by_x).transpose()?, None])
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

/// How one number an image changes: the product of its gradient by `x` with the direction.
fn by_gradient(rows: usize, x: &[f32], along: &[f32], backward: impl FnOnce(&[f32], &mut [f32])) -> Vec<f32> {
    let gradient = written_by(x.len(), |gradient| backward(&vec![1.0; rows], gradient));
    written_by(rows, |out| elementwise::rows_dot(rows, &gradient, along, out))
}

struct FeatureDistance {
    rows: usize,
    weights: Vec<f32>,
}

impl CustomOp for FeatureDistance {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        features::unit_feature_distance(output.len(), &self.weights, inputs[0], inputs[1], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn passes_gradient(&self, index: usize) -> bool {
        index == 0
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let [x, y] = context.inputs else { unreachable!("two inputs were given") };
        by_gradient(self.rows, x, context.first(), |ones, gradient| {
            features::unit_feature_distance_backward(self.rows, &self.weights, x, y, ones, gradient);
        })
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let [x, y] = context.inputs else { unreachable!("two inputs were given") };
        let gradient = &context.gradient;
        let by_x = written_by(x.len(), |out| {
            features::unit_feature_distance_backward(gradient.len(), &self.weights, x, y, gradient, out);
        });
        vec![context.wanted[0].then_some(by_x), None]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let [x, y] = device.alike(&inputs[0], &inputs[1])?;
        let weights = device.gpu().upload(&self.weights)?;
        Ok((device.gpu().feature_distance(self.rows, &weights, &x, &y)?, vec![weights]))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let [x, y] = device.alike(context.input(0), context.input(1))?;
        let weights = &context.saved[0];
        let by_x = || device.gpu().feature_distance_backward(weights, &x, &y, &context.gradient);
        Ok(vec![context.wanted[0].then(by_x).transpose()?, None])
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

fn on_device(kind: PairDistance) -> cm_gpu::distance::Distance {
    use cm_gpu::distance::Distance;
    match kind {
        PairDistance::L1 => Distance::L1,
        PairDistance::L2 => Distance::L2,
        PairDistance::SquaredL2 => Distance::SquaredL2,
        PairDistance::LInfinity => Distance::LInfinity,
        PairDistance::PseudoHuber { c } => Distance::PseudoHuber { c },
    }
}
