//! dfdx tensors, our operations on dfdx's tape, weights, and their file form.
//!
//! dfdx holds the data ([`Var`] wraps its tensor), the tape and the gradients; every hot operation is one of ours,
//! a [`CustomOp`] whose arithmetic is in `cm-kernels`, and a second time, for devices that the kernels cannot reach,
//! [`composed`] of dfdx's own operations. This is the only crate that knows how dfdx works inside, and of it only
//! [`custom_op`].
//!
//! Two departures from dfdx's own style keep network code readable:
//! * a forward pass takes a [`Graph`] that records or does not, so one piece of code serves training and
//!   inference, without a tape type parameter in any signature;
//! * weights live in a [`Weights`] set outside the layers, so that student, target, averages and teacher are one
//!   network function called with different sets.
//!
//! Deliberately absent: layers and networks (`cm-network`), noise levels (`cm-diffusion`), optimisers
//! (`cm-training`). May know `cm-kernels` and `cm-image`.

mod checkpoint;
pub mod collective;
pub mod composed;
pub mod composed_update;
pub mod custom_op;
pub mod devices;
pub mod fixed;
pub mod gradient_check;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod ops;
mod weights;

pub use checkpoint::{CheckpointError, TensorFile};
pub use custom_op::{
    BackwardContext, CustomOp, Dev, Gradients, Graph, Images, Matrix, OnAccelerator, Operand, Var, Vector,
    crossed, downloaded, scaled_rows, uploaded,
};
/// Makes tensors of a device from values; what [`composed`] takes.
pub use dfdx::tensor::TensorFromVec;
pub use weights::{ParameterId, Weights, WeightsError};
