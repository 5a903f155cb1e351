//! The loss of a classifier.

use crate::device::Device;
use crate::{BackwardContext, CustomOp, DeviceContext, Graph, Matrix, TangentContext, Vector};
use cm_gpu::{Buffer, Element, GpuError};
use cm_kernels::buffer::{unwritten, written_by};
use cm_kernels::softmax;

struct CrossEntropy {
    labels: Vec<u32>,
    classes: usize,
}

impl CustomOp for CrossEntropy {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let mut probabilities = unwritten(inputs[0].len());
        let rows = self.labels.len();
        softmax::cross_entropy(rows, self.classes, inputs[0], &self.labels, output, &mut probabilities);
        probabilities
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let rows = context.first().chunks_exact(self.classes).zip(context.saved.chunks_exact(self.classes));
        let change = |((along, probabilities), &label): ((&[f32], &[f32]), &u32)| {
            let mean: f64 = along.iter().zip(probabilities).map(|(a, p)| f64::from(*a) * f64::from(*p)).sum();
            (mean - f64::from(along[label as usize])) as f32
        };
        rows.zip(&self.labels).map(change).collect()
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let (rows, probabilities) = (self.labels.len(), context.saved);
        vec![Some(written_by(probabilities.len(), |out| {
            let gradient = &context.gradient;
            softmax::cross_entropy_backward(rows, self.classes, probabilities, &self.labels, gradient, out);
        }))]
    }

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let labels = device.gpu().upload(&self.labels)?;
        let (losses, probabilities) = device.gpu().cross_entropy(&inputs[0], &labels)?;
        Ok((losses, vec![probabilities, labels]))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let [probabilities, labels] = context.saved else { unreachable!("saved by the forward pass") };
        let gradient = &context.gradient;
        let by_logits = device.gpu().cross_entropy_backward(Element::F32, probabilities, labels, gradient)?;
        Ok(vec![Some(by_logits)])
    }
}

/// -ln of the probability that softmax(`logits`) gives to each image's label.
///
/// # Shapes
/// `logits`: `[N, classes]`; result: `[N]`.
///
/// # Panics
/// If there is not one label for each row, or a label is not below the number of classes.
pub fn cross_entropy(graph: &mut Graph, logits: &Matrix, labels: &[u32]) -> Vector {
    let [rows, classes] = logits.shape();
    assert_eq!(rows, labels.len(), "one label for each row");
    graph.apply(CrossEntropy { labels: labels.to_vec(), classes }, &[logits], [rows])
}
