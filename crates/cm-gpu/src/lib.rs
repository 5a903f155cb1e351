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
//! Where there is no driver to be had at all, in a browser, a GPU is a type without a value (`absent`), and operations
//! compile as everywhere.
//!
//! Deliberately absent: tensors and autograd (`cm-tensor`'s), random numbers, and any other crate of this workspace but
//! `cm-kernels` in tests.

#[cfg(target_arch = "wasm32")]
mod absent;
#[cfg(not(target_arch = "wasm32"))]
mod arena;
#[cfg(not(target_arch = "wasm32"))]
mod buffer;
#[cfg(not(target_arch = "wasm32"))]
pub mod compile;
#[cfg(not(target_arch = "wasm32"))]
mod copies;
mod description;
mod element;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod gathered;
#[cfg(not(target_arch = "wasm32"))]
mod gpu;
#[cfg(not(target_arch = "wasm32"))]
mod launch;
#[cfg(not(target_arch = "wasm32"))]
pub mod libraries;
#[cfg(not(target_arch = "wasm32"))]
mod products;
#[cfg(not(target_arch = "wasm32"))]
mod signature;
pub mod source;
#[cfg(not(target_arch = "wasm32"))]
mod staging;
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
#[cfg(not(target_arch = "wasm32"))]
mod together;
pub mod update;

#[cfg(target_arch = "wasm32")]
use absent::launch;
#[cfg(target_arch = "wasm32")]
pub use absent::{Buffer, Gpu, Invitation, Options, Together, libraries};
#[cfg(not(target_arch = "wasm32"))]
pub use buffer::Buffer;
pub use description::{Choosing, Device, MemoryUse};
pub use element::{Element, Scalar};
pub use error::GpuError;
#[cfg(not(target_arch = "wasm32"))]
pub use gpu::{GRAPHS_VARIABLE, Gpu, Options, Work};
pub use libraries::devices;
#[cfg(not(target_arch = "wasm32"))]
pub use products::cudnn_plans;
#[cfg(not(target_arch = "wasm32"))]
pub use together::{Invitation, Together};
