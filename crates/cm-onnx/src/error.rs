//! Why a network is no ONNX model.

/// Why a network is no ONNX model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// Only a consistency model draws in one evaluation.
    #[error("a diffusion model does not draw in one evaluation; its denoiser can be exported")]
    NoGenerator,
    /// The network jumps between two noise levels.
    #[error("the network takes a second time, and an exported model has one noise level for each image")]
    SecondTime,
}
