//! A study or a run as one page of HTML that needs nothing else: `cm report`.
//!
//! [`Findings`] are read from the folder, finished or not, and [`page::html`] writes them down: what was asked, what
//! was found, curves, losses by noise level, pictures, the plan, where it all comes from. Without the script of the
//! page everything is there to read; with it, curves are zoomed and read off, and pictures compared. Deliberately
//! absent: training, models and event files, none of which are opened; and the network, which the page forbids itself.

mod axis;
mod figure;
mod figures;
mod findings;
mod found;
mod page;
mod record;
mod scores;

use crate::durable;
use crate::error::RunError;
pub(crate) use findings::Findings;
use std::path::{Path, PathBuf};

/// Writes the page of the study or run in `folder` to `out`, or to `report.html` in the folder, and returns where it
/// is. Of a study that is not finished, what there is.
///
/// # Errors
/// [`FolderError`](crate::FolderError) if it is no folder of a study or run, [`RunError::Damaged`] if a file in it does
/// not hold what this program wrote there, [`RunError::File`] if the page cannot be written.
pub fn write_page(folder: &Path, out: Option<&Path>) -> Result<PathBuf, RunError> {
    let findings = Findings::read(folder)?;
    let path = out.map_or_else(|| folder.join("report.html"), Path::to_owned);
    durable::write(&path, page::html(&findings).as_bytes()).map_err(RunError::file(&path))?;
    Ok(path)
}
