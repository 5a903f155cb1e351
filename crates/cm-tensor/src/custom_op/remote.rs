//! Values on the [`Accelerator`]: tensors stay there between operations, and so do gradients.
//!
//! A value crosses when it is asked for: up when a composed operation takes a tensor made of host values, down when
//! somebody reads one. [`crossed`] counts both.

use super::{Accelerator, CustomOp, Data, Edge, Graph, Operand, Slot, Var, new_slot};
use crate::composed::{self, Flat, fresh};
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{NoneTape, Tape, TensorFromVec};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

/// Values on the accelerator without a tape.
pub type OnAccelerator = Flat<Accelerator, NoneTape>;

thread_local! {
    static CROSSED: Cell<usize> = const { Cell::new(0) };
}

/// How many values of tensors and gradients this thread has moved to or from the accelerator so far. What operations
/// make for themselves is not among them: factors of images, small matrices of resampling, places of dropout.
pub fn crossed() -> usize {
    CROSSED.get()
}

/// Values brought to the accelerator.
pub fn uploaded(values: Vec<f32>) -> OnAccelerator {
    CROSSED.set(CROSSED.get() + values.len());
    let len = values.len();
    composed::accelerator().tensor_from_vec(values, (len,))
}

/// Values brought to the host.
pub fn downloaded(values: &OnAccelerator) -> Vec<f32> {
    CROSSED.set(CROSSED.get() + values.shape().0);
    values.as_vec()
}

/// A tensor's values on the accelerator, and on the host once they have been asked for.
#[derive(Debug)]
pub struct Remote {
    values: OnAccelerator,
    host: OnceLock<Vec<f32>>,
}

impl Remote {
    pub(super) fn new(values: OnAccelerator) -> Arc<Self> {
        Arc::new(Self { values, host: OnceLock::new() })
    }

    pub(super) fn host(&self) -> &[f32] {
        self.host.get_or_init(|| downloaded(&self.values))
    }
}

/// Gradients by the number of their slot.
pub(super) type RemoteGradients = Rc<RefCell<HashMap<u64, OnAccelerator>>>;

pub(super) fn add(gradients: &RemoteGradients, slot: &Slot, part: OnAccelerator) {
    let mut gradients = gradients.borrow_mut();
    let sum = match gradients.remove(&slot.number) {
        Some(already) => already + part,
        None => part,
    };
    gradients.insert(slot.number, sum);
}

impl<S: Shape> Var<S> {
    /// The values on the accelerator, uploaded if they are not there.
    pub fn on_accelerator(&self) -> OnAccelerator {
        self.remote().values.clone()
    }

    /// Other values in place of these; gradients are collected where they were.
    ///
    /// # Panics
    /// If they are not as many.
    pub fn replace_on_accelerator(&mut self, values: OnAccelerator) {
        let shape = self.data.shape();
        assert_eq!(values.shape().0, shape.num_elements(), "other values of the same tensor");
        self.data = Data::Remote(Remote::new(values), shape);
    }

    pub(super) fn remote(&self) -> Arc<Remote> {
        match &self.data {
            Data::Host(_, kept) => kept.get_or_init(|| Remote::new(uploaded(self.values().to_vec()))).clone(),
            Data::Remote(remote, _) => remote.clone(),
        }
    }
}

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
            for (slot, part) in slots.iter().zip(composed::gradients_of(&op, &leaves, gradient)) {
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
