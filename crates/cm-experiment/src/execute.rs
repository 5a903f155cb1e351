//! A study from its first step to its report: teacher, student, samples, scores, for each arm and seed.

use crate::cautions::cautions;
use crate::error::{FolderError, Halt, RunError, RunOutcome};
use crate::memory::check_memory;
use crate::parts::Parts;
use crate::processes::{self, Aside, is_first};
use crate::run::Run;
use crate::sealed::SealedFolder;
use crate::signs::signs;
use crate::study_dir::{Opened, StudyDir, report_of};
use crate::table::ReportRow;
use crate::{continuation, inputs, networks};
use cm_host::{Progress, StopFlag};
use cm_study::{Plan, Study, baseline_key};
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
    begin(study, || StudyDir::create(study, out), stop, progress)
}

/// The same [in place](StudyDir::replace) of a study that is there, finished or not.
///
/// # Errors
/// As [`run`]; then what was there is as it was.
pub fn run_in_place(
    study: &Study,
    out: &Path,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<RunOutcome, RunError> {
    begin(study, || StudyDir::replace(study, out), stop, progress)
}

fn begin(
    study: &Study,
    open: impl FnOnce() -> Result<Opened, RunError>,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<RunOutcome, RunError> {
    processes::check(&study.plan)?;
    check_memory(&study.plan)?;
    networks::check(&study.plan)?;
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
    match open()? {
        Opened::Finished { path, table } => {
            processes::as_first_says(false)?;
            Ok(RunOutcome::AlreadyFinished { dir: path, table })
        }
        Opened::New(dir) => {
            stop.resumable_in(dir.path());
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
    check_memory(&study.plan)?;
    if SealedFolder::open(study_dir)?.has("report.csv") {
        let table = report_of(study_dir)?;
        processes::as_first_says(false)?;
        return Ok(RunOutcome::AlreadyFinished { dir: study_dir.to_owned(), table });
    }
    stop.resumable_in(dir.path());
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

/// How work on a study came out.
pub(crate) fn outcome(dir: &StudyDir, table: Result<String, Halt>) -> Result<RunOutcome, RunError> {
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
    inputs::check_prepared(plan, progress)?;
    let parts = Parts::of(plan);
    let mut told = Vec::new();
    let mut rows = Vec::new();
    // Arms that share data, teacher and evaluation share the lines of floor and teacher.
    let mut baselines: Vec<(String, Vec<ReportRow>)> = Vec::new();
    for planned in plan.runs() {
        let run = Run::new(dir, &planned, stop)?;
        let folder = dir.run_dir(&planned)?;
        continuation::tell(&folder, &mut told, progress)?;
        let key = baseline_key(&planned.experiment);
        let known = baselines.iter().any(|(other, _)| *other == key);
        let scores = folder.scores()?;
        if !known || scores.is_none() {
            parts.teacher(&planned).into_iter().for_each(|part| progress.part(part));
            let context = run.prepare(progress)?;
            if !known {
                baselines.push((key, run.baselines(&context, progress)?));
            }
            if scores.is_none() {
                parts.student(&planned).into_iter().for_each(|part| progress.part(part));
                rows.extend(run.student(&context, &folder, progress)?);
                continue;
            }
        }
        rows.extend(scores.into_iter().flatten());
    }
    let all = gather(baselines.into_iter().map(|(_, rows)| rows).collect(), rows);
    let table = dir.write_report(&plan.question, &all)?;
    cautions(plan, &all).iter().for_each(|caution| progress.note(&format!("caution: {caution}")));
    for planned in plan.runs() {
        let name = planned.name();
        let (curves, _) = SealedFolder::open(&dir.path().join(&name))?.curves()?;
        let signs = signs(&planned.experiment, &curves);
        signs.iter().for_each(|sign| progress.note(&format!("sign: {name}: {sign}")));
    }
    Ok(table)
}

/// The rows of a report: floor and teachers, which belong to no arm if all arms share them, then the students.
pub fn gather(baselines: Vec<Vec<ReportRow>>, students: Vec<ReportRow>) -> Vec<ReportRow> {
    let shared = baselines.len() == 1;
    let mut all: Vec<ReportRow> = baselines.into_iter().flatten().collect();
    if shared {
        all.iter_mut().for_each(|row| row.arm = "-".into());
    }
    all.extend(students);
    all
}
