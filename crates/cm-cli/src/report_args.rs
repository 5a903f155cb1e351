//! What can be typed after `cm report`.

use std::path::PathBuf;

/// Of what a page is written, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// The folder of a study, such as runs/smoke, or of one of its runs, such as runs/smoke/cd/seed-0.
    pub(crate) folder: PathBuf,
    /// The file to write; without it, report.html in the folder.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}
