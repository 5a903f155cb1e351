//! Why a file, or a tensor of it, was not read.

use std::io;

/// Why a file, or a tensor of it, was not read. The caller knows the path and names it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file system's answer.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The beginning of the file is that of no format read here.
    #[error(
        "none of the formats read here (PyTorch's zip and stream, pickled arrays, .npy, .npz, Flax msgpack, safetensors)"
    )]
    UnknownFormat,
    /// The file ends early.
    #[error("cut short: {wanted} bytes are needed at byte {at}, but only {left} are left")]
    Truncated {
        /// Position in the file.
        at: u64,
        /// Bytes that should be there.
        wanted: u64,
        /// Bytes that are.
        left: u64,
    },
    /// The file contradicts its format.
    #[error("not a well-formed file (near byte {at}): {reason}")]
    Malformed {
        /// Position in the file.
        at: u64,
        /// What is wrong.
        reason: String,
    },
    /// A pickle asks for something that is not built here.
    #[error(
        "refused: the pickle asks for `{0}`; only tensors, arrays, numbers, texts and plain containers are built (of a model, save its state dict)"
    )]
    Forbidden(String),
    /// A claim is beyond a limit.
    #[error("refused: {what} of {given} is beyond the limit of {limit}")]
    Limit {
        /// What is claimed.
        what: &'static str,
        /// The claim.
        given: u64,
        /// The limit.
        limit: u64,
    },
    /// A part of the file is of a kind that is not read here.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// There is no tensor of this name.
    #[error("there is no tensor `{0}`")]
    NoTensor(String),
}

impl ImportError {
    pub(crate) fn malformed(at: u64, reason: impl Into<String>) -> Self {
        Self::Malformed { at, reason: reason.into() }
    }

    /// An error unless `given` is within `limit`.
    pub(crate) fn limit(what: &'static str, given: u64, limit: u64) -> Result<(), Self> {
        if given <= limit { Ok(()) } else { Err(Self::Limit { what, given, limit }) }
    }
}
