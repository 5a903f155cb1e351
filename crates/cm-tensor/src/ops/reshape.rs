//! The same values under other extents.

use crate::device::Device;
use crate::operation::Operation;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, Images, Matrix, TangentContext};
use cm_gpu::{Buffer, GpuError};

struct Reshape;

impl CustomOp for Reshape {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        output.copy_from_slice(inputs[0]);
        Vec::new()
    }

    fn operation(&self) -> Option<Operation> {
        Some(Operation::Reshape)
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        context.first().to_vec()
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        vec![Some(context.gradient)]
    }

    fn device_forward(&self, _: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        Ok((inputs[0].clone(), Vec::new()))
    }

    fn device_backward(
        &self,
        _: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        Ok(vec![Some(context.gradient)])
    }
}

/// Each image as one row: `[N, H, W, C]` to `[N, H W C]`.
pub fn as_matrix(graph: &mut Graph, x: &Images) -> Matrix {
    let [n, h, w, c] = x.shape();
    graph.apply(Reshape, &[x], [n, h * w * c])
}

/// Each row as one image: `[N, H W C]` to `[N, H, W, C]`.
///
/// # Panics
/// If a row has not as many values as an image.
pub fn as_images(graph: &mut Graph, x: &Matrix, [h, w, c]: [usize; 3]) -> Images {
    let [n, values] = x.shape();
    assert_eq!(values, h * w * c, "rows do not fill images");
    graph.apply(Reshape, &[x], [n, h, w, c])
}
