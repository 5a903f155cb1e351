//! The runner: from a [`Plan`](cm_study::Plan) to a folder of results.
//!
//! 1. [`run`] does the plan of a [`Study`](cm_study::Study) in a [`StudyDir`], [`resume`] goes on with one that was
//!    stopped. What is written while a run works is its [`Journal`]; what a user sees meanwhile goes through
//!    [`Progress`](cm_host::Progress); a [`StopFlag`](cm_host::StopFlag) asks for an end after a checkpoint.
//! 2. The pieces of one run, for those who do them apart (sweeps), are [`Run`]'s methods.
//! 3. The scores of all runs become a report of [`ReportRow`]s, as CSV and as a [`table`].
//! 4. Every folder of results has a manifest with a seal of each file; results are read as [`SealedFolder`]s, and
//!    [`verify`] checks all of a study, [`status()`] says how far it is.
//! 5. A finished run's model is opened again as [`Trained`], a teacher's as [`TrainedTeacher`]; weights from elsewhere as
//!    [`WeightsFile`].
//!
//! Deliberately absent: the language of studies (`cm-study`), what one does with a trained model (`cm-workbench`),
//! printing, argument parsing, exit codes (`cm-cli`), and every formula of the paper. It may know `cm-study`,
//! `cm-scoring` (the Inception network and its statistics, as `cm evaluate` has them) and all below, and none of `cm-workbench`, `cm-sweep`, `cm-report`.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use cm_host::{Silent, StopFlag};
//! let study = cm_study::load("experiments/smoke.ron".as_ref())?;
//! let outcome = cm_experiment::run(&study, "runs".as_ref(), &StopFlag::new(), &mut Silent)?;
//! # let _ = outcome;
//! # Ok(())
//! # }
//! ```

mod assemble;
mod cautions;
mod checkpoints;
mod classifier;
mod context;
mod continuation;
mod copies;
mod curves;
mod error;
mod event_file;
mod execute;
mod inception_reference;
mod inputs;
mod journal;
mod judge;
mod loss_bins;
mod memory;
mod mid_training;
mod model_card;
mod model_file;
mod networks;
mod opened_model;
pub mod paired;
mod parts;
mod phase;
mod post_hoc;
mod processes;
mod products;
mod run;
mod run_dir;
mod sealed;
mod seed;
mod signs;
mod snapshots;
mod start;
mod status;
mod student;
mod student_model;
mod student_step;
mod study_dir;
pub mod table;
mod teacher;
mod tensor_file;
mod trained;
mod trained_teacher;
mod verify;
mod weights_file;

pub use assemble::student_sampler;
pub use cautions::cautions;
pub use classifier::{ClassifierError, accuracy, train_classifier};
pub use context::Context;
pub use copies::COPIES;
pub use curves::Curve;
pub use error::{FolderError, Halt, RunError, RunOutcome};
pub use event_file::EventFile;
pub use execute::{gather, resume, run, run_in_place};
pub use inputs::check_prepared;
pub use journal::{Journal, JournalError, Seen};
pub use judge::JUDGE_FILE;
pub use loss_bins::BINS;
pub use memory::check_memory;
pub use model_card::{MODEL_CARD, ModelCard, last_pictures};
pub use post_hoc::post_hoc_ema;
pub use processes::is_first;
pub use run::Run;
pub use run_dir::RunDir;
pub use sealed::{SealedFolder, identity_of, seal};
pub use seed::NamedSeeds;
pub use signs::signs;
pub use status::{StudyStatus, TrainingState, TrainingStatus, status};
pub use student_model::Student;
pub use study_dir::{Opened, StudyDir};
pub use table::ReportRow;
pub use trained::Trained;
pub use trained_teacher::{TrainedModel, TrainedTeacher};
pub use verify::{Verified, verify};
pub use weights_file::WeightsFile;
