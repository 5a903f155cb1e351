//! What can be typed after `cm report` and `cm table`.

use clap::ValueEnum;
use cm_report::TableFormat;
use std::path::PathBuf;

/// Of what a page is written, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// The folder of a study, such as runs/smoke, or of one of its runs, such as runs/smoke/cd/seed-0.
    pub(crate) folder: PathBuf,
    /// The file to write; without it, report.html in the folder.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Instead of the page, write the curves of a finished study to this file, for others to be laid under theirs.
    #[arg(long, conflicts_with = "out")]
    pub(crate) curves: Option<PathBuf>,
}

/// Of what a table is made, and how it is written.
#[derive(Debug, clap::Args)]
pub(crate) struct TableArgs {
    /// Folders of studies or runs, such as runs/smoke; or study files, whose runs are then all missing.
    #[arg(required = true)]
    pub(crate) studies: Vec<PathBuf>,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = FormatName::Markdown)]
    pub(crate) format: FormatName,
}

/// The names of [`TableFormat`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FormatName {
    /// Aligned for the terminal, with the differences seed by seed.
    Markdown,
    /// A line for each number.
    Csv,
    /// A `tabular`.
    Latex,
}

impl From<FormatName> for TableFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Markdown => Self::Markdown,
            FormatName::Csv => Self::Csv,
            FormatName::Latex => Self::Latex,
        }
    }
}
