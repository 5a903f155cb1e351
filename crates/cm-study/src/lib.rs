//! The language of studies: from RON text to a checked, priced [`Plan`], with every problem of a file and its place.
//!
//! [`load()`] reads a file into a [`StudyConfig`] (raw), checks it, and returns a [`Study`] with its plan (checked):
//! one [`PlannedRun`] for each arm and seed, each with a complete [`ExperimentConfig`]. All problems of a file are
//! reported together ([`InputErrors`]), each with file, line, column and what is allowed.
//!
//! Deliberately absent: doing what a plan says (`cm-experiment`), and the settings of data, networks and losses, which
//! live in their own crates: this one may know every crate that has settings, and no crate above. RON is read and
//! written here and nowhere else; others have [`to_ron`] and [`from_ron`].
//!
//! ```
//! let text = "(base: (dataset: GaussianMixture(), network: Mlp(widht: 16), teacher: Exact))";
//! let errors = cm_study::check("toy.ron".as_ref(), text).unwrap_err();
//! assert!(errors.problems().iter().any(|problem| problem.message.contains("did you mean `width`?")));
//! ```

mod advice;
mod arms;
mod beside;
mod change;
mod check;
mod check_augmentation;
mod check_evaluation;
mod check_first_stage;
mod check_guidance;
mod check_lpips;
mod check_methods;
mod check_samplers;
mod complaint;
mod cost;
mod derived;
mod describe;
mod diagnostics;
mod expected;
mod experiment_config;
mod explain;
mod feature_network;
mod first_stage_config;
mod flatten;
mod grid;
mod guide_config;
mod idle;
mod judged;
mod key;
mod load;
mod marks;
mod measured;
mod memory;
mod mid_training_config;
mod notation;
mod overrides;
mod parse;
mod plan;
mod price;
mod problem;
mod published;
mod samplers;
mod schedule;
mod schema;
mod shorten;
mod source_map;
mod study_config;
mod synonym;
mod template;
mod warnings;
mod weaker;
mod weights_card;

pub use change::{Change, ChangeError};
pub use check_samplers::{JumpSteps, jump_steps};
pub use cost::{ArmCost, TrainingCost};
pub use describe::describe_preset;
pub use diagnostics::{Diagnostic, InputErrors};
pub use experiment_config::{
    DistillationConfig, EvaluationConfig, ExperimentConfig, LoggingConfig, MethodConfig, TeacherFileConfig,
    TeacherSource,
};
pub use explain::{UnknownPlace, explain, reference, tree};
pub use feature_network::{
    FeatureNetworkConfig, INCEPTION_FEATURES, InceptionConfig, ReferenceConfig, StatisticsReference,
    TrainingReference,
};
pub use first_stage_config::FirstStageConfig;
pub use flatten::{Leaf, flatten};
pub use grid::{
    GridAxis, GridPoint, GridSyntaxError, grid_head, grid_labels, grid_name, grid_of, grid_points,
};
pub use guide_config::{GuideConfig, WeakerConfig};
pub use judged::{JUDGE_CHANNELS, MOST_HELD, features};
pub use key::{TeacherKey, baseline_key};
pub use load::{Study, check, label, load, load_to_plan, load_with, read_text};
pub use memory::{MemoryNeed, bytes};
pub use mid_training_config::MidTrainingConfig;
pub use notation::{from_ron, to_ron};
pub use overrides::{Override, OverrideSyntaxError, apply as apply_overrides};
pub use plan::{Checked, Plan, PlannedArm, PlannedRun, is_file_name};
pub use price::{CalibrationError, duration};
pub use problem::{Problem, Problems, RequestErrors};
pub use published::PublishedValue;
pub use samplers::{
    AncestralConfig, ChurnedConfig, DpmSolverPlusPlusConfig, FlowConfig, GammaConfig, JumpsConfig,
    MultistepConfig, StudentSamplerConfig, TeacherMethodConfig, TeacherSamplerConfig,
};
pub use schema::{json_form, schema};
pub use study_config::{ArmConfig, ArmsConfig, StudyConfig};
pub use template::template;
pub use weights_card::{IddpmConfig, PreconditionConfig, VpConfig, WeightsCard};
