//! A trained teacher of a study, for what is done with it afterwards: sampling and exports. Deliberately absent: its training
//! (`teacher.rs`), and a weaker teacher that guides it, whose weights lie in a folder of their own.

use crate::assemble::teacher_sampler;
use crate::context::Context;
use crate::error::{FolderError, RunError};
use crate::model_file::ModelKind;
use crate::opened_model::OpenedModel;
use crate::sealed::identity_of_teacher;
use crate::seed::NamedSeeds;
use crate::trained::Trained;
use cm_diffusion::{Denoiser, Guidance, Guided, Labels, NoiseLevels, QuantityError, Sampler, SigmaRange};
use cm_host::Identity;
use cm_image::Quantisation;
use cm_network::{Network, Weights};
use cm_study::{
    ExperimentConfig, GuideConfig, PlannedRun, PreconditionConfig, TeacherKey, TeacherSamplerConfig,
    TeacherSource, WeightsCard,
};
use cm_teacher::{Teacher, TeacherConfig};
use std::path::Path;

/// What a model file of a study holds.
pub enum TrainedModel {
    /// The model of a finished run.
    Student(Box<Trained>),
    /// Its teacher's.
    Teacher(Box<TrainedTeacher>),
}

impl TrainedModel {
    /// The model in `path`: the folder of a finished run or of a trained teacher, or the model file in it.
    ///
    /// # Errors
    /// As [`Trained::open_any`].
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let model = OpenedModel::open(path)?;
        Ok(match model.kind {
            ModelKind::Student => Self::Student(Box::new(Trained::of(model)?)),
            ModelKind::Teacher => Self::Teacher(Box::new(TrainedTeacher::of(model)?)),
        })
    }
}

/// A trained teacher with all that the plan says of it for which it was trained.
pub struct TrainedTeacher {
    run: PlannedRun,
    context: Context,
    averages: Vec<Weights>,
}

impl TrainedTeacher {
    /// The teacher that the finished run in `folder` had, and as its scores are of it.
    ///
    /// # Errors
    /// As [`Trained::open_any`] of the run and of the teacher; [`FolderError::NoModel`] if the run trained none.
    pub fn of_run(folder: &Path) -> Result<Self, RunError> {
        let no_teacher = |reason: String| FolderError::NoModel { path: folder.to_owned(), reason };
        let run = OpenedModel::open(folder)?.run;
        let (true, Some(key)) = (folder.is_dir(), TeacherKey::of(&run.experiment)) else {
            return Err(no_teacher("it is not the folder of a run with a trained teacher".to_owned()).into());
        };
        // arm/seed-N of its study.
        let teacher = folder.join("../../teachers").join(&key.hash);
        let model = OpenedModel::open(&teacher)?;
        match model.kind {
            ModelKind::Teacher => Self::of(OpenedModel { run, ..model }),
            ModelKind::Student => {
                Err(no_teacher(format!("{} holds a student's model", teacher.display())).into())
            }
        }
    }

    fn of(model: OpenedModel) -> Result<Self, RunError> {
        let mut context = Context::new(&model.run)?;
        context.data.sigma_data = model.sigma_data()?;
        let TeacherSource::Trained(config) = &model.run.experiment.teacher else {
            return Err(RunError::failed("the teacher", "its plan trains none"));
        };
        let outlined = (model.run.experiment.teacher_network())
            .outline(context.data.shape(), model.run.experiment.conditions(context.data.train.num_classes()));
        let (_, fresh) = outlined.map_err(|error| RunError::failed("the teacher's network", error))?;
        let averages = model.averages(&fresh, config.train.ema.len())?;
        Ok(Self { run: model.run, context, averages })
    }

    /// A run for which it was trained.
    pub fn run(&self) -> &PlannedRun {
        &self.run
    }

    /// What the results of its training say that they are of.
    pub fn identity(&self) -> Identity {
        identity_of_teacher(&self.key())
    }

    /// What decided it.
    ///
    /// # Panics
    /// Never: a plan that trains no teacher is not opened as one's.
    pub fn key(&self) -> TeacherKey {
        TeacherKey::of(self.experiment()).expect("looked at when this was opened")
    }

