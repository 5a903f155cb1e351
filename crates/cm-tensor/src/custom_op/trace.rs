//! A pass written down: which operations it applies to what, for whoever says the same in another language.
//!
//! A traced pass computes nothing, and its batch is of one image: what is written down holds for any number of them.
//! Deliberately absent: any such language (`cm-onnx` knows one).

use super::Operand;
use crate::operation::Operation;

/// Where a step's input is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The step of this number.
    Step(usize),
    /// The constant of this number: a weight, mostly.
    Constant(usize),
}

/// One operation of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it does.
    pub operation: Operation,
    /// To what.
    pub inputs: Vec<Source>,
    /// Extents of its result; the first is 1 and stands for the batch.
    pub shape: Vec<usize>,
}

/// The steps of a pass in their order, and the constants that they take.
#[derive(Default)]
pub struct Trace {
    steps: Vec<Step>,
    constants: Vec<Box<dyn Operand>>,
}

impl Trace {
    /// The steps; each takes results of earlier ones only.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The values of a constant. A weight's are those of the set it is of, at the same address.
    ///
    /// # Panics
    /// If there is no such constant, or the weights of the pass were outlines.
    pub fn constant(&self, index: usize) -> &[f32] {
        self.constants[index].values()
    }

    /// Adds a step; returns its number.
    pub(crate) fn push(&mut self, operation: Operation, inputs: &[&dyn Operand], shape: Vec<usize>) -> usize {
        let inputs = inputs.iter().map(|input| self.source(*input)).collect();
        self.steps.push(Step { operation, inputs, shape });
        self.steps.len() - 1
    }

    fn source(&mut self, input: &dyn Operand) -> Source {
        if let Some(step) = input.step() {
            return Source::Step(step);
        }
        // What is kept stays where it is, so an address is of one constant only.
        let place = input.values().as_ptr();
        let known = self.constants.iter().position(|constant| constant.values().as_ptr() == place);
        Source::Constant(known.unwrap_or_else(|| {
            self.constants.push(input.keep());
            self.constants.len() - 1
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Graph, Vector, Weights, ops};

    #[test]
    fn a_trace_has_the_steps_of_a_pass_and_the_weights_where_they_lie() {
        let mut weights = Weights::new();
        let weight = weights.add("weight", &[6, 6], vec![0.5; 36]);
        let nothing = Vector::constant(vec![0.0; 6], [6]);
        let (mut graph, images) = Graph::tracing([1, 2, 3]);
        let x = ops::as_matrix(&mut graph, &images);
        let once = ops::linear(&mut graph, &x, weights.get(weight), Some(&nothing));
        let twice = ops::linear(&mut graph, &once, weights.get(weight), None);
        let sum = ops::add(&mut graph, &x, &twice, 0.5);
        let out = ops::as_images(&mut graph, &sum, [1, 2, 3]);
        assert_eq!(out.shape(), [1, 1, 2, 3]);
        let trace = graph.into_trace();
        let step = |operation, inputs: &[Source], shape: &[usize]| Step {
            operation,
            inputs: inputs.to_vec(),
            shape: shape.to_vec(),
        };
        let [s0, s1, s2, s3, s4] = [0, 1, 2, 3, 4].map(Source::Step);
        let [c0, c1] = [0, 1].map(Source::Constant);
        let expected = [
            step(Operation::Images, &[], &[1, 1, 2, 3]),
            step(Operation::Reshape, &[s0], &[1, 6]),
            step(Operation::Linear, &[s1, c0, c1], &[1, 6]),
            step(Operation::Linear, &[s2, c0], &[1, 6]),
            step(Operation::Add { scale: 0.5 }, &[s1, s3], &[1, 6]),
            step(Operation::Reshape, &[s4], &[1, 1, 2, 3]),
        ];
        assert_eq!(trace.steps(), expected);
        let (_, _, values) = weights.iter().next().unwrap();
        assert!(std::ptr::eq(trace.constant(0), values), "a weight is not copied");
    }

    #[test]
    fn a_region_that_is_computed_again_is_traced_once() {
        let (mut graph, images) = Graph::tracing([1, 1, 2]);
        graph.recomputed(move |graph| ops::silu(graph, &images));
        let operations: Vec<_> = graph.into_trace().steps.into_iter().map(|step| step.operation).collect();
        assert_eq!(operations, [Operation::Images, Operation::Silu]);
    }
}
