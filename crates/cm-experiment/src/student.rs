//! The student of a run: trained, looked at on the way, scored.

use crate::assemble::{distance, trajectory};
use crate::context::Context;
use crate::copies::COPIES;
use crate::error::{Halt, RunError};
use crate::event_file::{EventFile, HyperParameter};
use crate::journal::Journal;
use crate::model_card::write_in_run;
use crate::model_file::{MODEL_FILE, ModelKind, model_file, prefix};
use crate::phase::{Moment, is_due};
use crate::processes::is_first;
use crate::run::Run;
use crate::run_dir::RunDir;
use crate::seed::NamedSeeds;
use crate::student_model::{Student, stage_file, stage_name};
use crate::student_step::StudentStep;
use crate::table::ReportRow;
use crate::tensor_file::{encode, read, write_file};
use crate::{loss_bins, snapshots};
use cm_consistency::{ConsistencyStep, ContinuousParts, ContinuousTimeStep, CurriculumConfig, Probe, Stage};
use cm_evaluator::Reference;
use cm_flow_map::{JumpParts, MomentMatchingStep, ProgressiveStep, ShortcutStep, TwoTimeParts, TwoTimeStep};
use cm_host::{FileError, Progress};
use cm_image::ImageBatch;
use cm_network::Weights;
use cm_study::{JumpsConfig, MethodConfig, StudentSamplerConfig, flatten};
use cm_training::{EmaConfig, TrainState};

/// Held-out images on which residuals are measured.
const PROBE_IMAGES: usize = 16;