    /// All that another program needs to know of the model.
    pub fn card(&self) -> WeightsCard {
        self.context.card(self.experiment().teacher_network(), self.network(), PreconditionConfig::Edm)
    }

    /// The network that all averages are weights of.
    pub fn network(&self) -> &dyn Network {
        self.context.teacher_network()
    }

    /// The weights of one average.
    ///
    /// # Panics
    /// If there is no such average.
    pub fn weights(&self, average: usize) -> &Weights {
        &self.averages[average]
    }

    /// The names of its averages of the weights; never empty. The first is the one that a study distils and scores.
    pub fn averages(&self) -> Vec<String> {
        self.config().train.ema.iter().map(|ema| ema.name()).collect()
    }

    /// One average as a denoiser, guided where classes are told and `guidance` says so.
    ///
    /// # Panics
    /// If there is no such average.
    pub fn denoiser(&self, average: usize, guidance: Guidance) -> Box<dyn Denoiser + '_> {
        let weights = self.averages[average].clone();
        let denoiser = Teacher::new(self.context.teacher_network(), weights, self.context.edm());
        match guidance.is_none() {
            true => Box::new(denoiser),
            false => Box::new(Guided { denoiser, guidance }),
        }
    }

    /// How its study guides it, and by what.
    pub fn guidance(&self) -> (Guidance, &GuideConfig) {
        (self.experiment().guidance, &self.experiment().guide)
    }

    /// The share of training images whose classes it was not told: above 0, it can guide itself.
    pub fn label_dropout(&self) -> f32 {
        self.config().label_dropout
    }

    /// The sampler of its study's evaluation along `levels`.
    ///
    /// # Errors
    /// [`QuantityError`] if the levels do not suit it.
    pub fn sampler<'a>(
        &self,
        denoiser: &'a dyn Denoiser,
        levels: &'a NoiseLevels,
        labels: Labels,
    ) -> Result<Box<dyn Sampler + 'a>, QuantityError> {
        let method = self.experiment().evaluation.teacher.method;
        teacher_sampler(method, denoiser, self.context.data.shape(), levels, labels)
    }

    /// The sampler's name along so many levels, as tables have it.
    pub fn sampler_name(&self, levels: usize) -> String {
        self.sampling(Some(levels)).name()
    }

    fn sampling(&self, levels: Option<usize>) -> TeacherSamplerConfig {
        let config = self.experiment().evaluation.teacher;
        TeacherSamplerConfig { levels: levels.unwrap_or(config.levels), ..config }
    }

    /// `levels` noise levels as its study spaces them for its teacher; as many as there, where nobody says how many.
    ///
    /// # Errors
    /// [`QuantityError`] if there are not so many different numbers in the range.
    pub fn levels(&self, levels: Option<usize>) -> Result<NoiseLevels, QuantityError> {
        self.context.teacher_levels(&self.sampling(levels))
    }

    /// The range of its study's noise levels.
    pub fn range(&self) -> SigmaRange {
        self.context.range
    }

    /// How what it draws is delivered where nobody says otherwise: the study's rule for pixels (none of points), and the
    /// seed of the images that its scores are of.
    pub fn delivery(&self) -> (Option<Quantisation>, u64) {
        (self.experiment().quantisation(), NamedSeeds::of(self.experiment().teacher_seed).sample)
    }

    /// The classes its samples are drawn with: all equally likely, or none.
    pub fn labels(&self) -> Labels {
        self.context.labels()
    }

    /// The names of its classes, as its data set has them; none where it has no names.
    ///
    /// # Errors
    /// [`RunError::Failed`] if the data cannot be read.
    pub fn class_names(&self) -> Result<Vec<String>, RunError> {
        self.context.class_names(self.experiment())
    }

    fn experiment(&self) -> &ExperimentConfig {
        &self.run.experiment
    }

    fn config(&self) -> &TeacherConfig {
        match &self.experiment().teacher {
            TeacherSource::Trained(config) => config,
            TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => {
                unreachable!("looked at when this was opened")
            }
        }
    }
}
