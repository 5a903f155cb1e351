//! Values that change along a direction, and what becomes of the change in an operation.

use super::{CustomOp, Images, Operand, Var};
use cm_image::{ImageBatch, ImageShape};
use dfdx::shapes::Shape;
use std::sync::Arc;

impl<S: Shape> Var<S> {
    /// The same values, which change along `tangent`: an input of a pass [with tangents](crate::Graph::with_tangents).
    ///
    /// # Panics
    /// If there is not one number for each value.
    pub fn moving(self, tangent: Vec<f32>) -> Self {
        assert_eq!(tangent.len(), self.data.shape().num_elements(), "one change for each value");
        Self { tangent: Some(Arc::new(tangent)), ..self }
    }

    /// How the values change: given to an input, or worked out by a pass with tangents. `None`: they stay.
    pub fn tangent(&self) -> Option<&[f32]> {
        self.tangent.as_ref().map(|tangent| tangent.as_slice())
    }
}

impl Images {
    /// A batch with copies of how these images change: zeros if they stay.
    ///
    /// # Panics
    /// If a dimension other than the count is 0.
    pub fn tangent_batch(&self) -> ImageBatch {
        let [count, height, width, channels] = self.shape();
        let shape = ImageShape::new(height, width, channels);
        match self.tangent() {
            Some(tangent) => ImageBatch::new(shape, tangent.to_vec()).expect("a tangent is of whole images"),
            None => ImageBatch::zeros(shape, count),
        }
    }
}

/// What an operation's tangent rule sees.
pub struct TangentContext<'a> {
    /// The inputs' values.
    pub inputs: &'a [&'a [f32]],
    /// How each input changes; `None` for one that stays.
    pub tangents: &'a [Option<&'a [f32]>],
    /// The output's values.
    pub output: &'a [f32],
    /// What the forward pass returned.
    pub saved: &'a [f32],
}

impl<'a> TangentContext<'a> {
    /// How the one input changes that the output depends on.
    ///
    /// # Panics
    /// If it stays: then there is nothing to be asked.
    pub fn first(&self) -> &'a [f32] {
        self.tangents[0].expect("one input at least changes")
    }
}

/// How the output of `op` changes; `None` if no input does.
pub(super) fn of_output(
    op: &impl CustomOp,
    inputs: &[&dyn Operand],
    values: &[&[f32]],
    (output, saved): (&[f32], &[f32]),
) -> Option<Arc<Vec<f32>>> {
    let tangents: Vec<Option<&[f32]>> = (inputs.iter().enumerate())
        .map(|(index, input)| input.tangent().filter(|_| op.passes_gradient(index)))
        .collect();
    if tangents.iter().all(Option::is_none) {
        return None;
    }
    let tangent = op.tangent(TangentContext { inputs: values, tangents: &tangents, output, saved });
    debug_assert_eq!(tangent.len(), output.len(), "one change for each value of the output");
    Some(Arc::new(tangent))
}
