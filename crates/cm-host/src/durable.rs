//! Files that are either whole or not there, whatever happens while they are written.

use crate::FileError;
use crate::unfinished::NewFile;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

pub use crate::folder::sync_folder;

/// Replaces the file at `path` in one step: a temporary file in the same folder is written, brought to the disk,
/// renamed, and the folder's entry brought to the disk.
///
/// # Errors
/// Whatever the file system answers; the old file is then still there.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, |out| out.write_all(bytes))
}

/// As [`write`](fn@write), of what `content` writes, which need not be in memory at once.
///
/// # Errors
/// What `content` or the file system answers; the old file is then still there.
pub fn write_with(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let (new, file) = NewFile::begin(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    content(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    new.finish()
}

/// The bytes of a file; `None` if it is not there.
///
/// # Errors
/// [`FileError::Io`] if it cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::io(path)(error)),
    }
}

/// Removes a file, if it is there.
///
/// # Errors
/// Whatever the file system answers.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a folder, and those above it that are not there, and brings their names to the disk.
///
/// # Errors
/// Whatever the file system answers.
pub fn create_folders(path: &Path) -> io::Result<()> {
    crate::folder::create_folders(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"first, longer").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "x").unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("missing/a.txt"), b"new").is_err());
    }

    #[test]
    fn what_is_not_there_is_none_to_read_and_nothing_to_remove() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        assert!(read(&path).unwrap().is_none() && remove(&path).is_ok());
        write(&path, b"x").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"x");
        assert!(read(folder.path()).is_err() && remove(folder.path()).is_err());
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
