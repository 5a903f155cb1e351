//! The results of a sweep's tasks as the report of a study.

use crate::error::SweepError;
use crate::folder::{SCORES, Sweep, Task, Work};
use crate::status::{TaskState, TaskStatus, status};
use cm_experiment::{ReportRow, SealedFolder, StudyDir, gather, table};
use std::path::PathBuf;

/// What a sweep has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected {
    /// The table of what is there.
    pub table: String,
    /// `report.csv`, if every task is done.
    pub report: Option<PathBuf>,
    /// The tasks that are not.
    pub missing: Vec<TaskStatus>,
}

/// Writes `report.csv` and `report.md` of a sweep whose tasks are all done, the same to the byte as `cm run` writes.
/// Of another one, the table of what is there; nothing is written.
///
/// # Errors
/// [`SweepError`] if scores cannot be read or the report cannot be written.
pub fn collect(sweep: &Sweep) -> Result<Collected, SweepError> {
    let mut missing = status(sweep)?.tasks;
    missing.retain(|task| task.state != TaskState::Finished);
    let (mut baselines, mut rows) = (Vec::new(), Vec::new());
    for task in sweep.tasks().iter().filter(|task| sweep.is_finished(task)) {
        let scores = scores(sweep, task)?;
        match task.work {
            Work::Baselines(_) => baselines.push(scores),
            Work::Run(_) => rows.extend(scores),
        }
    }
    let all = gather(baselines, rows);
    if !missing.is_empty() {
        return Ok(Collected { table: table::markdown(&all), report: None, missing });
    }
    let dir = StudyDir::share(sweep.path())?;
    let table = dir.write_report(&sweep.plan().question, &all)?;
    Ok(Collected { table, report: Some(sweep.path().join("report.csv")), missing })
}

fn scores(sweep: &Sweep, task: &Task) -> Result<Vec<ReportRow>, SweepError> {
    let path = sweep.results(task);
    let folder = match &task.work {
        Work::Baselines(_) => SealedFolder::open(&path)?,
        Work::Run(run) => SealedFolder::of_run(&path, run)?,
    };
    Ok(folder.rows(SCORES)?.unwrap_or_default())
}
