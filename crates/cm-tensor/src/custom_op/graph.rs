//! A pass through a network: it applies operations, and remembers on dfdx's tape how to go back.
//!
//! [`dfdx::tensor::Gradients`] keeps a buffer for each tensor identity, which it allocates zeroed, at the tensor's size.
//! Here gradients are keyed by a *slot*, an empty tensor made for the purpose, so the buffer starts empty: the first
//! gradient to arrive is moved in, and only further ones are added. Nothing is zeroed, and a gradient is freed as soon as
//! the operation that made its tensor has consumed it. A tangent lives as long as the tensor that it belongs to.

mod device_pass;

use super::remote::{self, RemoteGradients};
use super::{BackwardContext, CustomOp, Dev, Images, Operand, Slot, Trace, Var, new_slot, tangent};
use crate::device::Device;
use crate::devices;
use crate::operation::Operation;
use cm_gpu::Buffer;
use cm_kernels::elementwise;
use dfdx::shapes::Shape;
use dfdx::tensor::{OwnedTape, PutTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::Backward;
use std::collections::HashSet;

type DfdxGradients = dfdx::tensor::Gradients<f32, Dev>;

/// A forward pass: records operations for a backward pass, or does not.
pub struct Graph {
    tape: Option<OwnedTape<f32, Dev>>,
    flops: u64,
    values: u64,
    /// Values of the widest of the regions that are computed again, while it is.
    widest: u64,
    /// Operations are counted and not done: their results are outlines.
    counting: bool,
    /// Operations are written down, and not done.
    trace: Option<Trace>,
    /// Results come with how they change along the tangents of the inputs.
    tangents: bool,
    /// Of a region that is computed again: what gradients leave it through.
    edge: Option<Edge>,
    /// Where operations are done, if not on the host.
    device: Option<Device>,
    /// Of a pass on a device: the gradients so far.
    remote: RemoteGradients,
}

/// What a region's operations take from outside, and what they made themselves.
#[derive(Default)]
struct Edge {
    outside: Vec<Slot>,
    seen: HashSet<u64>,
}

impl Edge {
    /// Takes note of an operation of the region.
    fn joined(&mut self, inputs: &[Option<Slot>], output: &Slot) {
        let Self { outside, seen } = self;
        outside.extend(inputs.iter().flatten().filter(|slot| seen.insert(slot.number)).cloned());
        seen.insert(output.number);
    }
}

impl Graph {
    /// A pass that can be differentiated, on the [device of this process](devices::current).
    pub fn recording() -> Self {
        Self { tape: Some(OwnedTape::default()), ..Self::inference() }
    }

    /// A pass of which only the result is wanted, on the [device of this process](devices::current).
    pub fn inference() -> Self {
        Self {
            tape: None,
            flops: 0,
            values: 0,
            widest: 0,
            counting: false,
            trace: None,
            tangents: false,
            edge: None,
            device: devices::current(),
            remote: RemoteGradients::default(),
        }
    }

    /// A pass of which only [`flops`](Self::flops) and [`values`](Self::values) are wanted: nothing is computed, and what
    /// operations return are [outlines](Var::outline), which take no memory.
    pub fn counting() -> Self {
        Self { counting: true, ..Self::inference() }
    }

    /// A pass of which only the [trace](Self::into_trace) is wanted, with the images that it is given: nothing is computed,
    /// and what operations return are [outlines](Var::outline). Weights have their values.
    ///
    /// # Panics
    /// Later, of an operation that only training has.
    pub fn tracing([height, width, channels]: [usize; 3]) -> (Self, Images) {
        let mut graph = Self { trace: Some(Trace::default()), ..Self::counting() };
        let images = graph.outlined(|| Operation::Images, [1, height, width, channels]);
        (graph, images.expect("the pass is traced"))
    }

    /// The steps of a [traced](Self::tracing) pass; none of another.
    pub fn into_trace(self) -> Trace {
        self.trace.unwrap_or_default()
    }

    /// The outline of what a network works out itself from numbers and labels, in a pass that computes nothing; `None` in
    /// another, where it is to be worked out.
    pub fn outlined<S: Shape>(&mut self, operation: impl FnOnce() -> Operation, shape: S) -> Option<Var<S>> {
        let outline = |trace: &mut Trace| {
            Var::of_step(trace.push(operation(), &[], shape.concrete().into_iter().collect()), shape)
        };
        match &mut self.trace {
            Some(trace) => Some(outline(trace)),
            None => self.counting.then(|| Var::outline(shape)),
        }
    }

    /// The same pass, in which each operation also works out how its result changes where inputs are
    /// [moving](Var::moving): derivatives along one direction, exact but for rounding, at about the cost of a second
    /// pass. A pass that records carries them too, and no gradient flows through them; for the way back it keeps nothing
    /// of them but what a [region](Self::recomputed) has taken.
    ///
    /// # Panics
    /// If the pass is on a device, which has no tangent rules.
    pub fn with_tangents(self) -> Self {
        assert!(self.device.is_none(), "tangents are worked out on the host only");
        Self { tangents: true, ..self }
    }

    /// The same pass on a device, where its tensors and gradients stay until they are read.
    pub fn on(self, device: &Device) -> Self {
        Self { device: Some(device.clone()), ..self }
    }

    /// The same pass in the kernels of the CPU.
    pub fn on_host(self) -> Self {
        Self { device: None, ..self }
    }

    /// Where operations are done, if not on the host.
    pub fn device(&self) -> Option<&Device> {
        self.device.as_ref()
    }

    /// Whether operations are counted and not done: inputs may be outlines.
    pub fn is_counting(&self) -> bool {
        self.counting
    }

    /// Whether this pass can be differentiated: then dropout drops.
    pub fn is_recording(&self) -> bool {
        self.tape.is_some()
    }

    /// Multiplications and additions of convolutions, affine maps and attention so far; at the top of its range it stays.
    pub fn flops(&self) -> u64 {
        self.flops
    }

    /// Values that a pass which records keeps for its way back, about: the results of all operations, and of
    /// [regions](Self::recomputed) the last and, while it is computed again, the widest. At the top of its range it stays.
    pub fn values(&self) -> u64 {
        self.values.saturating_add(self.widest)
    }

    /// Runs `op` and, if the pass records and a gradient may flow to an input, remembers how to go back.
    pub fn apply<Op: CustomOp, S: Shape>(&mut self, op: Op, inputs: &[&dyn Operand], shape: S) -> Var<S> {
        self.flops = self.flops.saturating_add(op.flops());
        self.values = self.values.saturating_add(product(shape.concrete()));
        if let Some(trace) = &mut self.trace {
            let operation = op.operation().expect("an operation that is traced is not of training only");
            return Var::of_step(
                trace.push(operation, inputs, shape.concrete().into_iter().collect()),
                shape,
            );
        }
        if self.counting {
            return Var::outline(shape);
        }
        if let Some(device) = self.device.clone() {
            return self.apply_on_device(device, op, inputs, shape);
        }
        let mut buffer = cm_kernels::buffer::unwritten(shape.num_elements());
        let values: Vec<&[f32]> = inputs.iter().map(|input| input.values()).collect();
        let saved = op.forward(&values, &mut buffer);
        let along = self.tangents.then(|| tangent::of_output(&op, inputs, &values, (&buffer, &saved)));
        let mut output = Var { tangent: along.flatten(), ..Var::constant(buffer, shape) };
        let slots: Vec<Option<Slot>> = inputs.iter().map(|input| input.slot().cloned()).collect();
        let Some(tape) = self.tape.as_mut().filter(|_| slots.iter().any(Option::is_some)) else {
            return output;
        };
        let output_slot = new_slot();
        if let Some(edge) = &mut self.edge {
            edge.joined(&slots, &output_slot);
        }
        let kept_inputs: Vec<Option<Box<dyn Operand>>> =
            inputs.iter().enumerate().map(|(i, input)| op.keeps_input(i).then(|| input.keep())).collect();
        let kept_output = op.keeps_output().then(|| output.keep());
        output.slot = Some(output_slot.clone());
        tape.add_backward_op(move |gradients| {
            let gradient = std::mem::take(&mut **gradients.get_or_alloc_mut(&output_slot.tensor)?);
            let output = kept_output.as_ref().map_or(&[][..], |output| output.values());
            if gradient.is_empty() {
                return Ok(()); // the loss does not depend on this output
            }
            let inputs: Vec<&[f32]> = kept_inputs
                .iter()
                .map(|input| input.as_ref().map_or(&[][..], |input| input.values()))
                .collect();
            let wanted: Vec<bool> = slots.iter().map(Option::is_some).collect();
            let context =
                BackwardContext { inputs: &inputs, output, saved: &saved, gradient, wanted: &wanted };
            let parts = op.backward(context);
            debug_assert_eq!(parts.len(), slots.len(), "one gradient for each input");
            for (slot, part) in slots.iter().zip(parts) {
                if let (Some(slot), Some(part)) = (slot, part) {
                    accumulate(gradients, slot, part)?;
                }
            }
            Ok(())
        });
        output
    }

    /// What `region` returns. Of its insides nothing is kept: on the way back it is run again, this time recording. It must
    /// return the same whenever it is run; what it takes from outside it takes as tensors of its own.
    pub fn recomputed<S: Shape>(&mut self, region: impl Fn(&mut Self) -> Var<S> + 'static) -> Var<S> {
        if self.counting {
            let before = std::mem::take(&mut self.values);
            let output = region(self);
            self.widest = self.widest.max(self.values);
            self.values = before.saturating_add(product(output.shape()));
            return output;
        }
        if let Some(device) = self.device.clone() {
            return self.recomputed_on_device(device, region);
        }
        let Some(tape) = self.tape.as_mut() else { return region(self) };
        let mut quiet = Self { tangents: self.tangents, ..Self::inference().on_host() };
        let mut output = region(&mut quiet);
        self.flops = self.flops.saturating_add(quiet.flops);
        self.values = self.values.saturating_add(product(output.shape()));
        self.widest = self.widest.max(quiet.values);
        let output_slot = new_slot();
        output.slot = Some(output_slot.clone());
        tape.add_backward_op(move |gradients| {
            let gradient = std::mem::take(&mut **gradients.get_or_alloc_mut(&output_slot.tensor)?);
            if gradient.is_empty() {
                return Ok(()); // the loss does not depend on this output
            }
            let mut graph = Self { edge: Some(Edge::default()), ..Self::recording().on_host() };
            let output = region(&mut graph);
            let outside = graph.edge.take().map(|edge| edge.outside).unwrap_or_default();
            let mut inside = graph.backward(&output, gradient);
            for slot in &outside {
                if let Some(part) = inside.take_slot(slot) {
                    accumulate(gradients, slot, part)?;
                }
            }
            Ok(())
        });
        output
    }

    /// Gradients of sum(`seed` x `output`) for everything tracked that `output` depends on.
    ///
    /// # Panics
    /// If the pass did not record, or `seed` has not one value for each of `output`.
    pub fn backward<S: Shape>(mut self, output: &Var<S>, seed: Vec<f32>) -> Gradients {
        let tape = self.tape.as_mut().expect("only a recording pass can go backwards");
        assert_eq!(seed.len(), output.data.shape().num_elements(), "one seed for each value of the output");
        match (output.slot.clone(), &self.device) {
            (Some(slot), Some(device)) => remote::add(device, &self.remote, &slot, device.uploaded(&seed)),
            (Some(slot), None) => tape.add_backward_op(move |gradients| accumulate(gradients, &slot, seed)),
            (None, _) => {}
        }
        let (remote, device) = (self.remote.clone(), self.device.clone());
        Gradients { host: self.walk_back(), remote, device }
    }

    fn walk_back(self) -> DfdxGradients {
        let tape = self.tape.expect("only a recording pass can go backwards");
        // dfdx starts from a scalar; ours carries the tape and nothing else.
        let start: Tensor<(), f32, Dev> = Dev::default().tensor_from_vec(vec![0.0], ());
        start.put_tape(tape).try_backward().expect("the CPU device fails only on allocation")
    }
}

/// The product of counts that may be of something too large to be made; at the top of its range it stays.
pub(crate) fn product(counts: impl IntoIterator<Item = usize>) -> u64 {
    counts.into_iter().fold(1u64, |product, count| product.saturating_mul(count as u64))
}

/// The result of a backward pass.
pub struct Gradients {
    host: DfdxGradients,
    remote: RemoteGradients,
    device: Option<Device>,
}

impl Gradients {
    /// Moves out the gradient of a tracked tensor; `None` if the loss does not depend on it or it is not tracked.
    pub fn take<S: Shape>(&mut self, var: &Var<S>) -> Option<Vec<f32>> {
        self.take_slot(var.slot.as_ref()?)
    }

    /// [`take`](Self::take) of a pass on a device, without bringing the gradient to the host.
    pub fn take_on_device<S: Shape>(&mut self, var: &Var<S>) -> Option<Buffer> {
        self.remote.borrow_mut().remove(&var.slot.as_ref()?.number)
    }

    fn take_slot(&mut self, slot: &Slot) -> Option<Vec<f32>> {
        if let Some(device) = &self.device {
            let gradient = self.remote.borrow_mut().remove(&slot.number)?;
            return Some(device.downloaded(&gradient));
        }
        let buffer = self.host.get_or_alloc_mut(&slot.tensor).expect("an empty buffer can always be made");
        let values = std::mem::take(&mut **buffer);
        (!values.is_empty()).then_some(values)
    }
}

fn accumulate(
    gradients: &mut DfdxGradients,
    slot: &Slot,
    values: Vec<f32>,
) -> Result<(), <Dev as dfdx::tensor::HasErr>::Err> {
    let buffer = gradients.get_or_alloc_mut(&slot.tensor)?;
    if buffer.is_empty() {
        **buffer = values;
    } else {
        elementwise::add_assign(buffer, &values);
    }
    Ok(())
}
