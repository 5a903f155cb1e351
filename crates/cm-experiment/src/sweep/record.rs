//! What is known of a task's attempts, beside its results.

use crate::durable;
use crate::error::RunError;
use crate::plan::to_ron;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// How the last attempt ended, as far as the attempt itself could say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Ending {
    /// It did not say: it is still working, or was killed.
    #[default]
    None,
    /// It finished the task.
    Finished,
    /// It was asked to stop.
    Stopped,
    /// It failed.
    Failed,
}

/// The attempts at a task. Its times are clocks, so none of it goes into results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TaskRecord {
    /// How often it was begun.
    pub(super) attempts: u32,
    /// How the last attempt ended.
    pub(super) ending: Ending,
    /// Why the last attempt failed; empty if it did not.
    pub(super) error: String,
    /// Machine and process of the last attempt.
    pub(super) host: String,
    pub(super) process: u32,
    /// Seconds of all attempts that told their end.
    pub(super) seconds: f64,
}

impl TaskRecord {
    /// What was written; that of no attempt if nothing was.
    pub(super) fn read(path: &Path) -> Result<Self, RunError> {
        match fs::read_to_string(path) {
            Ok(text) => crate::parse::options()
                .from_str(&text)
                .map_err(|error| RunError::Damaged { path: path.to_owned(), reason: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(RunError::File { path: path.to_owned(), source }),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), RunError> {
        durable::write(path, to_ron(self).as_bytes()).map_err(RunError::file(path))
    }
}

/// The name of this machine.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
