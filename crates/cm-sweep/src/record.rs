//! What is known of a task's attempts, beside its results.

use cm_host::{FileError, durable};
use cm_study::{from_ron, to_ron};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::{fs, io};

/// How the last attempt ended, as far as the attempt itself could say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) enum Ending {
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
pub(crate) struct TaskRecord {
    /// How often it was begun.
    pub(crate) attempts: u32,
    /// How the last attempt ended.
    pub(crate) ending: Ending,
    /// Why the last attempt failed; empty if it did not.
    pub(crate) error: String,
    /// Machine and process of the last attempt.
    pub(crate) host: String,
    pub(crate) process: u32,
    /// Seconds of all attempts that told their end.
    pub(crate) seconds: f64,
}

impl TaskRecord {
    /// What was written; that of no attempt if nothing was.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        match fs::read_to_string(path) {
            Ok(text) => from_ron(&text).map_err(|error| FileError::damaged(path, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(FileError::Io { path: path.to_owned(), source }),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), FileError> {
        durable::write(path, to_ron(self).as_bytes()).map_err(FileError::io(path))
    }
}

/// The name of this machine.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
