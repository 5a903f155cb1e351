//! What an arm of a study may change: one variant for each knob of an ablation, typed.
//!
//! Deliberately absent: changes by path or by string. A new knob is a new variant here, with its path (for error
//! messages) and its assignment.

use crate::experiment_config::{EvaluationConfig, ExperimentConfig, MethodConfig, TeacherSource};
use crate::first_stage_config::FirstStageConfig;
use crate::guide_config::GuideConfig;
use crate::mid_training_config::MidTrainingConfig;
use crate::samplers::{StudentSamplerConfig, TeacherSamplerConfig};
use cm_consistency::{
    CouplingConfig, CurriculumConfig, DistanceConfig, InitConfig, TargetConfig, TruncationConfig,
};
use cm_datasets::DatasetConfig;
use cm_diffusion::{DiscretisationConfig, Guidance, IndexLawConfig, SolverConfig, WeightingConfig};
use cm_network::NetworkConfig;
use cm_training::{
    AugmentationConfig, EmaConfig, LearningRateConfig, OptimiserConfig, Precision, SnapshotsConfig,
};
use serde::{Deserialize, Serialize};

/// One change to an experiment. Each replaces the whole of what it names, so `LearningRate(peak: 1e-4)` also brings
/// back the default warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Change {
    /// The data.
    Dataset(DatasetConfig),
    /// The network of teacher and student.
    Network(NetworkConfig),
    /// Whether teacher and student are told classes.
    ClassConditional(bool),
    /// How the products of networks are computed; anything but `F32` needs a GPU.
    Precision(Precision),
    /// The share of values dropped in the network of teacher and student while training, in [0, 1), of a teacher without
    /// its own.
    Dropout(f32),
    /// The teacher.
    Teacher(TeacherSource),
    /// How far the teacher is guided.
    Guidance(Guidance),
    /// By what it is guided.
    Guide(GuideConfig),
    /// Distillation or training.
    Method(MethodConfig),
    /// The training between the teacher's and the student's; `None` for none.
    MidTraining(Option<MidTrainingConfig>),
    /// The consistency training before the student's own; `None` for none.
    FirstStage(Option<FirstStageConfig>),
    /// The solver of the teacher's step; fits distillation only.
    Solver(SolverConfig),
    /// The weights the student starts from.
    Init(InitConfig),
    /// Range and spacing of the noise levels.
    Discretisation(DiscretisationConfig),
    /// The number of noise levels over the run.
    Curriculum(CurriculumConfig),
    /// How often each pair of noise levels is drawn.
    IndexLaw(IndexLawConfig),
    /// The network that makes the target.
    Target(TargetConfig),
    /// The distance of the loss.
    Distance(DistanceConfig),
    /// The weight of a pair.
    Weighting(WeightingConfig),
    /// The segments within which the model is consistent, at least 1.
    Segments(usize),
    /// Which image the points of a pair belong to.
    Coupling(CouplingConfig),
    /// Training at the upper noise levels alone; `None` for all.
    Truncation(Option<TruncationConfig>),
    /// The student's optimiser.
    Optimiser(OptimiserConfig),
    /// The student's learning rate.
    LearningRate(LearningRateConfig),
    /// Images of a step of the student, 1 to 2^20.
    BatchSize(usize),
    /// Images the student sees in all, 1 to 2^50.
    TotalImages(u64),
    /// The largest norm of the student's gradient, above 0; `None` for no clipping.
    GradientClip(Option<f32>),
    /// The averages of the student's weights that are evaluated.
    EvaluationEma(Vec<EmaConfig>),
    /// The snapshots from which further averages of the student are worked out; `None` for none.
    Snapshots(Option<SnapshotsConfig>),
    /// Whether the student's images are mirrored left to right at random.
    HorizontalFlips(bool),
    /// The changes that the student's images go through; `None` for none.
    Augmentation(Option<AugmentationConfig>),
    /// The samplers of the student.
    Samplers(Vec<StudentSamplerConfig>),
    /// The sampler of the teacher.
    TeacherSampler(TeacherSamplerConfig),
    /// The whole evaluation.
    Evaluation(EvaluationConfig),
}

/// Why a change does not fit what it is made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Consistency training has no solver.
    #[error("a solver belongs to distillation, but the method is training")]
    SolverOfTraining,
    /// Progressive distillation is defined by Euler's steps, and shortcut models have no teacher.
    #[error("a solver belongs to consistency distillation, but the method is another")]
    SolverOfJumps,
    /// In continuous time there is no step to solve.
    #[error("a solver belongs to consistency distillation, but in continuous time there is no step")]
    SolverOfContinuousTime,
}

