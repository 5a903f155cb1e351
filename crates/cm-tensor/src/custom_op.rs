//! The bridge to dfdx: our operations on its tape, without copying.
//!
//! What this file relies on, and no other may:
//! * a CPU tensor's buffer is one `Vec` in row-major order, so the address of its first element and its element
//!   count give the whole slice;
//! * [`dfdx::tensor::Gradients`] keeps a buffer for each tensor identity. dfdx allocates such a buffer zeroed, at
//!   the tensor's size. We key gradients by a *slot*, an empty tensor made for the purpose, so the buffer starts
//!   empty: the first gradient to arrive is moved in, and only further ones are added. Nothing is zeroed, and a
//!   gradient is freed as soon as the operation that made its tensor has consumed it.
//!
//! To be differentiable forwards as well (JVP), an operation will gain a third method beside `forward` and
//! `backward`; every operation here has a linear tangent rule.

mod remote;

use crate::composed::{Accelerator, AnyDevice, Flat};
use cm_image::{ImageBatch, ImageShape};
use cm_kernels::elementwise;
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{OwnedTape, PutTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::Backward;
use remote::{Remote, RemoteGradients};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub use remote::{OnAccelerator, crossed, downloaded, uploaded};

/// The device of the kernels, on which all tensors live that a composed pass has not moved.
pub type Dev = dfdx::tensor::Cpu;

/// Images, NHWC.
pub type Images = Var<[usize; 4]>;
/// Rows of values.
pub type Matrix = Var<[usize; 2]>;
/// One value for each image, or a parameter.
pub type Vector = Var<[usize; 1]>;

/// Where a gradient is collected: an empty tensor, and a number that tells slots apart.
#[derive(Clone, Debug)]
pub struct Slot {
    tensor: Tensor<[usize; 1], f32, Dev>,
    number: u64,
}

type DfdxGradients = dfdx::tensor::Gradients<f32, Dev>;

/// A tensor and, if a gradient may flow to it, where that gradient is collected. Cloning shares both.
#[derive(Clone, Debug)]
pub struct Var<S: Shape> {
    data: Data<S>,
    slot: Option<Slot>,
}

#[derive(Clone, Debug)]
enum Data<S: Shape> {
    /// On the host, and on the accelerator once a composed operation has taken it.
    Host(Tensor<S, f32, Dev>, OnceLock<Arc<Remote>>),
    /// On the accelerator.
    Remote(Arc<Remote>, S),
}

impl<S: Shape> Data<S> {
    fn shape(&self) -> S {
        match self {
            Self::Host(tensor, _) => *tensor.shape(),
            Self::Remote(_, shape) => *shape,
        }
    }
}

impl<S: Shape> Var<S> {
    /// A tensor to which no gradient flows. The values are moved, not copied.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    pub fn constant(values: Vec<f32>, shape: S) -> Self {
        assert_eq!(values.len(), shape.num_elements(), "values do not fill {shape:?}");
        let tensor = Dev::default().tensor_from_vec(values, shape);
        Self { data: Data::Host(tensor, OnceLock::new()), slot: None }
    }

    /// A tensor to which gradients flow: a parameter, or an input whose gradient is wanted.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    pub fn tracked(values: Vec<f32>, shape: S) -> Self {
        Self { slot: Some(new_slot()), ..Self::constant(values, shape) }
    }

    /// The same values, sharing memory until one is written to, with a gradient of its own or none.
    pub fn detached(&self, tracked: bool) -> Self {
        Self { data: self.data.clone(), slot: tracked.then(new_slot) }
    }

    /// The extents of the tensor.
    pub fn shape(&self) -> S::Concrete {
        self.data.shape().concrete()
    }

    /// All values in row-major order.
    pub fn values(&self) -> &[f32] {
        let tensor = match &self.data {
            Data::Host(tensor, _) => tensor,
            Data::Remote(remote, _) => return remote.host(),
        };
        let len = tensor.shape().num_elements();
        if len == 0 {
            return &[];
        }
        let first: *const f32 = &tensor[S::Concrete::default()];
        // SAFETY: every tensor here was made by `tensor_from_vec`, so its strides are row-major and its `len`
        // elements lie in one `Vec` that begins at element zero; the borrow of `self` keeps it alive and unwritten.
        #[expect(unsafe_code, reason = "the zero-copy view this file exists for")]
        unsafe {
            std::slice::from_raw_parts(first, len)
        }
    }

    /// All values, to be changed in place; copied first if they are shared.
    pub fn values_mut(&mut self) -> &mut [f32] {
        if let Data::Remote(remote, shape) = &self.data {
            self.data = Self::constant(remote.host().to_vec(), *shape).data;
        }
        let Data::Host(tensor, uploaded) = &mut self.data else {
            unreachable!("the values were brought to the host")
        };
        uploaded.take();
        let len = tensor.shape().num_elements();
        if len == 0 {
            return &mut [];
        }
        // dfdx makes the buffer unique (`Arc::make_mut`) before it hands out the reference.
        let first: *mut f32 = &mut tensor[S::Concrete::default()];
        // SAFETY: as in `values`; the buffer is unshared and `self` is borrowed mutably.
        #[expect(unsafe_code, reason = "the zero-copy view this file exists for")]
        unsafe {
            std::slice::from_raw_parts_mut(first, len)
        }
    }
}

