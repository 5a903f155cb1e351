//! A study from its first step to its report: teacher, student, samples, scores, for each arm and seed.

use crate::config::{ExperimentConfig, TeacherSource};
use crate::context::Context;
use crate::error::{FolderError, Halt, RunError, RunOutcome};
use crate::judge;
use crate::load::Study;
use crate::phase::{Phase, is_due, write_file};
use crate::picture;
use crate::plan::{Plan, PlannedRun, to_ron};
use crate::post_hoc;
use crate::processes::{self, Aside, is_first};
use crate::progress::Progress;
use crate::run_dir::{Opened, RunDir, StudyDir, TeacherKey};
use crate::seed::NamedSeeds;
use crate::stop::StopFlag;
use crate::table::{self, ReportRow};
use crate::trained::{ModelKind, model_file};
use crate::weights_file::WeightsFile;
use cm_diffusion::{Labels, Sampler};
use cm_evaluator::{EvaluationError, EvaluationReport, Reference, evaluate};
use cm_image::ImageBatch;
use cm_training::{EmaConfig, StepReport, TrainConfig};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// Runs a study in a new folder under `out`.
///
/// # Errors
/// [`RunError`]; for an input error nothing has been written but, at most, an empty folder.
pub fn run(
    study: &Study,
    out: &Path,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<RunOutcome, RunError> {
    processes::check(&study.plan)?;
    if !is_first() {
        return follow(
            |aside| match StudyDir::create(study, aside.path())? {
                Opened::New(dir) => Ok(dir),
                Opened::Finished { path, .. } => Err(FolderError::OtherPlan { path }.into()),
            },
            &study.plan,
            stop,
            progress,
        );
    }
    match StudyDir::create(study, out)? {
        Opened::Finished { path, table } => {
            processes::as_first_says(false)?;
            Ok(RunOutcome::AlreadyFinished { dir: path, table })
        }
        Opened::New(dir) => {
            processes::as_first_says(true)?;
            outcome(&dir, execute(&dir, &study.plan, stop, progress))
        }
    }
}

/// Goes on with the study in `study_dir` after its last checkpoint.
///
/// # Errors
/// [`RunError`].
pub fn resume(
    study_dir: &Path,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<RunOutcome, RunError> {
    if !is_first() {
        let plan = StudyDir::plan_of(study_dir)?;
        processes::check(&plan)?;
        return follow(
            |aside| {
                let copy = aside.copy(study_dir)?;
                processes::meet()?;
                Ok(StudyDir::reopen(&copy)?.0)
            },
            &plan,
            stop,
            progress,
        );
    }
    let (dir, study) = StudyDir::reopen(study_dir)?;
    processes::check(&study.plan)?;
    if dir.path().join("report.csv").exists() {
        let table = crate::run_dir::report_of(study_dir)?;
        processes::as_first_says(false)?;
        return Ok(RunOutcome::AlreadyFinished { dir: study_dir.to_owned(), table });
    }
    processes::as_first_says(true)?;
    // The others have their copies before anything changes.
    processes::meet()?;
    outcome(&dir, execute(&dir, &study.plan, stop, progress))
}

/// Follows the first process through a plan, if it works on it at all.
fn follow(
    open: impl FnOnce(&Aside) -> Result<StudyDir, RunError>,
    plan: &Plan,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<RunOutcome, RunError> {
    if processes::as_first_says(false)? {
        let aside = Aside::new()?;
        let dir = open(&aside)?;
        match execute(&dir, plan, stop, progress) {
            Ok(_) | Err(Halt::Stopped) => {}
            Err(Halt::Failed(error)) => return Err(error),
        }
    }
    Ok(RunOutcome::Followed)
}

/// Works out averages of other widths from the snapshots of a finished run, `STUDY/ARM/seed-N`, and scores them as the
/// study scores its own. Each is written to `post-hoc/` in the run's folder as a model of its own; the study's report
/// stays as it is.
///
/// # Errors
/// [`RunError`] if the folder is no run of a study, kept no snapshots or has not come to its end.
pub fn post_hoc_ema(
    run_dir: &Path,
    sigma_rels: &[f32],
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<RunOutcome, RunError> {
    let full = fs::canonicalize(run_dir).map_err(RunError::file(run_dir))?;
    let no_run = || {
        let reason = "its study has no such run; give a folder such as runs/STUDY/ARM/seed-0".to_owned();
        FolderError::NoAverages { path: run_dir.to_owned(), reason }
    };
    let study_dir =
        full.ancestors().nth(2).filter(|dir| dir.join("plan.ron").is_file()).ok_or_else(no_run)?;
    let (dir, study) = StudyDir::reopen(study_dir)?;
    let planned = study.plan.runs().find(|run| full.ends_with(run.name())).ok_or_else(no_run)?;
    let run = Run { dir: &dir, planned: &planned, stop };
    outcome(&dir, run.post_hoc(&dir.run_dir(&planned)?, sigma_rels, progress))
}

fn outcome(dir: &StudyDir, table: Result<String, Halt>) -> Result<RunOutcome, RunError> {
    let dir = dir.path().to_owned();
    match table {
        Ok(table) => Ok(RunOutcome::Finished { dir, table }),
        Err(Halt::Stopped) => Ok(RunOutcome::Stopped { dir }),
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// Does what is not done yet; the table.
fn execute(
    dir: &StudyDir,
    plan: &Plan,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<String, Halt> {
    let mut rows = Vec::new();
    // Arms that share data, teacher and evaluation share the lines of floor and teacher.
    let mut baselines: Vec<(String, Vec<ReportRow>)> = Vec::new();
    for planned in plan.runs() {
        let run = Run { dir, planned: &planned, stop };
        let folder = dir.run_dir(&planned)?;
        let key = baseline_key(&planned.experiment);
        let known = baselines.iter().any(|(other, _)| *other == key);
        let scores = folder.scores()?;
        if !known || scores.is_none() {
            let context = run.prepare(progress)?;
            if !known {
                baselines.push((key, run.baselines(&context, progress)?));
            }
            if scores.is_none() {
                rows.extend(run.student(&context, &folder, progress)?);
                continue;
            }
        }
        rows.extend(scores.into_iter().flatten());
    }
    let all = gather(baselines.into_iter().map(|(_, rows)| rows).collect(), rows);
    Ok(dir.write_report(&plan.question, &all)?)
}

/// The rows of a report: floor and teachers, which belong to no arm if all arms share them, then the students.
pub(crate) fn gather(baselines: Vec<Vec<ReportRow>>, students: Vec<ReportRow>) -> Vec<ReportRow> {
    let shared = baselines.len() == 1;
    let mut all: Vec<ReportRow> = baselines.into_iter().flatten().collect();
    if shared {
        all.iter_mut().for_each(|row| row.arm = "-".into());
    }
    all.extend(students);
    all
}

/// What decides floor and teacher's scores.
pub(crate) fn baseline_key(e: &ExperimentConfig) -> String {
    let evaluation =
        (&e.evaluation.samples, &e.evaluation.teacher, &e.evaluation.metrics, &e.evaluation.metric);
    to_ron(&(
        &e.dataset,
        &e.network,
        &e.class_conditional,
        &e.teacher,
        &e.teacher_seed,
        &e.consistency.discretisation,
        evaluation,
    ))
}

/// One run and where it works.
pub(crate) struct Run<'a> {
    pub(crate) dir: &'a StudyDir,
    pub(crate) planned: &'a PlannedRun,
    pub(crate) stop: &'a StopFlag,
}

impl Run<'_> {
    pub(crate) fn experiment(&self) -> &ExperimentConfig {
        &self.planned.experiment
    }

    pub(crate) fn failed<E>(&self, what: &str) -> impl FnOnce(E) -> RunError
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let what = format!("{what} of {}", self.planned.name());
        |error| RunError::failed(what, error)
    }

    /// Reconstructs, writes and scores averages of the given widths; their table.
    fn post_hoc(
        &self,
        folder: &RunDir,
        sigma_rels: &[f32],
        progress: &mut dyn Progress,
    ) -> Result<String, Halt> {
        let config = &self.experiment().consistency.train;
        let context = self.prepare(progress)?;
        let parent = folder.path().join("post-hoc");
        fs::create_dir_all(&parent).map_err(RunError::file(&parent))?;
        let mut models = Vec::new();
        for &sigma_rel in sigma_rels {
            let (weights, error) = post_hoc::reconstruct(folder, config, &context.fresh, sigma_rel)?;
            let name = EmaConfig::Power(sigma_rel).name();
            let average = std::slice::from_ref(&weights);
            let file = model_file(ModelKind::Student, self.planned, context.data.sigma_data, average);
            write_file(&parent.join(format!("{name}.safetensors")), &file)?;
            progress.note(&format!("{name}: its profile is met up to {:.2} per cent", 100.0 * error));
            models.push((format!("student-{name}"), weights));
        }
        let models: Vec<_> = models.iter().map(|(name, weights)| (name.clone(), weights)).collect();
        let reference = context.reference(self.experiment(), &self.experiment().evaluation.metrics)?;
        let rows = self.student_scores(&context, &reference, &models, progress)?;
        Ok(table::markdown(&rows))
    }

    /// Data, judge, network, and the teacher if there is one to train.
    pub(crate) fn prepare(&self, progress: &mut dyn Progress) -> Result<Context, Halt> {
        let experiment = self.experiment();
        let mut context = Context::new(self.planned)?;
        if judge::is_trained(&experiment.dataset) {
            context.judge.folder = Some(self.dir.shared_dir(&judge::folder_name(&experiment.dataset))?);
        }
        if let (TeacherSource::Trained(_), Some(key)) = (&experiment.teacher, TeacherKey::of(experiment)) {
            context.teacher = Some(self.teacher(&context, &key, progress)?);
        }
        if let TeacherSource::File(config) = &experiment.teacher {
            let file = WeightsFile::open(&config.path)?;
            // The network was trained with this value, whatever the data of this study are.
            context.data.sigma_data = file.card.sigma_data;
            context.teacher = Some(file.weights);
        }
        Ok(context)
    }

    /// A training that belongs to this run: its name and the first part of its curves' names, where it is kept, and what
    /// it draws from.
    pub(crate) fn phase<'a>(
        &'a self,
        context: &'a Context,
        folder: &'a RunDir,
        (name, prefix): (String, &'static str),
        config: &'a TrainConfig,
        seeds: NamedSeeds,
    ) -> Phase<'a> {
        let (logging, data) = (&self.experiment().logging, context.data.train.as_ref());
        Phase { name, prefix, folder, config, logging, seeds, range: context.range, data, stop: self.stop }
    }

    pub(crate) fn score(
        &self,
        reference: &Reference<'_>,
        sampler: &dyn Sampler,
        seed: u64,
        what: &str,
        progress: &mut dyn Progress,
    ) -> Result<EvaluationReport, Halt> {
        let samples = self.experiment().evaluation.samples;
        progress.phase(&format!("{what}: samples"), samples as u64);
        let mut before = 0;
        let report = evaluate(reference, sampler, samples, seed, &mut |drawn, _| {
            progress.advance((drawn - before) as u64, None);
            before = drawn;
            if self.stop.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .map_err(|error| match error {
            EvaluationError::Stopped => Halt::Stopped,
            error => self.failed("the evaluation")(error).into(),
        })?;
        progress.finish_phase();
        Ok(report)
    }

    pub(crate) fn rows(
        &self,
        report: &EvaluationReport,
        model: &str,
        sampler: &str,
        nfe: usize,
        seed: u64,
    ) -> Vec<ReportRow> {
        let row = |score: &cm_evaluator::Score| ReportRow {
            arm: self.planned.arm.clone(),
            seed,
            model: model.into(),
            sampler: sampler.into(),
            nfe,
            metric: score.metric.clone(),
            value: score.value,
            samples: score.samples,
        };
        report.scores.iter().map(row).collect()
    }

    pub(crate) fn picture_is_due(&self, report: &StepReport, batch: usize) -> bool {
        let every = self.experiment().logging.picture_images;
        every.is_some_and(|every| is_due(report.images, batch as u64, every))
    }

    /// A contact sheet of images, in the order of their classes; a scatter plot of points in the plane; nothing for
    /// what cannot be drawn.
    pub(crate) fn picture(
        &self,
        sampler: &dyn Sampler,
        labels: Labels,
        seeds: NamedSeeds,
    ) -> Result<Option<ImageBatch>, RunError> {
        let Some(count) = picture::wanted(sampler.shape(), self.experiment().logging.grid) else {
            return Ok(None);
        };
        let mut seeds = cm_evaluator::image_seeds(seeds.sample, count);
        seeds.sort_by_key(|&seed| labels.of(&[seed]).pop());
        let images = sampler.sample(&seeds).map_err(self.failed("the picture"))?;
        picture::draw(&images).map(Some).map_err(self.failed("the picture"))
    }
}
