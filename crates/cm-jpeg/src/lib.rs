//! JPEG pictures, decoded to the very pixels of libjpeg-turbo with its usual settings.
//!
//! Pillow, torchvision, and with them the original code, EDM's tools and the references of FID decode by that library.
//! Another decoder's rounding is seen by FID (Parmar et al. 2022): a colour cast of a quarter of a level, and 22% of
//! all values of CIFAR-10's images as JPEG files are other ones. No decoder in Rust gives the same pixels, so this crate is
//! one: Huffman-coded baseline and progressive pictures of 8 bits ([`decode`]), the accurate integer transform
//! (`idct.rs`), the triangle filter for chroma (`upsample.rs`), fixed-point colours (`colour.rs`).
//!
//! Deliberately absent: writing; arithmetic coding, 12 bits and lossless pictures, which are refused by name; orientation
//! and colour profiles; mending of damaged files. This crate knows no other of the workspace.

mod bits;
mod colour;
mod decode;
mod error;
mod frame;
mod huffman;
mod idct;
mod scan;
mod upsample;

pub use decode::{Picture, decode};
pub use error::JpegError;
