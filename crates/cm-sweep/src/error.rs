//! Why a sweep's tasks cannot be made, done or collected.

use cm_experiment::{FolderError, RunError};
use cm_host::FileError;
use cm_study::RequestErrors;

/// Why a sweep's tasks cannot be made, done or collected.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// It has not what a command asks of it.
    #[error(transparent)]
    Request(#[from] RequestErrors),
    /// A file is not what it should be, or could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A task's own work came to no end.
    #[error(transparent)]
    Run(#[from] RunError),
    /// What starts or limits processes failed.
    #[error("{what}: {source}")]
    Failed {
        /// What was being done: `submitting to Slurm`.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<FolderError> for SweepError {
    fn from(error: FolderError) -> Self {
        Self::Run(error.into())
    }
}

impl SweepError {
    /// A failure to start or limit processes, while doing `what`.
    pub fn failed(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }

    /// Whether the user must change the input (exit code 2), rather than the work having failed (exit code 1).
    pub fn is_input(&self) -> bool {
        match self {
            Self::Request(_) => true,
            Self::File(error) => error.is_input(),
            Self::Run(error) => error.is_input(),
            Self::Failed { .. } => false,
        }
    }
}
