//! Files of named arrays in a run's folder: checkpoints, models, snapshots, classifiers.

use crate::error::RunError;
use cm_host::{FileError, durable};
use cm_tensor::TensorFile;
use std::path::Path;

/// The content of a checkpoint or model file; `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<TensorFile>, FileError> {
    let content = durable::read(path)?.map(|bytes| TensorFile::decode(&bytes)).transpose();
    content.map_err(|error| FileError::damaged(path, error))
}

/// Writes a checkpoint or model file in one step.
pub(crate) fn write_file(path: &Path, file: &TensorFile) -> Result<(), RunError> {
    Ok(durable::write(path, &encode(file)?).map_err(FileError::io(path))?)
}

/// The bytes of such a file.
pub(crate) fn encode(file: &TensorFile) -> Result<Vec<u8>, RunError> {
    file.encode().map_err(|error| RunError::failed("encoding a checkpoint", error))
}
