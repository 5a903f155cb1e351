//! dfdx tensors, our operations on dfdx's tape, weights, and their file form.
//!
//! dfdx holds the data ([`Var`] wraps its tensor), the tape and the gradients; every hot operation is one of ours,
//! a [`CustomOp`] whose arithmetic is in `cm-kernels` for the CPU and in `cm-gpu` for a [`device`]. This is the only
//! crate that knows how dfdx works inside, and of it only [`custom_op`]; what lies beneath `cm-gpu`'s buffers it does not
//! know.
//!
//! Two departures from dfdx's own style keep network code readable:
//! * a forward pass takes a [`Graph`] that records or does not, so one piece of code serves training and
//!   inference, without a tape type parameter in any signature;
//! * weights live in a [`Weights`] set outside the layers, so that student, target, averages and teacher are one
//!   network function called with different sets.
//!
//! Deliberately absent: layers and networks (`cm-network`), noise levels (`cm-diffusion`), optimisers
//! (`cm-training`). May know `cm-kernels`, `cm-gpu` and `cm-image`.

mod checkpoint;
pub mod collective;
pub mod custom_op;
pub mod device;
pub mod device_update;
pub mod devices;
pub mod fixed;
pub mod gradient_check;
#[cfg(feature = "mpi")]
pub mod mpi;
mod operation;
pub mod ops;
#[cfg(unix)]
pub mod sockets;
pub mod together;
mod weights;

pub use checkpoint::{CheckpointError, TensorFile};
/// Values on a [`device`].
pub use cm_gpu::Buffer;
pub use custom_op::{
    BackwardContext, CustomOp, Dev, DeviceContext, Gradients, Graph, Images, Matrix, Operand, Source, Step,
    TangentContext, Trace, Var, Vector, scaled_rows,
};
pub use operation::{Given, Operation};
pub use weights::{ParameterId, Weights, WeightsError};
