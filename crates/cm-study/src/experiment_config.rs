//! Everything that decides a run but its seed, as data: raw, unchecked, with every default beside its type.
//!
//! The configurations of data, networks, teachers and consistency models live in their crates; here is what joins
//! them. Deliberately absent: checks (`check.rs`).

use crate::feature_network::FeatureNetworkConfig;
use crate::first_stage_config::FirstStageConfig;
use crate::guide_config::GuideConfig;
use crate::mid_training_config::MidTrainingConfig;
use crate::notation::to_ron;
use crate::samplers::{StudentSamplerConfig, TeacherSamplerConfig};
use cm_consistency::{ConsistencyConfig, ContinuousTimeConfig, TangentConfig};
use cm_datasets::DatasetConfig;
use cm_diffusion::{Guidance, SolverConfig};
use cm_evaluator::{MetricConfig, MetricKind};
use cm_flow_map::{MomentMatchingConfig, ShortcutConfig, TwoTimeConfig, Velocity};
use cm_image::Quantisation;
use cm_network::{Conditions, NetworkConfig};
use cm_teacher::TeacherConfig;
use cm_training::Precision;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that decides a run but its seed. Each part's default is beside its type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExperimentConfig {
    /// What is learnt.
    pub dataset: DatasetConfig, // this and what follows: beside each type
    /// The network of teacher and student.
    pub network: NetworkConfig,
    /// Whether teacher and student are told the class of each image; samples are then drawn with all classes equally
    /// likely.
    pub class_conditional: bool, // Song et al. 2023, Section 6: not on CIFAR-10 and LSUN
    /// How the products of networks are computed; anything but `F32` needs a GPU.
    pub precision: Precision,
    /// The diffusion model that is distilled, or that the student starts from.
    pub teacher: TeacherSource,
    /// Seed of the teacher's training, any whole number. Not the run's seed: all runs share one teacher.
    pub teacher_seed: u64, // ours: 0, as the first run's seed
    /// How far the teacher is driven, whenever it is asked: for samples, trajectories, targets.
    // Not written where there is none, so that plans made before it was known stay the same.
    #[serde(skip_serializing_if = "Guidance::is_none")]
    pub guidance: Guidance,
    /// What it is driven away from.
    // Not written where it is the default: its own answer without the class.
    #[serde(skip_serializing_if = "GuideConfig::is_no_class")]
    pub guide: GuideConfig,
    /// Distillation or training.
    pub method: MethodConfig,
    /// A training between the teacher's and the student's, from `consistency.init` on. None, as in Song et al. 2023:
    /// the student starts there itself.
    pub mid_training: Option<MidTrainingConfig>, // Song et al. 2023: none
    /// A first consistency training, after mid-training and before the student's own. None: the student's is the
    /// only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_stage: Option<FirstStageConfig>, // Song et al. 2023: none
    /// The consistency model and its training.
    pub consistency: ConsistencyConfig,
    /// How samples are drawn and judged.
    pub evaluation: EvaluationConfig,
    /// What is written down while training.
    pub logging: LoggingConfig,
}

impl ExperimentConfig {
    /// All of it as RON, every value written out.
    pub fn to_ron(&self) -> String {
        to_ron(self)
    }

    /// What a teacher is told of images in so many classes, if in any.
    pub fn conditions(&self, classes: Option<usize>) -> Conditions {
        let augmentation = match &self.teacher {
            TeacherSource::Trained(teacher) => teacher.train.augmentation.is_some(),
            TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => false,
        };
        let classes = classes.filter(|_| self.class_conditional);
        Conditions { classes, augmentation, ..Conditions::default() }
    }

    /// The network as the teacher is trained with it: with the teacher's own dropout, if it has one.
    pub fn teacher_network(&self) -> NetworkConfig {
        let network = self.network.clone();
        match &self.teacher {
            TeacherSource::Trained(TeacherConfig { dropout: Some(dropout), .. }) => {
                network.with_dropout(*dropout)
            }
            TeacherSource::Trained(_)
            | TeacherSource::File(_)
            | TeacherSource::Exact
            | TeacherSource::None => network,
        }
    }