impl Run<'_> {
    /// Trains and scores the student.
    pub fn student(
        &self,
        context: &Context,
        folder: &RunDir,
        progress: &mut dyn Progress,
    ) -> Result<Vec<ReportRow>, Halt> {
        let experiment = self.experiment();
        let config = &experiment.consistency;
        let seeds = NamedSeeds::of(self.planned.seed);
        let denoiser = context.denoiser(experiment);
        let (weights, rows) = self.start(context, denoiser.as_deref(), progress)?;
        if config.truncation.is_some() {
            context.keep_first_stage(weights.clone());
        }
        let network = context.network.as_ref();
        let discretisation = config.discretisation.build().map_err(self.failed("the noise levels"))?;
        let index_law = config.index_law.build(context.range).map_err(self.failed("the law of intervals"))?;
        let distance = distance(&config.distance, context.data.train.as_ref(), seeds.features)?;
        let weighting = config.weighting.build(context.data.sigma_data);
        match experiment.method {
            MethodConfig::Distillation(_) | MethodConfig::Training => {
                let first = context.first_stage.get();
                let parts = self.consistency_parts(context, config, denoiser.as_deref(), first)?;
                let mut step = ConsistencyStep::new(config, network, weights, context.boundary(), parts);
                self.train_student(context, folder, &mut step, rows, progress)
            }
            MethodConfig::ContinuousDistillation(time) | MethodConfig::ContinuousTraining(time) => {
                let trajectory = trajectory(&experiment.method, denoiser.as_deref())?;
                let parts = ContinuousParts { trajectory, discretisation };
                let mut step =
                    ContinuousTimeStep::new(config, time, network, weights, context.boundary(), parts)
                        .map_err(self.failed("the law of noise levels"))?;
                self.train_student(context, folder, &mut step, rows, progress)
            }
            MethodConfig::ProgressiveDistillation => {
                let (CurriculumConfig::Halving(halving), Some(teacher)) = (config.curriculum, &denoiser)
                else {
                    let reason = "progressive distillation without a teacher or without halving";
                    return Err(RunError::failed("assembling the student", reason).into());
                };
                let parts = JumpParts { discretisation, index_law, distance, weighting };
                let teacher = teacher.as_ref();
                let edm = context.edm();
                let mut step =
                    ProgressiveStep::new(&config.train, halving, network, weights, edm, teacher, parts);
                self.train_student(context, folder, &mut step, rows, progress)
            }
            MethodConfig::Shortcut(shortcut) => {
                let parts = JumpParts { discretisation, index_law, distance, weighting };
                let mut step = ShortcutStep::new(config, shortcut, network, weights, context.edm(), parts);
                self.train_student(context, folder, &mut step, rows, progress)
            }
            MethodConfig::InductiveMomentMatching(moments) => {
                let (edm, range) = (context.edm(), context.range);
                let mut step = MomentMatchingStep::new(config, moments, network, weights, edm, range);
                self.train_student(context, folder, &mut step, rows, progress)
            }
            MethodConfig::TwoTime(two_time) => {
                let teacher = denoiser.as_deref().filter(|_| experiment.method.asks_teacher());
                if teacher.is_none() && experiment.method.asks_teacher() {
                    return Err(RunError::failed("assembling the student", "there is no teacher").into());
                }
                let parts = TwoTimeParts { range: context.range, distance, weighting, teacher };
                let mut step = TwoTimeStep::new(config, two_time, network, weights, context.edm(), parts);
                self.train_student(context, folder, &mut step, rows, progress)
            }
        }
    }

    /// Trains a student, writes its model, and scores it; its rows go behind those that are there.
    fn train_student<S: StudentStep>(
        &self,
        context: &Context,
        folder: &RunDir,
        step: &mut S,
        mut rows: Vec<ReportRow>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<ReportRow>, Halt> {
        let experiment = self.experiment();
        let config = &experiment.consistency;
        let seeds = NamedSeeds::of(self.planned.seed);
        let name = format!("{}: student", self.planned.name());
        let phase = self.phase(context, folder, (name, "student"), &config.train, seeds);
        let reference = context.reference(experiment, &experiment.evaluation.metrics)?;
        let last = config.train.steps();
        let probe = self.probe(context, seeds)?;
        let multiple_of = |moment: Moment, every: Option<u64>| {
            every.is_some_and(|every| is_due(moment.images, config.train.batch as u64, every))
        };
        let residuals_due = |moment: Moment| {
            let every = experiment.logging.residual_images;
            every.is_some() && moment.step == last || multiple_of(moment, every)
        };
        let scores_due =
            |moment: Moment| moment.step != last && multiple_of(moment, experiment.evaluation.every_images);
        let finished_stage =
            |step: &S, moment: Moment| step.finished_stage(moment.images, config.train.images());
        let due = |step: &S, moment: Moment| {
            let seen = residuals_due(moment)
                || scores_due(moment)
                || finished_stage(step, moment).is_some()
                || self.picture_is_due(moment, &config.train);
            snapshots::is_due(&config.train, moment.step) || is_first() && seen
        };
        let look = |step: &S, moment: Moment, journal: &mut Journal, progress: &mut dyn Progress| {
            if snapshots::is_due(&config.train, moment.step) {
                snapshots::snapshot(journal, step.state(), moment.step)?;
            }
            if !is_first() {
                return Ok(());
            }
            if residuals_due(moment)
                && let Some(residuals) = step.residuals(&probe)
            {
                let residuals = residuals.map_err(self.failed("the residuals"))?;
                let values: Vec<(String, f64)> = (residuals.into_iter().enumerate())
                    .map(|(bin, value)| {
                        (format!("student/residual/{}", loss_bins::name(context.range, bin)), value)
                    })
                    .collect();
                let values: Vec<(&str, f64)> = values.iter().map(|(name, v)| (name.as_str(), *v)).collect();
                journal.record(moment.step, moment.images, &values)?;
            }
            if let Some(stage) = finished_stage(step, moment) {
                self.write_stage(context, journal, stage, step.state())?;
            }
            // A student of a stage is sampled in that stage's steps.
            let samplers = match step.steps() {
                Some(steps) => vec![StudentSamplerConfig::Jumps(JumpsConfig { steps })],
                None => experiment.evaluation.student.clone(),
            };
            if scores_due(moment) {
                let models = self.named(step.state());
                let few = experiment.evaluation.samples_on_the_way();
                let rows = self.scores_by(context, &reference, (&samplers, few), &models, progress, None)?;
                let values: Vec<(String, f64)> = rows
                    .iter()
                    .map(|row| (format!("{}/{}/{}", row.model, row.sampler, row.metric), row.value))
                    .collect();
                let values: Vec<(&str, f64)> = values.iter().map(|(name, v)| (name.as_str(), *v)).collect();
                journal.record(moment.step, moment.images, &values)?;
            }
            if !self.picture_is_due(moment, &config.train) {
                return Ok(());
            }
            journal.weights(moment.step, "student/weights", &step.state().weights)?;
            for sampler in &samplers {
                let model = Student::new(experiment, context, step.state().averages[0].clone());
                let name = sampler.name();
                let sampler = model.sampler(sampler, context, context.labels())?;
                if let Some(picture) = self.picture(sampler.as_ref(), context.labels(), seeds)? {
                    journal.picture(moment.step, &name, &picture)?;
                }
            }
            Ok(())
        };
        phase.train(step, progress, due, look)?;
        let averages = &step.state().averages;
        let first = context.first_stage.get();
        let file = model_file(ModelKind::Student, self.planned, context.data.sigma_data, averages, first);
        write_file(&folder.path().join(MODEL_FILE), &file)?;
        rows.extend(match step.steps() {
            Some(_) => self.stage_scores(context, folder, &reference, progress)?,
            None => {
                let models = self.named(step.state());
                self.student_scores(context, &reference, &models, progress, Some(folder))?
            }
        });
        self.write_hyper_parameters(folder, last, &rows)?;
        write_in_run(folder.path(), self.planned, &rows)?;
        folder.write_scores(&rows)?;
        Ok(rows)
    }

    /// What decided the run and what came of it, for TensorBoard to compare arms: every value of the plan that is
    /// written for a single run, and the scores behind the last step.
    fn write_hyper_parameters(&self, folder: &RunDir, last: u64, rows: &[ReportRow]) -> Result<(), RunError> {
        let failed = FileError::io(folder.path());
        let values: Vec<(String, HyperParameter)> = flatten(&self.experiment().to_ron())
            .into_iter()
            .map(|leaf| (leaf.path, HyperParameter::of(&leaf.text)))
            .collect();
        let write = || {
            let mut events = EventFile::create(folder.path(), last + 1)?;
            for row in rows {
                events.scalar(last + 1, &row.score_tag(), row.value)?;
            }
            let seed = ("seed".to_owned(), HyperParameter::Text(self.planned.seed.to_string()));
            let arm = ("arm".to_owned(), HyperParameter::Text(self.planned.arm.clone()));
            events.hyper_parameters(last + 1, &[vec![arm, seed], values].concat())?;
            events.sync()
        };
        Ok(write().map_err(failed)?)
    }

    /// Writes the student of a stage of progressive distillation.
    fn write_stage(
        &self,
        context: &Context,
        journal: &mut Journal,
        stage: Stage,
        state: &TrainState,
    ) -> Result<(), RunError> {
        let sigma_data = context.data.sigma_data;
        let file = model_file(ModelKind::Student, self.planned, sigma_data, &state.averages, None);
        Ok(journal.file(&stage_name(stage.steps), &encode(&file)?)?)
    }

    /// Scores of the students of those stages that the plan asks for, each in its own number of steps.
    fn stage_scores(
        &self,
        context: &Context,
        folder: &RunDir,
        reference: &Reference<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<ReportRow>, Halt> {
        let mut rows = Vec::new();
        for sampler in &self.experiment().evaluation.student {
            let StudentSamplerConfig::Jumps(JumpsConfig { steps }) = sampler else { continue };
            let path = stage_file(folder.path(), *steps);
            let file = read(&path)?.ok_or_else(|| {
                let reason = "the model of a stage is not there: the file was removed".to_owned();
                FileError::Damaged { path: path.clone(), reason }
            })?;
            let mut averages = Vec::new();
            for index in 0..self.experiment().consistency.train.ema.len() {
                let mut weights = context.fresh.clone();
                file.load_weights(&prefix(index), &mut weights)
                    .map_err(|error| FileError::damaged(&path, error))?;
                averages.push(weights);
            }
            let models: Vec<_> = self.names().into_iter().zip(&averages).collect();
            let samplers = (std::slice::from_ref(sampler), self.experiment().evaluation.samples);
            rows.extend(self.scores_by(context, reference, samplers, &models, progress, Some(folder))?);
        }
        Ok(rows)
    }

    /// The averages of a student and the names of their rows.
    fn named<'s>(&self, state: &'s TrainState) -> Vec<(String, &'s Weights)> {
        self.names().into_iter().zip(&state.averages).collect()
    }

    /// The names of the averages' rows.
    fn names(&self) -> Vec<String> {
        let emas = &self.experiment().consistency.train.ema;
        let name = |ema: &EmaConfig| match emas.len() {
            1 => "student".to_owned(),
            _ => format!("student-{}", ema.name()),
        };
        emas.iter().map(name).collect()
    }

    /// Held-out images on which residuals are measured.
    fn probe(&self, context: &Context, seeds: NamedSeeds) -> Result<Probe, RunError> {
        let data = &context.data;
        let count = PROBE_IMAGES.min(data.test_images.count());
        let values = data.test_images.values()[..count * data.shape().len()].to_vec();
        let clean = ImageBatch::new(data.shape(), values).map_err(self.failed("the probe"))?;
        let labels = if self.experiment().class_conditional { &data.test_labels[..count] } else { &[] };
        let seeds = cm_evaluator::image_seeds(seeds.probe, count);
        Ok(Probe::new(clean, labels.to_vec(), &seeds, context.range, loss_bins::BINS))
    }

    /// Scores of some models of the student, with their names, by each sampler; `sheets` is where the first one's samples
    /// are laid beside the training images that they are most like.
    pub(crate) fn student_scores(
        &self,
        context: &Context,
        reference: &Reference<'_>,
        models: &[(String, &Weights)],
        progress: &mut dyn Progress,
        sheets: Option<&RunDir>,
    ) -> Result<Vec<ReportRow>, Halt> {
        let evaluation = &self.experiment().evaluation;
        let samplers = (&evaluation.student[..], evaluation.samples);
        self.scores_by(context, reference, samplers, models, progress, sheets)
    }

    /// The same by some samplers, of so many samples each.
    fn scores_by(
        &self,
        context: &Context,
        reference: &Reference<'_>,
        (samplers, samples): (&[StudentSamplerConfig], usize),
        models: &[(String, &Weights)],
        progress: &mut dyn Progress,
        sheets: Option<&RunDir>,
    ) -> Result<Vec<ReportRow>, Halt> {
        if !is_first() {
            return Ok(Vec::new());
        }
        let seed = NamedSeeds::of(self.planned.seed).sample;
        let mut rows = Vec::new();
        let last = self.experiment().consistency.train.steps();
        for (index, (name, weights)) in models.iter().enumerate() {
            let model = Student::new(self.experiment(), context, (*weights).clone());
            for config in samplers {
                let sampler = model.sampler(config, context, context.labels())?;
                let what = format!("{} {}", self.planned.name(), config.name());
                let drawn = (sampler.as_ref(), samples, seed);
                let look = |images: &ImageBatch| match sheets.filter(|_| index == 0) {
                    Some(folder) => {
                        let sheet = format!("{COPIES}{}-{last:08}.png", config.name().replace('/', "-"));
                        self.write_copies(reference, images, &folder.samples().join(sheet))
                    }
                    None => Ok(()),
                };
                let scored = self.score(context, reference, drawn, &what, progress, &look)?;
                let evaluations = sampler.evaluations();
                rows.extend(self.rows(&scored, name, &config.name(), evaluations, self.planned.seed));
            }
        }
        Ok(rows)
    }
}
