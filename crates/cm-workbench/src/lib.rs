//! What one does with a trained model and with weights of others: [`sample()`] from it, or from several on one sheet
//! ([`sample_side_by_side`]), [`edit()`] images with it, [`search_times`], [`import()`] and [`export()`] weights, make it a page
//! that draws ([`export_page`]), evaluate a network on another program's arrays
//! ([`denoise()`]), and prepare data sets ([`dataset`]).
//!
//! Deliberately absent: training and scoring by a plan (`cm-experiment`), comparing sets of images (`cm-scoring`). It
//! may know the runner's folders, networks and imported files, and no other crate of its own floor.
//!
//! ```no_run
//! # fn main() -> Result<(), cm_workbench::WorkbenchError> {
//! use cm_host::{Silent, StopFlag};
//! use cm_workbench::{ClassRequest, Evaluations, ModelRequest, SampleRequest, sample};
//! let request = SampleRequest {
//!     model: ModelRequest {
//!         path: "runs/quickstart/cd/seed-0".into(),
//!         ema: None,
//!         class: Some(ClassRequest::Number(3)),
//!     },
//!     teacher: false,
//!     out: "drawn".into(),
//!     count: 100,
//!     seed: None,
//!     quantisation: None,
//!     evaluations: Evaluations::Steps(1),
//!     guidance: None,
//!     clip: true,
//!     batch: None,
//!     single_files: false,
//! };
//! let drawn = sample(&request, &StopFlag::new(), &mut Silent)?;
//! # let _ = drawn;
//! # Ok(())
//! # }
//! ```

mod any_model;
pub mod dataset;
mod denoise;
mod drawing;
mod edit;
mod error;
mod export;
mod flow;
mod foreign;
mod import;
mod jumping;
mod model;
mod picture_file;
mod request;
mod sample;
mod search_times;
mod sheet;
mod ternary_search;
mod web;

pub use cm_diffusion::Guidance;
pub use denoise::{DenoiseRequest, Denoised, denoise};
pub use drawing::{Drawn, Evaluations, SampleRequest};
pub use edit::{EditRequest, EditTask, Edited, edit};
pub use error::WorkbenchError;
pub use export::{ExportFormat, ExportRequest, Exported, export};
pub use import::{ImportRequest, Imported, import};
pub use request::{ClassRequest, ModelRequest};
pub use sample::sample;
pub use search_times::{SearchTimes, search_times};
pub use sheet::{Sheet, SheetRow, sample_side_by_side};
pub use web::{MODULE, PageRequest, PageWritten, export_page};
