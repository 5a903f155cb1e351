//! What may be wrong with a file or a folder.

use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a file or a folder.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read or written while work went on.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The file system's answer.
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("{path}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Results cannot be written there.
    #[error("cannot write to {path}: {source}; name another folder with --out")]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// The file system's answer.
        source: io::Error,
    },
    /// Another process works on it.
    #[error("another process is working on {path}: wait for it, or name another folder with --out")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
}

impl FileError {
    /// A file that could not be read or written.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    /// A folder that results cannot be written to.
    pub fn not_writable(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::NotWritable { path, source }
    }

    /// A file that does not hold what it should, and why.
    pub fn damaged(path: impl AsRef<Path>, reason: impl ToString) -> Self {
        Self::Damaged { path: path.as_ref().to_owned(), reason: reason.to_string() }
    }

    /// Whether the user must change something (exit code 2), rather than the work having failed (exit code 1).
    pub fn is_input(&self) -> bool {
        match self {
            // A damaged file is something the user hands over with the folder.
            Self::Damaged { .. } | Self::Busy { .. } => true,
            // A disk that is full or fails is nobody's mistake.
            Self::NotWritable { source, .. } => is_of_the_place(source),
            Self::Io { .. } => false,
        }
    }
}

/// Whether another place would not have been refused.
fn is_of_the_place(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kinds = [
        Kind::NotFound,
        Kind::PermissionDenied,
        Kind::AlreadyExists,
        Kind::NotADirectory,
        Kind::IsADirectory,
        Kind::ReadOnlyFilesystem,
        Kind::InvalidInput,
        Kind::InvalidFilename,
    ];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_wrong_input() {
        let told = |kind: io::ErrorKind| FileError::not_writable("runs/a")(kind.into()).is_input();
        assert!(told(io::ErrorKind::PermissionDenied) && told(io::ErrorKind::NotADirectory));
        assert!(!told(io::ErrorKind::StorageFull) && !told(io::ErrorKind::QuotaExceeded));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_fails_is_no_wrong_input() {
        const EIO: i32 = 5;
        assert!(!FileError::not_writable("runs/a")(io::Error::from_raw_os_error(EIO)).is_input());
    }
}
