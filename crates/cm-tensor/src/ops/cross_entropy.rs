//! The loss of a classifier.

use crate::composed::{AnyDevice, Axis, Flat, SumTo, Tape, shaped, taken};
use crate::{BackwardContext, CustomOp, Graph, Matrix, Vector};
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

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let (rows, probabilities) = (self.labels.len(), context.saved);
        vec![Some(written_by(probabilities.len(), |out| {
            let gradient = &context.gradient;
            softmax::cross_entropy_backward(rows, self.classes, probabilities, &self.labels, gradient, out);
        }))]
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let [logits] = taken(inputs);
        let rows = self.labels.len();
        let mut chosen = vec![0.0; rows * self.classes];
        for (row, &label) in self.labels.iter().enumerate() {
            chosen[row * self.classes + label as usize] = -1.0;
        }
        let chosen = logits.device().tensor_from_vec(chosen, (rows, self.classes));
        (shaped(logits, (rows, self.classes)).log_softmax::<Axis<1>>() * chosen).sum::<(usize,), Axis<1>>()
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
