//! A finished run's consistency model, for what is done with it afterwards: sampling, editing, searching.
//!
//! A model file holds the averaged weights and, as text, the plan they come from, so it alone says what network, data
//! and noise levels belong to them. Deliberately absent: training, and the teacher's weights, which lie in a folder of
//! their own (`trained_teacher.rs`).

use crate::context::Context;
use crate::error::{FolderError, RunError};
use crate::model_file::ModelKind;
use crate::opened_model::OpenedModel;
use crate::sealed::identity_of;
use crate::seed::NamedSeeds;
use crate::student_model::{Student, stage_file};
use cm_consistency::ConsistencyModel;
use cm_diffusion::{Discretisation, Labels, NoiseLevels, NumLevels, QuantityError, Sampler, SigmaRange};
use cm_evaluator::{MetricKind, Reference};
use cm_host::Identity;
use cm_image::{ImageBatch, ImageShape, Quantisation};
use cm_network::{Network, Weights};
use cm_study::{ExperimentConfig, PlannedRun, PreconditionConfig, StudentSamplerConfig, WeightsCard};
use cm_training::EmaConfig;
use std::path::Path;

/// A trained student with all that its plan says of it.
pub struct Trained {
    run: PlannedRun,
    context: Context,
    averages: Vec<Weights>,
}

