//! What a run works with, whether its student is about to be trained or is read from a file.

use crate::assemble::{Data, Judge};
use crate::error::RunError;
use crate::model_file::FIRST_STAGE;
use crate::networks::Networks;
use crate::seed::NamedSeeds;
use cm_consistency::ConsistencyModel;
use cm_diffusion::{
    Autoguided, Boundary, Denoiser, Discretisation, Edm, Guided, Labels, NoiseLevels, NumLevels,
    Precondition, QuantityError, Sigma, SigmaRange,
};
use cm_evaluator::{MetricKind, Reference};
use cm_host::FileError;
use cm_image::ImageShape;
use cm_network::{Network, NetworkConfig, TensorFile, Weights};
use cm_study::{
    ExperimentConfig, GuideConfig, PlannedRun, PreconditionConfig, TeacherSamplerConfig, TeacherSource,
    WeightsCard,
};
use cm_teacher::Teacher;
use std::cell::OnceCell;
use std::path::Path;

/// Data, judge, noise levels and network of a run; whoever does a run piece by piece hands it from one to the next.
pub struct Context {
    pub(crate) data: Data,
    pub(crate) judge: Judge,
    pub(crate) networks: Networks,
    pub(crate) range: SigmaRange,
    pub(crate) discretisation: Box<dyn Discretisation>,
    /// The student's.
    pub(crate) network: Box<dyn Network>,
    /// The teacher's, where it is not the student's as well.
    own_teacher_network: Option<Box<dyn Network>>,
    /// Fresh weights of this run's seed.
    pub(crate) fresh: Weights,
    /// The trained teacher's averaged weights, once there are any.
    pub(crate) teacher: Option<Weights>,
    /// The weaker teacher that guides it, once there is one.
    pub(crate) weaker: Option<WeakerTeacher>,
    /// The weights of a truncated student below its level, once they are known; before that it has none.
    pub(crate) first_stage: OnceCell<Weights>,
    /// What a teacher from a file says of itself.
    pub(crate) teacher_card: Option<WeightsCard>,
}

/// A weaker teacher: its network and its averaged weights.
pub(crate) struct WeakerTeacher {
    pub(crate) network: Box<dyn Network>,
    pub(crate) weights: Weights,
}

impl Context {
    /// All of it but a trained teacher.
    pub(crate) fn new(run: &PlannedRun) -> Result<Self, RunError> {
        let experiment = &run.experiment;
        let what = |part: &str| format!("{part} of {}", run.name());
        let data = Data::new(&experiment.dataset)?;
        let discretisation = experiment
            .consistency
            .discretisation
            .build()
            .map_err(|error| RunError::failed(what("the noise levels"), error))?;
        let range = discretisation.range();
        let judge = Judge::new(&experiment.dataset, &data, range);
        let networks = Networks::new(experiment);
        let (network, fresh) = experiment
            .network
            .build(
                data.shape(),
                experiment.student_conditions(data.train.num_classes()),
                NamedSeeds::of(run.seed).init,
            )
            .map_err(|error| RunError::failed(what("the network"), error))?;
        let conditions = experiment.conditions(data.train.num_classes());
        let others = conditions != experiment.student_conditions(data.train.num_classes());
        let own_teacher_network = match (&experiment.teacher, others) {
            (TeacherSource::Trained(_) | TeacherSource::File(_), true) => {
                let built = experiment.network.build(data.shape(), conditions, 0);
                Some(built.map_err(|error| RunError::failed(what("the teacher's network"), error))?.0)
            }
            (
                TeacherSource::Trained(_)
                | TeacherSource::File(_)
                | TeacherSource::Exact
                | TeacherSource::None,
                _,
            ) => None,
        };
        Ok(Self {
            data,
            judge,
            networks,
            range,
            discretisation,
            network,
            own_teacher_network,
            fresh,
            teacher: None,
            weaker: None,
            first_stage: OnceCell::new(),
            teacher_card: None,
        })
    }

    /// The network of the teacher's weights.
    pub(crate) fn teacher_network(&self) -> &dyn Network {
        self.own_teacher_network.as_deref().unwrap_or(self.network.as_ref())
    }

    /// The teacher's averaged weights as a start for the student: what the student's network has beyond the teacher's
    /// stays fresh.
    pub(crate) fn start_from(&self, teacher: &Weights) -> Result<Weights, RunError> {
        let of_teacher = |name: &str| teacher.iter().find(|(other, _, _)| *other == name);
        let arrays: Vec<_> = (self.fresh.iter())
            .map(|(name, shape, values)| match of_teacher(name) {
                Some((_, shape, values)) => (name.to_owned(), shape.to_vec(), values.to_vec()),
                None => (name.to_owned(), shape.to_vec(), values.to_vec()),
            })
            .collect();
        let mut weights = self.fresh.clone();
        weights.load(&arrays).map_err(|error| RunError::failed("starting from the teacher", error))?;
        Ok(weights)
    }

