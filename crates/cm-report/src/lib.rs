//! Results for people: a study or a run as one page of HTML that needs nothing else ([`write_page`], `cm report`), and
//! studies in one table beside published numbers ([`compare`], `cm table`). Curves that were measured before are laid under
//! one's own ([`write_curves`] makes such).
//!
//! What was asked, what was found, curves, losses by noise level, pictures, the plan, where it all comes from: read from
//! the folder, finished or not. Without the script of the page everything is there to read; with it, curves are zoomed
//! and read off, and pictures compared.
//!
//! Deliberately absent: training, models and event files, none of which are opened; computing anything but means; and
//! the network, which the page forbids itself. This crate may know `cm-study`, `cm-experiment` and the cards of
//! `cm-scoring`.
//!
//! ```no_run
//! # fn main() -> Result<(), cm_report::ReportError> {
//! let page = cm_report::write_page("runs/quickstart".as_ref(), None)?;
//! # let _ = page;
//! # Ok(())
//! # }
//! ```

mod axis;
mod best;
mod comparison;
mod error;
mod figure;
mod figures;
mod findings;
mod found;
mod grid;
mod metric;
mod over_axes;
mod page;
mod pictures;
mod pieces;
mod record;
mod reference;
mod scores;
mod thin;
mod wrapped;
mod write;

pub use comparison::{Comparison, TableFormat, compare, compare_with_published};
pub use error::ReportError;
pub use reference::{beside_reference, write_curves};
pub use write::write_page;