    /// What the student is told: as the teacher, and a model that needs it also where it jumps, or how images were changed.
    pub fn student_conditions(&self, classes: Option<usize>) -> Conditions {
        let second_time = self.method.has_second_time();
        let first = self.first_stage.as_ref().is_some_and(|stage| stage.train.augmentation.is_some());
        let augmentation = first || self.consistency.train.augmentation.is_some();
        Conditions { second_time, augmentation, ..self.conditions(classes) }
    }

    /// Whether the student jumps from level to level instead of to the end: what it is, for people, if it does.
    pub fn jumps(&self) -> Option<&'static str> {
        match self.method {
            MethodConfig::Distillation(_) | MethodConfig::Training if self.consistency.segments > 1 => {
                Some("a consistency model of several segments")
            }
            MethodConfig::Distillation(_)
            | MethodConfig::Training
            | MethodConfig::ContinuousDistillation(_)
            | MethodConfig::ContinuousTraining(_) => None,
            MethodConfig::ProgressiveDistillation => Some("a progressively distilled model"),
            MethodConfig::Shortcut(_) => Some("a shortcut model"),
            MethodConfig::TwoTime(_) => Some("a model of two times"),
            MethodConfig::InductiveMomentMatching(_) => Some("a model of inductive moment matching"),
        }
    }
}

/// Where the teacher comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum TeacherSource {
    /// It is trained first, once for all runs of a study that need the same one.
    Trained(TeacherConfig),
    /// The weights in a file that `cm import` wrote: a teacher if they are a diffusion model's; else only a start.
    File(TeacherFileConfig),
    /// The exact denoiser of a Gaussian mixture; has no weights to start a student from.
    Exact,
    /// There is none: consistency training from random weights.
    None,
}

impl Default for TeacherSource {
    fn default() -> Self {
        Self::Trained(TeacherConfig::default()) // Song et al. 2023, Section 6.1: an EDM model
    }
}

/// Settings of [`TeacherSource::File`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherFileConfig {
    /// The file, from where the program is run. No default: it must be given.
    pub path: PathBuf,
}

/// How a consistency model is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum MethodConfig {
    /// Consistency distillation (Song et al. 2023, Algorithm 2): the lower point of a pair is the teacher's.
    Distillation(DistillationConfig),
    /// Consistency training (Song et al. 2023, Algorithm 3): the lower point has the same noise.
    Training,
    /// A student that takes one Euler step where its teacher takes two, again and again (Salimans and Ho 2022); its
    /// curriculum is Halving.
    ProgressiveDistillation,
    /// A model that is told how far it jumps and learns far jumps from two near ones, without a teacher (Frans et al.
    /// 2025); its levels are Fixed, a power of two and one.
    Shortcut(ShortcutConfig),
    /// Distillation in continuous time, along the teacher's trajectories: with its defaults sCD (Lu and Song 2025).
    ContinuousDistillation(ContinuousTimeConfig),
    /// Training in continuous time, along trajectories of known noise: with its defaults sCT (Lu and Song 2025).
    ContinuousTraining(ContinuousTimeConfig),
    /// A model of the jump between any two times, trained by what must hold between them: MeanFlow and its relatives. Its
    /// curriculum and its law of intervals are not used.
    TwoTime(TwoTimeConfig),
    /// A model of the jump between any two times, trained by the laws of its jumps (Zhou et al. 2025, IMM). Its loss is its
    /// own, and of the consistency model's settings it has the training, the start, the levels' range and the target.
    InductiveMomentMatching(MomentMatchingConfig),
}

impl MethodConfig {
    /// Whether the student's network is told where it jumps.
    pub fn has_second_time(&self) -> bool {
        match self {
            Self::Shortcut(_) | Self::TwoTime(_) | Self::InductiveMomentMatching(_) => true,
            Self::Distillation(_)
            | Self::Training
            | Self::ProgressiveDistillation
            | Self::ContinuousDistillation(_)
            | Self::ContinuousTraining(_) => false,
        }
    }

    /// Whether each step of the student's training asks the teacher.
    pub fn asks_teacher(&self) -> bool {
        match self {
            Self::Distillation(_) | Self::ProgressiveDistillation | Self::ContinuousDistillation(_) => true,
            Self::TwoTime(two_time) => two_time.velocity == Velocity::Teacher,
            Self::Training
            | Self::Shortcut(_)
            | Self::ContinuousTraining(_)
            | Self::InductiveMomentMatching(_) => false,
        }
    }

