//! A pass on a device: the tape is the same, tensors and gradients are buffers.

use super::super::remote::add;
use super::super::{CustomOp, DeviceContext, Operand, Slot, Var, new_slot, product};
use super::{Edge, Graph};
use crate::device::{Device, done};
use cm_gpu::Buffer;
use dfdx::shapes::Shape;
use dfdx::tensor::Tape;

impl Graph {
    pub(super) fn apply_on_device<Op: CustomOp, S: Shape>(
        &mut self,
        device: Device,
        op: Op,
        inputs: &[&dyn Operand],
        shape: S,
    ) -> Var<S> {
        let take = |(index, input): (usize, &&dyn Operand)| match op.multiplies(index) {
            true => input.as_factor(&device),
            false => input.on_device(&device),
        };
        let values: Vec<Buffer> = inputs.iter().enumerate().map(take).collect();
        let (buffer, saved) = done(op.device_forward(&device, &values));
        let kept_output = op.keeps_output().then(|| buffer.clone());
        let element = buffer.element();
        let mut output = Var::resident(&device, buffer, shape);
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
        let kept: Vec<Option<Buffer>> = (values.into_iter().enumerate())
            .map(|(index, values)| op.keeps_input(index).then_some(values))
            .collect();
        let gradients = self.remote.clone();
        tape.add_backward_op(move |_| {
            let gradient = gradients.borrow_mut().remove(&output_slot.number);
            let Some(gradient) = gradient else { return Ok(()) }; // the loss does not depend on this output
            let gradient = done(device.gpu().converted(&gradient, element));
            let wanted: Vec<bool> = slots.iter().map(Option::is_some).collect();
            let output = kept_output.as_ref();
            let context = DeviceContext { inputs: &kept, output, saved: &saved, gradient, wanted: &wanted };
            let parts = done(op.device_backward(&device, context));
            debug_assert_eq!(parts.len(), slots.len(), "one gradient for each input");
            for (slot, part) in slots.iter().zip(parts) {
                if let (Some(slot), Some(part)) = (slot, part) {
                    add(&device, &gradients, slot, part);
                }
            }
            Ok(())
        });
        output
    }

    pub(super) fn recomputed_on_device<S: Shape>(
        &mut self,
        device: Device,
        region: impl Fn(&mut Self) -> Var<S> + 'static,
    ) -> Var<S> {
        let mut quiet = Self::inference().on(&device);
        let mut output = region(&mut quiet);
        self.flops = self.flops.saturating_add(quiet.flops);
        self.values = self.values.saturating_add(product(output.shape()));
        self.widest = self.widest.max(quiet.values);
        let Some(tape) = self.tape.as_mut() else { return output };
        let output_slot = new_slot();
        output.slot = Some(output_slot.clone());
        let gradients = self.remote.clone();
        tape.add_backward_op(move |_| {
            let gradient = gradients.borrow_mut().remove(&output_slot.number);
            let Some(gradient) = gradient else { return Ok(()) }; // the loss does not depend on this output
            let mut graph = Self { edge: Some(Edge::default()), ..Self::recording().on(&device) };
            let output = region(&mut graph);
            let outside = graph.edge.take().map(|edge| edge.outside).unwrap_or_default();
            let inside = graph.remote.clone();
            if let Some(slot) = &output.slot {
                add(&device, &inside, slot, gradient);
            }
            graph.walk_back();
            for slot in &outside {
                let part = inside.borrow_mut().remove(&slot.number);
                if let Some(part) = part {
                    add(&device, &gradients, slot, part);
                }
            }
            Ok(())
        });
        output
    }
}
