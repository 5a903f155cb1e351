//! A pass whose operations are done in their composed forms, on the accelerator.

use super::super::remote::{OnAccelerator, Remote, add};
use super::super::{CustomOp, Data, Operand, Slot, Var, new_slot};
use super::{Edge, Graph};
use crate::composed::{AnyDevice, Flat, fresh};
use dfdx::shapes::Shape;
use dfdx::tensor::{Tape, Tensor, Trace};
use dfdx::tensor_ops::{Backward, SumTo};
use std::sync::Arc;

impl Graph {
    pub(super) fn apply_composed<Op: CustomOp, S: Shape>(
        &mut self,
        op: Op,
        inputs: &[&dyn Operand],
        shape: S,
    ) -> Var<S> {
        if shape.num_elements() == 0 {
            return Var::constant(Vec::new(), shape);
        }
        let kept: Vec<Arc<Remote>> = inputs.iter().map(|input| input.remote()).collect();
        let flats = || kept.iter().map(|input| input.values.clone()).collect();
        let mut output = Var { data: Data::Remote(Remote::new(op.composed(flats())), shape), slot: None };
        let slots: Vec<Option<Slot>> = (inputs.iter().enumerate())
            .map(|(index, input)| input.slot().filter(|_| op.passes_gradient(index)).cloned())
            .collect();
        let Some(tape) = self.tape.as_mut().filter(|_| slots.iter().any(Option::is_some)) else {
            return output;
        };
        let output_slot = new_slot();
        if let Some(edge) = &mut self.edge {
            edge.joined(&slots, &output_slot);
        }
        output.slot = Some(output_slot.clone());
        let gradients = self.remote.clone();
        tape.add_backward_op(move |_| {
            let gradient = gradients.borrow_mut().remove(&output_slot.number);
            let Some(gradient) = gradient else { return Ok(()) }; // the loss does not depend on this output
            let leaf = |(index, input): (usize, &Arc<Remote>)| {
                // A tensor taken twice collects two gradients.
                let again = kept[..index].iter().any(|earlier| Arc::ptr_eq(earlier, input));
                if again { fresh(input.values.clone()) } else { input.values.clone() }
            };
            let leaves: Vec<OnAccelerator> = kept.iter().enumerate().map(leaf).collect();
            for (slot, part) in slots.iter().zip(gradients_of(&op, &leaves, gradient)) {
                if let Some(slot) = slot {
                    add(&gradients, slot, part);
                }
            }
            Ok(())
        });
        output
    }

    pub(super) fn recomputed_composed<S: Shape>(
        &mut self,
        region: impl Fn(&mut Self) -> Var<S> + 'static,
    ) -> Var<S> {
        let mut quiet = Self::inference().composed();
        let mut output = region(&mut quiet);
        self.flops += quiet.flops;
        let Some(tape) = self.tape.as_mut() else { return output };
        let output_slot = new_slot();
        output.slot = Some(output_slot.clone());
        let gradients = self.remote.clone();
        tape.add_backward_op(move |_| {
            let gradient = gradients.borrow_mut().remove(&output_slot.number);
            let Some(gradient) = gradient else { return Ok(()) }; // the loss does not depend on this output
            let mut graph = Self { edge: Some(Edge::default()), ..Self::recording().composed() };
            let output = region(&mut graph);
            let outside = graph.edge.take().map(|edge| edge.outside).unwrap_or_default();
            let inside = graph.remote.clone();
            if let Some(slot) = &output.slot {
                add(&inside, slot, gradient);
            }
            graph.walk_back();
            for slot in &outside {
                let part = inside.borrow_mut().remove(&slot.number);
                if let Some(part) = part {
                    add(&gradients, slot, part);
                }
            }
            Ok(())
        });
        output
    }
}

/// The gradient of sum(`gradient` x `op`(inputs)) by each input.
fn gradients_of<D: AnyDevice, Op: CustomOp>(
    op: &Op,
    inputs: &[Flat<D, dfdx::tensor::NoneTape>],
    gradient: Flat<D, dfdx::tensor::NoneTape>,
) -> Vec<Flat<D, dfdx::tensor::NoneTape>> {
    let output = op.composed(inputs.iter().map(Trace::leaky_trace).collect());
    let loss: Tensor<(), f32, D, _> = (output * gradient).sum();
    let mut gradients = loss.backward();
    let of = |input: &Flat<D, dfdx::tensor::NoneTape>| {
        gradients.get_or_alloc_mut(input).expect("a gradient's memory is like its tensor's");
        gradients.get(input)
    };
    inputs.iter().map(of).collect()
}
