//! The page as a file.

use crate::error::ReportError;
use crate::findings::Findings;
use crate::page;
use crate::reference::Reference;
use cm_host::{FileError, durable};
use std::path::{Path, PathBuf};

/// Writes the page of the study or run in `folder` to `out`, or to `report.html` in the folder, and returns where it
/// is. Of a study that is not finished, what there is.
///
/// # Errors
/// [`FolderError`](cm_experiment::FolderError) if it is no folder of a study or run, [`FileError::Damaged`] if a file in it does
/// not hold what this program wrote there, [`FileError::Io`] if the page cannot be written.
pub fn write_page(folder: &Path, out: Option<&Path>) -> Result<PathBuf, ReportError> {
    let findings = Findings::read(folder)?;
    let reference = Reference::of(&findings)?;
    let path = out.map_or_else(|| folder.join("report.html"), Path::to_owned);
    durable::write(&path, page::html(&findings, reference.as_ref()).as_bytes())
        .map_err(FileError::io(&path))?;
    Ok(path)
}