impl Images {
    /// The images of a batch; no gradient flows to them.
    pub fn from_batch(batch: &ImageBatch) -> Self {
        let ImageShape { height, width, channels } = batch.shape();
        Self::constant(batch.values().to_vec(), [batch.count(), height, width, channels])
    }

    /// A batch with copies of these images.
    ///
    /// # Panics
    /// If a dimension other than the count is 0.
    pub fn to_batch(&self) -> ImageBatch {
        let [_, height, width, channels] = self.shape();
        ImageBatch::new(ImageShape::new(height, width, channels), self.values().to_vec())
            .expect("a tensor holds whole images")
    }
}

/// Each image times its own factor; no gradient flows through.
///
/// # Panics
/// If there is not one factor for each image.
pub fn scaled_rows(x: &Images, factors: &[f32]) -> Images {
    assert_eq!(x.shape()[0], factors.len(), "one factor for each image");
    let scale = |out: &mut [f32]| elementwise::rows_scale(factors.len(), factors, x.values(), out);
    Images::constant(cm_kernels::buffer::written_by(x.values().len(), scale), x.shape())
}

/// What an operation may take: a [`Var`] of any rank.
pub trait Operand {
    /// All values in row-major order.
    fn values(&self) -> &[f32];
    #[doc(hidden)]
    fn slot(&self) -> Option<&Slot>;
    #[doc(hidden)]
    fn keep(&self) -> Box<dyn Operand>;
    #[doc(hidden)]
    fn remote(&self) -> Arc<Remote>;
}

impl<S: Shape> Operand for Var<S> {
    fn values(&self) -> &[f32] {
        Var::values(self)
    }

    fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    fn keep(&self) -> Box<dyn Operand> {
        Box::new(self.clone())
    }

    fn remote(&self) -> Arc<Remote> {
        Var::remote(self)
    }
}

/// An operation with its derivative.
pub trait CustomOp: 'static {
    /// Writes all of `output` from the inputs; returns what the backward pass needs besides inputs and output.
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32>;

    /// Whether the backward pass reads this input's values.
    fn keeps_input(&self, index: usize) -> bool;

    /// Whether the backward pass reads the output's values.
    fn keeps_output(&self) -> bool {
        false
    }

    /// Multiplications and additions of the forward pass, where they are worth counting.
    fn flops(&self) -> u64 {
        0
    }

    /// Whether a gradient can flow to this input.
    fn passes_gradient(&self, _index: usize) -> bool {
        true
    }

    /// The gradient for each input, `None` where [`BackwardContext::wanted`] is false.
    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>>;

    /// The same operation composed of dfdx's own, on any device; inputs and output flat.
    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T>;
}

/// What an operation's backward pass sees.
pub struct BackwardContext<'a> {
    /// The inputs' values; empty for those not kept.
    pub inputs: &'a [&'a [f32]],
    /// The output's values; empty if not kept.
    pub output: &'a [f32],
    /// What the forward pass returned.
    pub saved: &'a [f32],
    /// Gradient of the loss by the output; may be moved out and handed on.
    pub gradient: Vec<f32>,
    /// Which inputs need a gradient.
    pub wanted: &'a [bool],
}

/// A forward pass: records operations for a backward pass, or does not.
pub struct Graph {
    tape: Option<OwnedTape<f32, Dev>>,
    flops: u64,
    /// Operations are counted and not done: values are unspecified.
    counting: bool,
    /// Of a region that is computed again: what gradients leave it through.
    edge: Option<Edge>,
    /// Operations are done in their composed forms.
    composed: bool,
    /// Of a composed pass: the gradients so far.
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
    /// A pass that can be differentiated.
    pub fn recording() -> Self {
        Self { tape: Some(OwnedTape::default()), ..Self::inference() }
    }

    /// A pass of which only the result is wanted.
    pub fn inference() -> Self {
        Self {
            tape: None,
            flops: 0,
            counting: false,
            edge: None,
            composed: cfg!(feature = "composed"),
            remote: RemoteGradients::default(),
        }
    }

