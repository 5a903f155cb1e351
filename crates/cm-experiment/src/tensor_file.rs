//! Files of named arrays in a run's folder: checkpoints, models, snapshots, classifiers.

use crate::error::RunError;
use cm_host::{FileError, durable};
use cm_tensor::TensorFile;
use std::path::Path;
use std::{fs, io};

/// The content of a checkpoint or model file; `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<TensorFile>, FileError> {
    match fs::read(path) {
        Ok(bytes) => TensorFile::decode(&bytes).map(Some).map_err(|error| FileError::damaged(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::io(path)(source)),
    }
}

/// Writes a checkpoint or model file in one step.
pub(crate) fn write_file(path: &Path, file: &TensorFile) -> Result<(), RunError> {
    Ok(durable::write(path, &encode(file)?).map_err(FileError::io(path))?)
}

/// The bytes of such a file.
pub(crate) fn encode(file: &TensorFile) -> Result<Vec<u8>, RunError> {
    file.encode().map_err(|error| RunError::failed("encoding a checkpoint", error))
}
