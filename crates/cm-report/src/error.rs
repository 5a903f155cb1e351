//! Why results cannot be shown.

use cm_experiment::{FolderError, RunError};
use cm_host::FileError;
use cm_study::InputErrors;

/// Why results cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// What is to be shown is a study file, and a wrong one.
    #[error(transparent)]
    Input(#[from] InputErrors),
    /// A file is not what it should be, or could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder is none of a study.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<FolderError> for ReportError {
    fn from(error: FolderError) -> Self {
        Self::Run(error.into())
    }
}

impl ReportError {
    /// Whether the user must change the input (exit code 2), rather than the work having failed (exit code 1).
    pub fn is_input(&self) -> bool {
        match self {
            Self::Input(_) => true,
            Self::File(error) => error.is_input(),
            Self::Run(error) => error.is_input(),
        }
    }
}
