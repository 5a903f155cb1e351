//! Why a picture cannot be read.

/// Why [`decode`](crate::decode) gives no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// The file ends before the picture does.
    #[error("the file is cut: it ends {0}")]
    Cut(&'static str),
    /// Something in it cannot be.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// A kind of JPEG that is not read.
    #[error("{0}")]
    Unsupported(&'static str),
    /// It has more pixels than the caller allows.
    #[error("an image of {height}x{width}; at most {most} pixels are read")]
    TooLarge {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// What the caller allows.
        most: usize,
    },
}
