//! The bridge to dfdx: our operations on its tape, without copying.
//!
//! What this file relies on, and no other may: a CPU tensor's buffer is one `Vec` in row-major order, so the address of
//! its first element and its element count give the whole slice. How gradients are kept is told in `graph.rs`.
//!
//! Derivatives along a direction (JVP) are carried forwards beside the values, see [`Graph::with_tangents`].

mod graph;
mod remote;
mod tangent;
mod trace;

use crate::device::Device;
use crate::operation::Operation;
use cm_gpu::{Buffer, GpuError};
use cm_image::{ImageBatch, ImageShape};
use cm_kernels::elementwise;
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Tensor, TensorFromVec};
use remote::Remote;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub(crate) use graph::product;
pub use graph::{Gradients, Graph};
pub(crate) use remote::Changed;
pub use tangent::TangentContext;
pub use trace::{Source, Step, Trace};

/// dfdx's device, on which all tensors live that a pass on a [`Device`] has not moved.
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

/// A tensor; if a gradient may flow to it, where that gradient is collected; and if it changes along a direction, how.
/// Cloning shares all of it.
#[derive(Clone, Debug)]
pub struct Var<S: Shape> {
    data: Data<S>,
    slot: Option<Slot>,
    tangent: Option<Arc<Vec<f32>>>,
}

#[derive(Clone, Debug)]
enum Data<S: Shape> {
    /// On the host, and on a device once an operation there has taken it.
    Host(Tensor<S, f32, Dev>, OnceLock<Arc<Remote>>),
    /// On a device.
    Remote(Arc<Remote>, S),
    /// Nowhere: only the extents are known, for counting, and in a trace the number of the step that made it.
    Outline(S, Option<usize>),
}

impl<S: Shape> Data<S> {
    fn shape(&self) -> S {
        match self {
            Self::Host(tensor, _) => *tensor.shape(),
            Self::Remote(_, shape) | Self::Outline(shape, _) => *shape,
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
        Self { data: Data::Host(tensor, OnceLock::new()), slot: None, tangent: None }
    }

    /// A tensor of which only the extents are known: to be counted, or filled by [`values_mut`](Self::values_mut). It
    /// takes no memory.
    pub fn outline(shape: S) -> Self {
        Self { data: Data::Outline(shape, None), slot: None, tangent: None }
    }

    /// What a step of a trace makes.
    fn of_step(step: usize, shape: S) -> Self {
        Self { data: Data::Outline(shape, Some(step)), slot: None, tangent: None }
    }

    /// A tensor to which gradients flow: a parameter, or an input whose gradient is wanted.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    pub fn tracked(values: Vec<f32>, shape: S) -> Self {
        Self { slot: Some(new_slot()), ..Self::constant(values, shape) }
    }

    /// The same values, sharing memory until one is written to, with a gradient of its own or none, and no tangent.
    pub fn detached(&self, tracked: bool) -> Self {
        Self { data: self.data.clone(), slot: tracked.then(new_slot), tangent: None }
    }

    /// The extents of the tensor.
    pub fn shape(&self) -> S::Concrete {
        self.data.shape().concrete()
    }