impl Change {
    /// The path of what it replaces, inside an [`ExperimentConfig`].
    pub fn path(&self) -> &'static str {
        match self {
            Self::Dataset(_) => "dataset",
            Self::Network(_) => "network",
            Self::ClassConditional(_) => "class_conditional",
            Self::Precision(_) => "precision",
            Self::Dropout(_) => "network.dropout",
            Self::Teacher(_) => "teacher",
            Self::Guidance(_) => "guidance",
            Self::Guide(_) => "guide",
            Self::Method(_) => "method",
            Self::MidTraining(_) => "mid_training",
            Self::FirstStage(_) => "first_stage",
            Self::Solver(_) => "method.solver",
            Self::Init(_) => "consistency.init",
            Self::Discretisation(_) => "consistency.discretisation",
            Self::Curriculum(_) => "consistency.curriculum",
            Self::IndexLaw(_) => "consistency.index_law",
            Self::Target(_) => "consistency.target",
            Self::Distance(_) => "consistency.distance",
            Self::Weighting(_) => "consistency.weighting",
            Self::Segments(_) => "consistency.segments",
            Self::Coupling(_) => "consistency.coupling",
            Self::Truncation(_) => "consistency.truncation",
            Self::Optimiser(_) => "consistency.train.optimiser",
            Self::LearningRate(_) => "consistency.train.learning_rate",
            Self::BatchSize(_) => "consistency.train.batch",
            Self::TotalImages(_) => "consistency.train.total_images",
            Self::GradientClip(_) => "consistency.train.gradient_clip",
            Self::EvaluationEma(_) => "consistency.train.ema",
            Self::Snapshots(_) => "consistency.train.snapshots",
            Self::HorizontalFlips(_) => "consistency.train.horizontal_flips",
            Self::Augmentation(_) => "consistency.train.augmentation",
            Self::Samplers(_) => "evaluation.student",
            Self::TeacherSampler(_) => "evaluation.teacher",
            Self::Evaluation(_) => "evaluation",
        }
    }

    /// Makes the change.
    ///
    /// # Errors
    /// [`ChangeError`] if `experiment` has no such knob; it is then unchanged.
    pub fn apply(&self, experiment: &mut ExperimentConfig) -> Result<(), ChangeError> {
        let ExperimentConfig {
            dataset,
            network,
            class_conditional,
            precision,
            teacher,
            guidance,
            guide,
            method,
            mid_training,
            first_stage,
            consistency,
            evaluation,
            ..
        } = experiment;
        match self.clone() {
            Self::Dataset(value) => *dataset = value,
            Self::Network(value) => *network = value,
            Self::ClassConditional(value) => *class_conditional = value,
            Self::Precision(value) => *precision = value,
            Self::Dropout(value) => *network = network.clone().with_dropout(value),
            Self::Teacher(value) => *teacher = value,
            Self::Guidance(value) => *guidance = value,
            Self::Guide(value) => *guide = value,
            Self::Method(value) => *method = value,
            Self::MidTraining(value) => *mid_training = value,
            Self::FirstStage(value) => *first_stage = value,
            Self::Solver(value) => match method {
                MethodConfig::Distillation(config) => config.solver = value,
                MethodConfig::Training => return Err(ChangeError::SolverOfTraining),
                MethodConfig::ProgressiveDistillation
                | MethodConfig::Shortcut(_)
                | MethodConfig::TwoTime(_)
                | MethodConfig::InductiveMomentMatching(_) => {
                    return Err(ChangeError::SolverOfJumps);
                }
                MethodConfig::ContinuousDistillation(_) | MethodConfig::ContinuousTraining(_) => {
                    return Err(ChangeError::SolverOfContinuousTime);
                }
            },
            Self::Init(value) => consistency.init = value,
            Self::Discretisation(value) => consistency.discretisation = value,
            Self::Curriculum(value) => consistency.curriculum = value,
            Self::IndexLaw(value) => consistency.index_law = value,
            Self::Target(value) => consistency.target = value,
            Self::Distance(value) => consistency.distance = value,
            Self::Weighting(value) => consistency.weighting = value,
            Self::Segments(value) => consistency.segments = value,
            Self::Coupling(value) => consistency.coupling = value,
            Self::Truncation(value) => consistency.truncation = value,
            Self::Optimiser(value) => consistency.train.optimiser = value,
            Self::LearningRate(value) => consistency.train.learning_rate = value,
            Self::BatchSize(value) => consistency.train.batch = value,
            Self::TotalImages(value) => consistency.train.total_images = value,
            Self::GradientClip(value) => consistency.train.gradient_clip = value,
            Self::EvaluationEma(value) => consistency.train.ema = value,
            Self::Snapshots(value) => consistency.train.snapshots = value,
            Self::HorizontalFlips(value) => consistency.train.horizontal_flips = value,
            Self::Augmentation(value) => consistency.train.augmentation = value,
            Self::Samplers(value) => evaluation.student = value,
            Self::TeacherSampler(value) => evaluation.teacher = value,
            Self::Evaluation(value) => *evaluation = value,
        }
        Ok(())
    }
}
