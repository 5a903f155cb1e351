//! Why something could not be done with a model.

use cm_datasets::DatasetError;
use cm_experiment::{FolderError, RunError};
use cm_host::FileError;
use cm_study::RequestErrors;
use cm_training::RangeError;

/// Why something could not be done with a model.
#[derive(Debug, thiserror::Error)]
pub enum WorkbenchError {
    /// A model has not what a command asks of it.
    #[error(transparent)]
    Request(#[from] RequestErrors),
    /// A file is not what it should be, or could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The run that the model is of cannot be opened again.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A data set is not what it should be, or could not be written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Options of a command are out of range; all problems.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: "))]
    Options(Vec<RangeError>),
    /// The work itself failed.
    #[error("{what}: {source}")]
    Failed {
        /// What was being done: `drawing images`.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<FolderError> for WorkbenchError {
    fn from(error: FolderError) -> Self {
        Self::Run(error.into())
    }
}

impl WorkbenchError {
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
            Self::Request(_) | Self::Options(_) => true,
            Self::File(error) => error.is_input(),
            Self::Run(error) => error.is_input(),
            Self::Dataset(error) => error.is_input(),
            Self::Failed { .. } => false,
        }
    }
}
