//! The prepared form of a data set: images as bytes in a few large files, with an index.
//!
//! ```text
//! DIR/
//!   index.json          shape, classes, files with sizes and BLAKE3 hashes, where the images come from, its own hash
//!   train-00000.u8 ...  images one after the other, NHWC, a byte for each value
//!   train.labels        four bytes for each image, little-endian
//!   test-00000.u8 ...   the same for what is held out
//! ```
//!
//! Images are read by position when they are asked for, so a set of any size takes no memory but for its labels, and
//! a file that is cut short while it is read is an error. (A memory map would end the process then; with the
//! file system's cache, reading by position costs a microsecond for an image.)
//! Equal sources and settings give equal bytes: no clock is read. Deliberately absent: compression, other values than
//! bytes, changing a folder that is there.

mod index;
mod reader;
mod verify;
mod writer;

pub(crate) use index::INDEX;
pub use index::{Index, Part, Provenance, Sealed};
pub use reader::{Prepared, PreparedConfig};
pub use verify::{verify, verify_up_to};
pub use writer::{PrepareOptions, prepare};
