//! From a RON file to a report: the one crate that knows all others below the command line.
//!
//! # The way of a study
//! 1. [`load()`] reads a file into a [`StudyConfig`] (raw), checks it, and returns a [`Study`] with its [`Plan`]
//!    (checked): one [`PlannedRun`] per arm and seed, each with a complete [`ExperimentConfig`]. All problems of a
//!    file are reported together ([`InputErrors`]), each with file, line, column and what is allowed.
//! 2. [`run`] does the plan in a [`StudyDir`], [`resume`] goes on with one that was stopped. What is written while a
//!    run works is its [`Journal`]; what a user sees meanwhile goes through [`Progress`]; a [`StopFlag`] asks for an
//!    end after a checkpoint.
//! 3. The scores of all runs become a report of [`ReportRow`]s, as CSV and as a table.
//! 4. A finished run's model is opened again as [`Trained`]: to [`sample()`] from it, to [`edit()`] images with it, to
//!    [`search_times`].
//! 5. [`evaluation`] compares sets of images, wherever they come from, as published evaluators do.
//!
//! Deliberately absent: printing, argument parsing, exit codes (`cm-cli`), and every formula of the paper.
//! Nothing below this crate reads or writes RON.

mod arms;
mod assemble;
pub mod bench;
mod change;
mod check;
mod check_samplers;
mod classifier;
mod comparison;
mod config;
mod context;
mod cost;
pub mod dataset;
mod denoise;
mod devices;
mod diagnostics;
mod durable;
mod edit;
mod error;
pub mod evaluation;
mod event_file;
mod export;
mod flatten;
mod foreign;
mod import;
mod journal;
mod judge;
mod jumping;
mod load;
mod loss_bins;
mod mid_training;
mod model;
mod npz;
mod overrides;
mod paired;
mod parse;
mod phase;
mod picture;
mod plan;
mod post_hoc;
mod price;
mod processes;
mod progress;
mod provenance;
mod published;
mod report;
mod request;
mod run;
mod run_dir;
mod sample;
mod samplers;
mod schedule;
mod search_times;
mod seed;
mod source_map;
mod stop;
mod student;
mod student_model;
pub mod sweep;
mod table;
mod teacher;
mod ternary_search;
mod threads;
mod trained;
mod weights_file;

pub use change::{Change, ChangeError};
pub use classifier::{ClassifierError, accuracy, train_classifier};
pub use cm_datasets::prepared::PrepareOptions;
pub use cm_datasets::{Format as DatasetFormat, LabelRule as DatasetLabels, SourceConfig as DatasetSource};
pub use cm_network::Preset;
pub use cm_tensor::devices::check_accelerator;
#[cfg(feature = "mpi")]
pub use cm_tensor::mpi::MpiSession;
pub use comparison::{Comparison, TableFormat, compare};
pub use config::{
    ArmConfig, ArmsConfig, DistillationConfig, EvaluationConfig, ExperimentConfig, LoggingConfig,
    MethodConfig, StudyConfig, TeacherFileConfig, TeacherSource,
};
pub use cost::{ArmCost, TrainingCost, describe_preset};
pub use denoise::{DenoiseRequest, Denoised, denoise};
pub use devices::describe_devices;
pub use diagnostics::{Diagnostic, InputErrors};
pub use edit::{EditRequest, EditTask, Edited, edit};
pub use error::{FolderError, RunError, RunOutcome};
pub use event_file::EventFile;
pub use export::{ExportRequest, Exported, export};
pub use import::{ImportRequest, Imported, import};
pub use journal::{Journal, JournalError};
pub use load::{Study, check, load, load_to_plan, load_with};
pub use mid_training::MidTrainingConfig;
pub use overrides::{Override, OverrideSyntaxError};
pub use plan::{Checked, Plan, PlannedArm, PlannedRun, Problem};
pub use processes::is_first;
pub use progress::{Progress, Silent};
pub use provenance::Provenance;
pub use published::PublishedValue;
pub use report::write_page;
pub use request::{ModelRequest, RequestErrors};
pub use run::{post_hoc_ema, resume, run};
pub use run_dir::{Opened, RunDir, StudyDir, TeacherKey};
pub use sample::{Drawn, Evaluations, SampleRequest, sample};
pub use samplers::{
    AncestralConfig, ChurnedConfig, DpmSolverPlusPlusConfig, FlowConfig, GammaConfig, JumpsConfig,
    MultistepConfig, StudentSamplerConfig, TeacherMethodConfig, TeacherSamplerConfig,
};
pub use search_times::{SearchTimes, search_times};
pub use seed::NamedSeeds;
pub use stop::StopFlag;
pub use table::{REPORT_HEADER, ReportError, ReportRow};
pub use threads::{ThreadsError, on_threads};
pub use trained::Trained;
pub use weights_file::{PreconditionConfig, WeightsCard, WeightsFile};