    /// All values in row-major order.
    ///
    /// # Panics
    /// Of an [`outline`](Self::outline), which has none.
    pub fn values(&self) -> &[f32] {
        let tensor = match &self.data {
            Data::Host(tensor, _) => tensor,
            Data::Remote(remote, _) => return remote.host(),
            Data::Outline(shape, _) => panic!("an outline of {shape:?} has no values"),
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

    /// All values, to be changed in place; copied first if they are shared. An outline's are zeros.
    pub fn values_mut(&mut self) -> &mut [f32] {
        match &self.data {
            Data::Host(..) => {}
            Data::Remote(remote, shape) => self.data = Self::constant(remote.host().to_vec(), *shape).data,
            Data::Outline(shape, _) => {
                self.data = Self::constant(vec![0.0; shape.num_elements()], *shape).data;
            }
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
    /// How they change, if they do: see [`Var::moving`].
    fn tangent(&self) -> Option<&[f32]>;
    /// In a trace, the number of the step that made it; `None` of a constant.
    fn step(&self) -> Option<usize>;
    #[doc(hidden)]
    fn slot(&self) -> Option<&Slot>;
    #[doc(hidden)]
    fn keep(&self) -> Box<dyn Operand>;
    #[doc(hidden)]
    fn on_device(&self, device: &Device) -> Buffer;
    #[doc(hidden)]
    fn as_factor(&self, device: &Device) -> Buffer;
}

impl<S: Shape> Operand for Var<S> {
    fn values(&self) -> &[f32] {
        Var::values(self)
    }

    fn tangent(&self) -> Option<&[f32]> {
        Var::tangent(self)
    }

    fn step(&self) -> Option<usize> {
        match &self.data {
            Data::Outline(_, step) => *step,
            Data::Host(..) | Data::Remote(..) => None,
        }
    }

    fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    fn keep(&self) -> Box<dyn Operand> {
        Box::new(Self { tangent: None, ..self.clone() })
    }

    fn on_device(&self, device: &Device) -> Buffer {
        Var::on_device(self, device)
    }

    fn as_factor(&self, device: &Device) -> Buffer {
        Var::as_factor(self, device)
    }
}

/// An operation with its derivatives, backwards and forwards.
pub trait CustomOp: 'static {
    /// Writes all of `output` from the inputs; returns what the backward pass needs besides inputs and output.
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32>;

    /// What it is in a [trace](Graph::tracing); `None` of operations that only training has.
    fn operation(&self) -> Option<Operation> {
        None
    }

    /// How the output changes where inputs change along the tangents given, of which there is one at least: worked out
    /// directly behind [`forward`](Self::forward).
    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32>;

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

    /// Whether this input is a factor of a product: then a device has it in the type of its precision.
    fn multiplies(&self, _index: usize) -> bool {
        false
    }

    /// Whether the output is differentiated by this input: a gradient can flow to it, and its tangent counts.
    fn passes_gradient(&self, _index: usize) -> bool {
        true
    }

    /// The gradient for each input, `None` where [`BackwardContext::wanted`] is false.
    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>>;

    /// [`forward`](Self::forward) on a device: the output, and what the backward pass needs besides inputs and output.
    /// Types of values are as [`crate::device`] says.
    ///
    /// # Errors
    /// [`GpuError`].
    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError>;

    /// [`backward`](Self::backward) on a device. Gradients of parameters are in single precision; those of other inputs
    /// are in any type.
    ///
    /// # Errors
    /// [`GpuError`].
    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError>;
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

/// What an operation's backward pass on a device sees.
pub struct DeviceContext<'a> {
    /// The inputs' values as the forward pass had them; `None` for those not kept.
    pub inputs: &'a [Option<Buffer>],
    /// The output's values, if kept.
    pub output: Option<&'a Buffer>,
    /// What the forward pass returned beside its output.
    pub saved: &'a [Buffer],
    /// Gradient of the loss by the output, in the output's type.
    pub gradient: Buffer,
    /// Which inputs need a gradient.
    pub wanted: &'a [bool],
}

impl DeviceContext<'_> {
    /// An input that the operation keeps.
    ///
    /// # Panics
    /// If it does not.
    pub fn input(&self, index: usize) -> &Buffer {
        self.inputs[index].as_ref().expect("an input that is kept")
    }

    /// For each input that needs one, the gradient that `part` works out; inputs are counted from 0.
    ///
    /// # Errors
    /// The first of `part`.
    pub fn each_wanted(
        &self,
        part: impl Fn(usize) -> Result<Buffer, GpuError>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let parts = self.wanted.iter().enumerate();
        parts.map(|(index, wanted)| wanted.then(|| part(index)).transpose()).collect()
    }
}

fn new_slot() -> Slot {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Slot { tensor: Dev::default().tensor_from_vec(Vec::new(), [0]), number }
}
