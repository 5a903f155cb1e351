//! Files of other programs as named tensors: PyTorch's two layouts, TorchScript archives, pickled NumPy arrays,
//! `.npy` and `.npz`, Flax's msgpack, safetensors.
//!
//! ```no_run
//! let mut archive = cm_import::Archive::open("vgg16.pth".as_ref())?;
//! for tensor in archive.tensors() {
//!     println!("{} {:?} {:?}", tensor.name, tensor.dtype, tensor.shape);
//! }
//! let kernel: Vec<f32> = archive.read("features.0.weight")?;
//! # Ok::<(), cm_import::ImportError>(())
//! ```
//!
//! [`Archive::open`] reads names, shapes and places; [`Archive::read`] reads the values of one tensor, so a file of any
//! size takes the memory of its largest tensor. A file is not trusted: a pickle builds nothing but containers, numbers
//! and tensors, whatever it asks for; a claim is compared with the length of the file before anything is allocated for
//! it; nothing is ever written or executed. The limits are in `limits.rs`.
//!
//! A pickled network, as `torch_utils.persistence` writes it, is its tensors under the names of its state dict, and
//! [`Archive::modules`]: names of classes, and numbers. The source text that comes along is not looked at.
//!
//! Pickles of data sets, which are dictionaries of arrays and lists, are read by [`PickledDict`].
//!
//! Deliberately absent: networks, the meaning of names, writing. Knows no crate of this workspace.

mod archive;
mod dtype;
mod error;
mod flax;
mod input;
mod limits;
mod module;
mod numpy;
mod pickle;
mod pickled_dict;
mod place;
mod pytorch;
mod safe;
#[cfg(test)]
mod tests;
mod zipped;

pub use archive::{Archive, Format, TensorInfo};
pub use dtype::Dtype;
pub use error::ImportError;
pub use module::{Attribute, ModuleInfo};
pub use pickled_dict::{PickledArray, PickledDict};
pub use pytorch::EXTRA_FILES;