    /// A pass of which only [`flops`](Self::flops) is wanted: nothing is computed, and memory is not touched.
    pub fn counting() -> Self {
        Self { counting: true, ..Self::inference() }
    }

    /// The same pass with every operation in its composed form ([`CustomOp::composed`]) on the
    /// [`Accelerator`], where its tensors and gradients stay until they are read. Under
    /// the feature `composed` every pass is one; on the CPU this is how the forms are compared with the kernels.
    pub fn composed(self) -> Self {
        Self { composed: true, ..self }
    }

    /// The same pass in the kernels of the CPU.
    pub fn in_kernels(self) -> Self {
        Self { composed: false, ..self }
    }

    /// Whether operations are done in their composed forms.
    pub fn is_composed(&self) -> bool {
        self.composed
    }

    /// Whether this pass can be differentiated: then dropout drops.
    pub fn is_recording(&self) -> bool {
        self.tape.is_some()
    }

    /// Multiplications and additions of convolutions, affine maps and attention so far.
    pub fn flops(&self) -> u64 {
        self.flops
    }

    /// Runs `op` and, if the pass records and a gradient may flow to an input, remembers how to go back.
    pub fn apply<Op: CustomOp, S: Shape>(&mut self, op: Op, inputs: &[&dyn Operand], shape: S) -> Var<S> {
        self.flops += op.flops();
        if self.counting {
            return Var::constant(vec![0.0; shape.num_elements()], shape);
        }
        if self.composed {
            return self.apply_composed(op, inputs, shape);
        }
        let mut buffer = cm_kernels::buffer::unwritten(shape.num_elements());
        let values: Vec<&[f32]> = inputs.iter().map(|input| input.values()).collect();
        let saved = op.forward(&values, &mut buffer);
        let mut output = Var::constant(buffer, shape);
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
        if self.composed {
            return self.recomputed_composed(region);
        }
        let Some(tape) = self.tape.as_mut() else { return region(self) };
        let mut quiet = Self::inference().in_kernels();
        let mut output = region(&mut quiet);
        self.flops += quiet.flops;
        let output_slot = new_slot();
        output.slot = Some(output_slot.clone());
        tape.add_backward_op(move |gradients| {
            let gradient = std::mem::take(&mut **gradients.get_or_alloc_mut(&output_slot.tensor)?);
            if gradient.is_empty() {
                return Ok(()); // the loss does not depend on this output
            }
            let mut graph = Self { edge: Some(Edge::default()), ..Self::recording().in_kernels() };
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
        match output.slot.clone() {
            Some(slot) if self.composed && !seed.is_empty() => {
                remote::add(&self.remote, &slot, remote::uploaded(seed));
            }
            Some(slot) => tape.add_backward_op(move |gradients| accumulate(gradients, &slot, seed)),
            None => {}
        }
        let remote = self.remote.clone();
        Gradients { host: self.walk_back(), remote }
    }

    fn walk_back(self) -> DfdxGradients {
        let tape = self.tape.expect("only a recording pass can go backwards");
        // dfdx starts from a scalar; ours carries the tape and nothing else.
        let start: Tensor<(), f32, Dev> = Dev::default().tensor_from_vec(vec![0.0], ());
        start.put_tape(tape).try_backward().expect("the CPU device fails only on allocation")
    }
}

/// The result of a backward pass.
pub struct Gradients {
    host: DfdxGradients,
    remote: RemoteGradients,
}

impl Gradients {
    /// Moves out the gradient of a tracked tensor; `None` if the loss does not depend on it or it is not tracked.
    pub fn take<S: Shape>(&mut self, var: &Var<S>) -> Option<Vec<f32>> {
        self.take_slot(var.slot.as_ref()?)
    }

    /// [`take`](Self::take) of a composed pass, without bringing the gradient to the host.
    pub fn take_on_accelerator<S: Shape>(&mut self, var: &Var<S>) -> Option<OnAccelerator> {
        self.remote.borrow_mut().remove(&var.slot.as_ref()?.number)
    }

    fn take_slot(&mut self, slot: &Slot) -> Option<Vec<f32>> {
        if let Some(gradient) = self.remote.borrow_mut().remove(&slot.number) {
            return Some(remote::downloaded(&gradient));
        }
        let buffer = self.host.get_or_alloc_mut(&slot.tensor).expect("an empty buffer can always be made");
        let values = std::mem::take(&mut **buffer);
        (!values.is_empty()).then_some(values)
    }
}

fn new_slot() -> Slot {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Slot { tensor: Dev::default().tensor_from_vec(Vec::new(), [0]), number }
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
