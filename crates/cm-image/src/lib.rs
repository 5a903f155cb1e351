//! The sample type every crate shares: [`ImageBatch`], its shape, its way to and from 8-bit pixels, PNG files
//! read and written, the changes of images that networks are told of, and the counter-based random numbers from which
//! every batch is made.
//!
//! Deliberately absent: tensors, autograd, data sets, file formats other than PNG, opening files. This crate knows no
//! other workspace crate. Random numbers live here because this is the one crate that every other may know.

mod affine;
pub mod augmentation;
mod batch;
mod grid;
pub mod picture;
mod quantise;
pub mod random;
mod read;
mod shape;

pub use batch::{BatchError, ImageBatch};
pub use grid::{GridError, contact_sheet, scatter_plot, write_png};
pub use quantise::{Quantisation, from_u8, to_u8, to_u8_truncated};
pub use read::{PngImage, ReadError};
pub use shape::ImageShape;

/// The label of an image whose class is not told to a network that knows classes.
pub const NO_CLASS: u32 = u32::MAX;
