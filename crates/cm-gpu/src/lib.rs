//! A GPU engine: devices and libraries found at run time, memory, launches, and kernels of our own in CUDA C++.
//!
//! The kernels lie in `kernels/`, one concept a file, and are part of the program as text. The GPU's own compiler makes
//! them ready when they are first wanted ([`compile`]), and its work is kept in the user's cache folder. A program with
//! this crate in it is built without anything of CUDA, and starts on any machine: [`libraries`] says what was looked for
//! and not found.
//!
//! Each operation has the contract of its twin in `cm-kernels`, on [`Buffer`]s instead of slices: NHWC, sizes checked by
//! panics, whole outputs. The order of every sum depends on sizes alone, so the same card gives the same bits each time.
//!
//! Tests run the same kernels on the CPU: the host's C++ compiler builds them over a shim of CUDA's threads
//! (`standin/`), and a stand-in for the driver launches them, so that all of this crate runs where there is no GPU.
//!
//! Deliberately absent: tensors and autograd (`cm-tensor`'s), random numbers, and any other crate of this workspace but
//! `cm-kernels` in tests.

mod arena;
mod buffer;
pub mod compile;
mod copies;
mod element;
mod error;
mod gathered;
mod gpu;
mod launch;
pub mod libraries;
mod signature;
pub mod source;
#[cfg(feature = "standin")]
pub mod standin;

pub mod activation;
pub mod attention;
pub mod conv2d;
pub mod distance;
pub mod dropout;
pub mod elementwise;
pub mod group_norm;
pub mod magnitude;
pub mod pool;
pub mod resample;
pub mod softmax;
pub mod update;

pub use arena::MemoryUse;
pub use buffer::Buffer;
pub use element::{Element, Scalar};
pub use error::GpuError;
pub use gpu::{GRAPHS_VARIABLE, Gpu, Options, Work};
pub use libraries::{Device, devices};
