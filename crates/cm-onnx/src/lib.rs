//! A network's pass as an ONNX model: the generator that draws in one step, the denoiser, and the classifier that judges.
//!
//! The nodes are written from the operations that a pass applies ([`Graph::tracing`](cm_tensor::Graph::tracing)), so a network
//! of any family is exported by the same code. Operators are those of ONNX itself, of [`OPSET`]; images are N, C, H, W, and
//! N is free.
//!
//! Deliberately absent: files and folders, what a model is and where it comes from (`cm-workbench`), and reading ONNX. May
//! know networks, their passes and the cards of weights.

mod builder;
mod emission;
mod error;
mod file;
mod model;
mod precondition;
mod proto;
#[cfg(test)]
mod tests;

pub use error::OnnxError;
pub use file::OnnxFile;
pub use model::{Form, OPSET, encode, encode_classifier};