    /// How derivatives along trajectories are worked out, by a method that needs them.
    pub fn tangent(&self) -> Option<TangentConfig> {
        match self {
            Self::ContinuousDistillation(config) | Self::ContinuousTraining(config) => Some(config.tangent),
            Self::TwoTime(two_time) => two_time.tangent(),
            Self::Distillation(_)
            | Self::Training
            | Self::ProgressiveDistillation
            | Self::Shortcut(_)
            | Self::InductiveMomentMatching(_) => None,
        }
    }
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self::Distillation(DistillationConfig::default()) // Song et al. 2023, Section 4 comes first
    }
}

/// Settings of [`MethodConfig::Distillation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillationConfig {
    /// The solver of the teacher's step from the upper to the lower level.
    pub solver: SolverConfig, // default beside that type
}

/// How samples are drawn and judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Images drawn from each sampler, 1 to [`MOST_SAMPLES`](Self::MOST_SAMPLES); part of every score's name.
    pub samples: usize,
    /// The samplers of the student.
    pub student: Vec<StudentSamplerConfig>,
    /// The sampler of the teacher.
    pub teacher: TeacherSamplerConfig,
    /// How samples become the 8-bit pixels that are scored, shown and delivered; points stay as they are.
    pub quantisation: Quantisation,
    /// What is computed of the samples.
    pub metrics: Vec<MetricKind>,
    /// How.
    pub metric: MetricConfig,
    /// Also evaluate each time this many images were trained on, at least 1. None: only at the end.
    pub every_images: Option<u64>,
    /// Samples of those evaluations, at least 1. None: as many as at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_samples: Option<usize>,
    /// Further networks by whose features samples are scored, as the literature does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<FeatureNetworkConfig>,
}

impl EvaluationConfig {
    /// Samples at most: two hundred times as many as the literature draws. All are held in memory to be scored.
    pub const MOST_SAMPLES: usize = 10_000_000;

    /// The samples of an evaluation while the student is trained.
    pub fn samples_on_the_way(&self) -> usize {
        self.every_samples.unwrap_or(self.samples)
    }

    /// The samples of the evaluation that draws the fewest.
    pub(crate) fn fewest_samples(&self) -> usize {
        self.every_images.map_or(self.samples, |_| self.samples.min(self.samples_on_the_way()))
    }
}

impl ExperimentConfig {
    /// The rule by which samples become pixels; none of points.
    pub fn quantisation(&self) -> Option<Quantisation> {
        self.dataset.holds_pictures().then_some(self.evaluation.quantisation)
    }
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            samples: 50_000, // Song et al. 2023, Section 6: FID of 50,000 samples
            student: vec![StudentSamplerConfig::OneStep], // Song et al. 2023, Table 1
            teacher: TeacherSamplerConfig::default(), // beside that type
            quantisation: Quantisation::default(), // beside that type
            metrics: vec![MetricKind::Frechet, MetricKind::Recognised], // ours: the default data are digits
            metric: MetricConfig::default(), // beside that type
            every_images: None, // ours: samples cost time
            every_samples: None, // ours: curves end where the table is
            networks: Vec::new(), // ours: the weights are not shipped
        }
    }
}

/// What is written down while training. Intervals count images and are rounded up to whole steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoggingConfig {
    /// A line of `metrics.jsonl` for each this many images, at least 1.
    pub record_images: u64,
    /// A picture of samples for each this many images, at least 1. None: only at the end.
    pub picture_images: Option<u64>,
    /// The student's residuals, how far it is from consistent, for each this many images, at least 1: 16 held-out
    /// images at 16 pairs of noise levels, as dear as training on about as many. None: never.
    pub residual_images: Option<u64>,
    /// Images on a picture, 1 to [`MOST_GRID`](Self::MOST_GRID).
    pub grid: usize,
    /// A checkpoint for each this many images, at least 1; also one at the end and when the run is stopped.
    pub checkpoint_images: u64,
}

impl LoggingConfig {
    /// Images on a picture at most: a hundred by a hundred.
    pub const MOST_GRID: usize = 10_000;
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self {
            record_images: 2_560,          // ours: a hundred lines of a run on digits
            picture_images: None,          // ours: pictures of points are of no use
            residual_images: Some(12_800), // ours: one or two hundredths of the training
            grid: 64,                      // ours: eight by eight
            checkpoint_images: 51_200,     // ours: about a minute of a run on digits
        }
    }
}
