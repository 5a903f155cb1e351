//! Why a comparison of sets of images has no result.

use cm_host::FileError;
use cm_network::feature_net::FeatureFileError;
use cm_study::RequestErrors;

/// Why a comparison of sets of images has no result.
#[derive(Debug, thiserror::Error)]
pub enum ScoringError {
    /// What was typed cannot be.
    #[error(transparent)]
    Request(#[from] RequestErrors),
    /// A file is not what it should be, or cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The weights of a fixed network are not what they should be.
    #[error(transparent)]
    Features(#[from] FeatureFileError),
    /// The work itself failed.
    #[error("{what}: {source}")]
    Failed {
        /// What was being done: `comparing the two sets`.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ScoringError {
    /// A failure of the work itself, while doing `what`.
    pub fn failed(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }

    /// Whether the user must change the input (exit code 2), rather than the work having failed (exit code 1).
    pub fn is_input(&self) -> bool {
        match self {
            Self::Request(_) | Self::Features(_) => true,
            Self::File(error) => error.is_input(),
            Self::Failed { .. } => false,
        }
    }
}