    /// The teacher as a denoiser, whatever it is.
    pub(crate) fn denoiser(&self, experiment: &ExperimentConfig) -> Option<Box<dyn Denoiser + '_>> {
        let denoiser = self.unguided(&experiment.teacher)?;
        let guidance = experiment.guidance;
        Some(match &experiment.guide {
            _ if guidance.is_none() => denoiser,
            GuideConfig::NoClass => Box::new(Guided { denoiser, guidance }),
            GuideConfig::Weaker(_) => match &self.weaker {
                Some(WeakerTeacher { network, weights }) => {
                    let weaker = Teacher::new(network.as_ref(), weights.clone(), self.edm());
                    Box::new(Autoguided { denoiser, weaker, guidance })
                }
                // Of weight 1, which asks for none.
                None => denoiser,
            },
        })
    }

    fn unguided(&self, source: &TeacherSource) -> Option<Box<dyn Denoiser + '_>> {
        match source {
            TeacherSource::Trained(_) | TeacherSource::File(_) => {
                self.teacher.as_ref().map(|weights| -> Box<dyn Denoiser> {
                    let precondition: Box<dyn Precondition> = match &self.teacher_card {
                        Some(card) => card.precondition(None),
                        None => Box::new(self.edm()),
                    };
                    Box::new(Teacher::with(self.teacher_network(), weights.clone(), precondition))
                })
            }
            TeacherSource::Exact => {
                self.data.mixture.clone().map(|mixture| -> Box<dyn Denoiser> { Box::new(mixture) })
            }
            TeacherSource::None => None,
        }
    }

    /// The training images, prepared to be compared with samples by `metrics`.
    pub(crate) fn reference(
        &self,
        experiment: &ExperimentConfig,
        metrics: &[MetricKind],
    ) -> Result<Reference<'_>, RunError> {
        let images = self.data.train_images.clone();
        Reference::new(
            metrics,
            &experiment.evaluation.metric,
            experiment.quantisation(),
            images,
            self.judge.judges(&self.data, metrics)?,
        )
        .map_err(|error| RunError::failed("preparing the evaluation", error))
    }

    /// The classes asked of samples.
    pub(crate) fn labels(&self) -> Labels {
        match self.network.classes() {
            Some(classes) => Labels::Uniform { classes: classes as u32 },
            None => Labels::None,
        }
    }

    /// The levels that a sampler of the teacher goes down.
    pub(crate) fn teacher_levels(&self, config: &TeacherSamplerConfig) -> Result<NoiseLevels, QuantityError> {
        let levels = NumLevels::new(config.levels)?;
        match config.spacing {
            Some(spacing) => spacing.build(self.range)?.noise_levels(levels),
            None => self.discretisation.noise_levels(levels),
        }
    }

    /// The names of the classes, as the data set has them; none where it has no names.
    pub(crate) fn class_names(&self, experiment: &ExperimentConfig) -> Result<Vec<String>, RunError> {
        let about = experiment.dataset.about();
        Ok(about.map_err(|error| RunError::failed("reading the data set", error))?.classes)
    }

    /// Keeps the weights of a truncated student below its level.
    pub(crate) fn keep_first_stage(&self, weights: Weights) {
        // A context is of one run, whose first stage is always the same.
        let _ = self.first_stage.set(weights);
    }

    /// Reads them from the model file of a run whose student is truncated; of others nothing.
    pub(crate) fn read_first_stage(
        &self,
        experiment: &ExperimentConfig,
        file: &TensorFile,
        path: &Path,
    ) -> Result<(), FileError> {
        if experiment.consistency.truncation.is_some() {
            let mut first = self.fresh.clone();
            file.load_weights(FIRST_STAGE, &mut first).map_err(|error| FileError::damaged(path, error))?;
            self.keep_first_stage(first);
        }
        Ok(())
    }

    /// The consistency model of these weights; above those of the first stage, once a truncated student has one.
    pub(crate) fn consistency_model(
        &self,
        experiment: &ExperimentConfig,
        weights: Weights,
    ) -> ConsistencyModel<'_> {
        let model = ConsistencyModel::new(self.network.as_ref(), weights, self.boundary());
        let truncation = experiment.consistency.truncation;
        let level = truncation.and_then(|truncation| Sigma::new(truncation.level).ok());
        match level.zip(self.first_stage.get()) {
            Some((level, first)) => model.above(level, first.clone()),
            None => model,
        }
    }

    /// The preconditioning of denoisers, and of students that jump.
    pub(crate) fn edm(&self) -> Edm {
        Edm { sigma_data: self.data.sigma_data }
    }

    /// All that another program needs to know of a model of these data: of `network`, which `config` is of.
    pub(crate) fn card(
        &self,
        config: NetworkConfig,
        network: &dyn Network,
        precondition: PreconditionConfig,
    ) -> WeightsCard {
        let ImageShape { height, width, channels } = self.data.shape();
        WeightsCard {
            network: config,
            height,
            width,
            channels,
            classes: network.classes(),
            precondition,
            sigma_data: self.data.sigma_data,
            sigma_min: self.range.min().get(),
            sigma_max: self.range.max().get(),
            ..WeightsCard::default()
        }
    }

    /// The preconditioning of a consistency model.
    pub(crate) fn boundary(&self) -> Boundary {
        Boundary { sigma_data: self.data.sigma_data, sigma_min: self.range.min().get() }
    }
}
