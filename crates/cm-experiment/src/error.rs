//! Why a study was not run, or not to its end.

use crate::journal::JournalError;
use cm_datasets::DatasetError;
use cm_host::FileError;
use cm_network::feature_net::FeatureFileError;
use cm_scoring::ScoringError;
use cm_study::RequestErrors;
use std::path::PathBuf;

/// Something about a study's folder that its user must decide.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It holds the beginning of the same study.
    #[error(
        "{path} holds an unfinished run of this very plan: go on with `cm resume {path}`, or begin anew in its place with --overwrite"
    )]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// It holds another study.
    #[error(
        "{path} holds results of another plan: name another folder with --out or --name, or put the new ones in their place with --overwrite"
    )]
    OtherPlan {
        /// The folder.
        path: PathBuf,
    },
    /// It holds what this program did not write there.
    #[error("{path} is not only the folder of a study: {reason}; name another folder with --out or --name")]
    Stranger {
        /// The folder.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// It is not a study's folder.
    #[error(
        "{path} is not the folder of a study: it holds no readable plan.ron ({reason}); expected a folder such as runs/smoke"
    )]
    NoStudy {
        /// The folder.
        path: PathBuf,
        /// Why it cannot be read.
        reason: String,
    },
    /// It is of a version that kept no manifests.
    #[error(
        "{path} has no manifest.json: a version that kept none has written it, or it was removed, and nothing says that its results are as they were; look at them with `cm table`, and run the study anew with another --out"
    )]
    NoManifest {
        /// The folder.
        path: PathBuf,
    },
    /// What the study was begun with is not what is there now.
    #[error(
        "{input} has changed since the study in {study} was begun with it: {reason}; put it back, or run the study anew with another --out"
    )]
    InputChanged {
        /// The data set or the weights.
        input: PathBuf,
        /// The study's folder.
        study: PathBuf,
        /// How it differs.
        reason: String,
    },
    /// It is not the folder of a run from which averages can be worked out.
    #[error("{path}: no averages can be worked out here: {reason}")]
    NoAverages {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It holds no trained consistency model.
    #[error(
        "{path} holds no trained consistency model: {reason}; expected a folder such as runs/smoke/cd/seed-0"
    )]
    NoModel {
        /// The folder or file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
}

/// Why a study was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The study cannot be worked on as was asked.
    #[error(transparent)]
    Request(#[from] RequestErrors),
    /// The folder is not fit.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file of the study's folder is not what it should be, or could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The weights of a fixed network are not what they should be.
    #[error(transparent)]
    Features(#[from] FeatureFileError),
    /// A network of features or its statistics cannot be had.
    #[error(transparent)]
    Scoring(#[from] ScoringError),
    /// A data set is not what it should be.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The records could not be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The work itself failed.
    #[error("{what}: {source}")]
    Failed {
        /// What was being done: `training l1/seed-0`.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RunError {
    /// A failure of the work itself, while doing `what`.
    pub fn failed(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }

    /// Whether the user must change the input (exit code 2), rather than the run having failed (exit code 1).
    pub fn is_input(&self) -> bool {
        match self {
            Self::Request(_) | Self::Folder(_) | Self::Features(_) => true,
            Self::File(error) => error.is_input(),
            Self::Scoring(error) => error.is_input(),
            Self::Dataset(error) => error.is_input(),
            Self::Journal(JournalError::Changed(error)) => error.is_input(),
            Self::Journal(JournalError::File { .. } | JournalError::Picture { .. }) | Self::Failed { .. } => {
                false
            }
        }
    }
}

/// Why a part of a study did not come to its end.
#[derive(Debug)]
pub enum Halt {
    /// It was asked to stop. What a checkpoint does not hold is done again when the study goes on.
    Stopped,
    /// It failed.
    Failed(RunError),
}

impl<E: Into<RunError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// How a study that did not fail came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// It was run to its end.
    Finished {
        /// The study's folder.
        dir: PathBuf,
        /// Its table.
        table: String,
    },
    /// It was asked to stop, and left a checkpoint.
    Stopped {
        /// The study's folder, to be given to [`crate::resume`].
        dir: PathBuf,
    },
    /// It had been run before; nothing was done.
    AlreadyFinished {
        /// The study's folder.
        dir: PathBuf,
        /// Its table.
        table: String,
    },
    /// This process helped the first one of a group, which has the results.
    Followed,
}