impl Trained {
    /// The student in `path`: the folder of a finished run, or its model file.
    ///
    /// # Errors
    /// [`FolderError::NoModel`] if there is none, [`FileError::Damaged`](cm_host::FileError::Damaged) if the file is not what a run wrote,
    /// [`RunError`] if its data cannot be read.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        Self::open_any(path)?.without_jumps(path)
    }

    /// Itself, which was opened at `path`, if it is one function of image and noise level.
    ///
    /// # Errors
    /// [`FolderError::NoModel`] if it is a model that jumps.
    pub fn without_jumps(self, path: &Path) -> Result<Self, RunError> {
        match self.experiment().jumps() {
            Some(model) => {
                let reason = format!("it is {model}, which jumps from noise level to noise level");
                Err(FolderError::NoModel { path: path.to_owned(), reason }.into())
            }
            None => Ok(self),
        }
    }

    /// What the results of its run say that they are of.
    pub fn identity(&self) -> Identity {
        identity_of(&self.run)
    }

    /// The student of a stage of progressive distillation, by its number of steps; `folder` is that of the run.
    ///
    /// # Errors
    /// As [`open_any`](Self::open_any).
    pub fn open_stage(folder: &Path, steps: usize) -> Result<Self, RunError> {
        Self::open_any(&stage_file(folder, steps))
    }

    /// The student in `path`, as [`open`](Self::open); it may be one that jumps, which has no
    /// [`model`](Self::model).
    ///
    /// # Errors
    /// As [`open`](Self::open), but for models that jump.
    pub fn open_any(path: &Path) -> Result<Self, RunError> {
        let model = OpenedModel::open(path)?;
        match model.kind {
            ModelKind::Student => Self::of(model),
            ModelKind::Teacher => {
                let reason = "it is a teacher's model, and a consistency model is needed".to_owned();
                Err(FolderError::NoModel { path: path.to_owned(), reason }.into())
            }
        }
    }

    /// The student in a model file of one.
    pub(crate) fn of(model: OpenedModel) -> Result<Self, RunError> {
        let mut context = Context::new(&model.run)?;
        context.data.sigma_data = model.sigma_data()?;
        let averages = model.averages(&context.fresh, model.run.experiment.consistency.train.ema.len())?;
        context.read_first_stage(&model.run.experiment, &model.file, &model.path)?;
        Ok(Self { run: model.run, context, averages })
    }

    /// The run that trained it.
    pub fn run(&self) -> &PlannedRun {
        &self.run
    }

    /// The seeds of that run.
    pub fn seeds(&self) -> NamedSeeds {
        NamedSeeds::of(self.run.seed)
    }

    /// How what it draws is delivered where nobody says otherwise: the study's rule for pixels (none of points), and the
    /// seed of the images that the run's scores are of.
    pub fn delivery(&self) -> (Option<Quantisation>, u64) {
        (self.experiment().quantisation(), self.seeds().sample)
    }

    /// Which averages of the weights there are, in the order of [`model`](Self::model)'s numbers; never empty.
    pub fn averages(&self) -> &[EmaConfig] {
        &self.experiment().consistency.train.ema
    }

    /// The consistency function of one average of the weights; 0 is the one that pictures are drawn from.
    ///
    /// # Panics
    /// If there is no such average.
    pub fn model(&self, average: usize) -> ConsistencyModel<'_> {
        self.context.consistency_model(self.experiment(), self.averages[average].clone())
    }

    /// The weights of one average.
    ///
    /// # Panics
    /// If there is no such average.
    pub fn weights(&self, average: usize) -> &Weights {
        &self.averages[average]
    }

    /// The network that all averages are weights of.
    pub fn network(&self) -> &dyn Network {
        self.context.network.as_ref()
    }

    /// The student with one average of its weights, whatever it is.
    ///
    /// # Panics
    /// If there is no such average.
    pub fn student(&self, average: usize) -> Student<'_> {
        Student::new(self.experiment(), &self.context, self.averages[average].clone())
    }

    /// A sampler of its [`student`](Self::student).
    ///
    /// # Errors
    /// [`RunError`] if the sampler does not fit the student.
    pub fn sampler<'s>(
        &self,
        student: &'s Student<'_>,
        config: &StudentSamplerConfig,
        labels: Labels,
    ) -> Result<Box<dyn Sampler + 's>, RunError> {
        student.sampler(config, &self.context, labels)
    }

    /// Whether it is truncated: two models, of which no other program knows.
    pub fn is_truncated(&self) -> bool {
        self.experiment().consistency.truncation.is_some()
    }

    /// All that another program needs to know of the model.
    pub fn card(&self) -> WeightsCard {
        let config = self.experiment().network.clone();
        self.context.card(config, self.network(), PreconditionConfig::Consistency)
    }

    /// The shape of its images.
    pub fn shape(&self) -> ImageShape {
        self.context.data.shape()
    }

    /// The range of its noise levels.
    pub fn range(&self) -> SigmaRange {
        self.context.range
    }

    /// The spacing of its noise levels.
    pub fn discretisation(&self) -> &dyn Discretisation {
        self.context.discretisation.as_ref()
    }

    /// The `num_levels` noise levels of its discretisation.
    ///
    /// # Errors
    /// [`QuantityError::Crowded`] if there are not so many different numbers in its range.
    pub fn levels(&self, num_levels: NumLevels) -> Result<NoiseLevels, QuantityError> {
        self.context.discretisation.noise_levels(num_levels)
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

    /// The images it was trained on.
    pub fn train_images(&self) -> &ImageBatch {
        &self.context.data.train_images
    }

    /// Images of the same kind that it has not seen.
    pub fn test_images(&self) -> &ImageBatch {
        &self.context.data.test_images
    }

    /// Its training images, prepared to be compared with samples by `metrics` as the plan computes them.
    ///
    /// # Errors
    /// [`RunError::Failed`] if a metric does not fit the data.
    pub fn reference(&self, metrics: &[MetricKind]) -> Result<Reference<'_>, RunError> {
        self.context.reference(self.experiment(), metrics)
    }

    fn experiment(&self) -> &ExperimentConfig {
        &self.run.experiment
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::student_sampler;
    use crate::error::RunOutcome;
    use crate::execute::run;
    use crate::model_file::MODEL_FILE;
    use crate::model_file::model_file;
    use cm_evaluator::evaluate;
    use cm_host::{Silent, StopFlag};
    use cm_network::TensorFile;
    use cm_study::Study;
    use cm_study::check;
    use std::fs;
    use std::ops::ControlFlow;
    use std::path::PathBuf;

    /// A run of a second on a ring of Gaussians; the folder of its study.
    fn finished(out: &Path) -> PathBuf {
        let text = "(base: (
            dataset: GaussianMixture(train_len: 256, test_len: 128),
            network: Mlp(width: 16, blocks: 1),
            teacher: Exact,
            consistency: (
                train: (total_images: 320, batch: 32, ema: [PerStep(0.9), None]),
                init: Random,
                curriculum: Fixed(num_levels: 6),
            ),
            evaluation: (
                samples: 64,
                student: [Multistep(times: [0.5])],
                metrics: [SlicedWasserstein, Frechet],
                teacher: (levels: 4),
            ),
        ))";
        let plan = check(Path::new("ring.ron"), text).unwrap().plan;
        let study = Study {
            path: "ring.ron".into(),
            name: "ring".into(),
            text: text.into(),
            plan,
            notes: vec![],
            absent: vec![],
        };
        match run(&study, out, &StopFlag::new(), &mut Silent).unwrap() {
            RunOutcome::Finished { dir, .. } => dir,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_model_that_is_read_back_has_the_scores_of_its_run() {
        let out = tempfile::tempdir().unwrap();
        let folder = finished(out.path()).join("base/seed-0");
        let trained = Trained::open(&folder).unwrap();
        assert_eq!(trained.averages().len(), 2);
        let evaluation = &trained.run().experiment.evaluation;
        let reference = trained.reference(&evaluation.metrics).unwrap();
        let mut scores = Vec::new();
        for average in 0..2 {
            let model = trained.model(average);
            let sampler = &evaluation.student[0];
            let (shape, grid, labels) = (trained.shape(), trained.discretisation(), trained.labels());
            let sampler = student_sampler(sampler, &model, shape, grid, labels).unwrap();
            let seed = trained.seeds().sample;
            let report =
                evaluate(&reference, sampler.as_ref(), 64, seed, &mut |_, _| ControlFlow::Continue(()));
            scores.extend(report.unwrap().into_iter().map(|score| score.value));
        }
        let written =
            crate::table::from_csv(&fs::read_to_string(folder.join("scores.csv")).unwrap()).unwrap();
        assert_eq!(scores, written.into_iter().map(|row| row.value).collect::<Vec<_>>());
        assert!(scores[0] != scores[2], "two averages that are the same say nothing");
        // The file alone will do.
        assert_eq!(Trained::open(&folder.join(MODEL_FILE)).unwrap().run(), trained.run());
    }

    #[test]
    fn what_is_no_student_is_refused_and_the_message_helps() {
        let out = tempfile::tempdir().unwrap();
        let study = finished(out.path());
        let folder = study.join("base/seed-0");
        let complaint = |path: &Path| {
            let error = Trained::open(path).err().unwrap();
            assert!(error.is_input(), "{error}");
            error.to_string()
        };
        assert!(complaint(&study).contains(&folder.display().to_string()), "{}", complaint(&study));
        assert!(complaint(out.path()).contains("there is no model.safetensors"));
        let file = folder.join(MODEL_FILE);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        let told = complaint(&folder);
        assert!(told.contains("model.safetensors: it has") && told.contains("was cut, changed"), "{told}");
        // Without its manifest, as of a version that kept none, a model must say of itself what it is.
        fs::remove_file(folder.join("manifest.json")).unwrap();
        assert!(complaint(&folder).contains("model.safetensors: not a whole safetensors file"));
        fs::remove_file(&file).unwrap();
        assert!(complaint(&study).contains("none of whose runs is finished"));
        assert!(complaint(&folder).contains("its training is not finished"));
        let content = TensorFile::decode(&bytes).unwrap();
        let averages: Vec<Weights> = Vec::new();
        let run = PlannedRun::from_ron(&content.metadata["plan"]).unwrap();
        let teacher = model_file(ModelKind::Teacher, &run, 0.5, &averages, None);
        fs::write(&file, teacher.encode().unwrap()).unwrap();
        assert!(complaint(&folder).contains("a teacher's model"));
        fs::write(&file, TensorFile::default().encode().unwrap()).unwrap();
        assert!(complaint(&folder).contains("no entry `model`"));
    }
}
