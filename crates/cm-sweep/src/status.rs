//! Where the tasks of a sweep stand.

use crate::error::SweepError;
use crate::folder::{Sweep, Task};
use crate::record::{Ending, TaskRecord};
use cm_experiment::table::align;
use cm_host::FileError;
use std::fs::{File, TryLockError};
use std::io;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Nobody has begun it.
    Pending,
    /// A process works on it.
    Running,
    /// Its scores are there.
    Finished,
    /// Its last attempt was asked to stop.
    Stopped,
    /// Its last attempt failed.
    Failed,
    /// Its last attempt ended without a word: killed, out of memory, or the machine was switched off.
    Interrupted,
}

impl TaskState {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A task and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskStatus {
    /// The task's number.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: TaskState,
    /// How often it was begun.
    pub attempts: u32,
    /// Seconds of all attempts that told their end.
    pub seconds: f64,
    /// Why its last attempt failed; empty if it did not.
    pub error: String,
}

/// Where each task of a sweep stands.
///
/// # Errors
/// [`SweepError`] if a lock or record cannot be read.
pub fn status(sweep: &Sweep) -> Result<Vec<TaskStatus>, SweepError> {
    sweep.tasks().iter().map(|task| of_task(sweep, task)).collect()
}

pub(crate) fn of_task(sweep: &Sweep, task: &Task) -> Result<TaskStatus, SweepError> {
    // The lock before the record: a task that ends in between is found finished.
    let held = is_held(sweep, task)?;
    let record = TaskRecord::read(&sweep.file(task.index, "ron"))?;
    let state = match (sweep.is_finished(task), held, record.ending) {
        (true, ..) => TaskState::Finished,
        (false, true, _) => TaskState::Running,
        (false, false, Ending::Stopped) => TaskState::Stopped,
        (false, false, Ending::Failed) => TaskState::Failed,
        // Finished, but its scores were taken away: to be done again.
        (false, false, Ending::Finished) => TaskState::Pending,
        (false, false, Ending::None) if record.attempts == 0 => TaskState::Pending,
        (false, false, Ending::None) => TaskState::Interrupted,
    };
    let TaskRecord { attempts, seconds, error, .. } = record;
    Ok(TaskStatus { index: task.index, name: task.name.clone(), state, attempts, seconds, error })
}

fn is_held(sweep: &Sweep, task: &Task) -> Result<bool, SweepError> {
    let path = sweep.file(task.index, "lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(FileError::Io { path, source }.into()),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(FileError::Io { path, source }.into()),
    }
}

impl TaskStatus {
    /// A table of some tasks, failures with their reasons below it.
    pub fn table(all: &[Self]) -> String {
        let header = ["task", "name", "state", "attempts", "seconds"].map(str::to_owned).to_vec();
        let rows = all.iter().map(|task| {
            vec![
                task.index.to_string(),
                task.name.clone(),
                task.state.name().to_owned(),
                task.attempts.to_string(),
                format!("{:.1}", task.seconds),
            ]
        });
        let mut text = align(&std::iter::once(header).chain(rows).collect::<Vec<_>>());
        for state in [
            TaskState::Finished,
            TaskState::Running,
            TaskState::Pending,
            TaskState::Stopped,
            TaskState::Interrupted,
            TaskState::Failed,
        ] {
            let count = all.iter().filter(|task| task.state == state).count();
            if count > 0 {
                text += &format!("{count} {}, ", state.name());
            }
        }
        text += &format!("of {} tasks\n", all.len());
        for task in all.iter().filter(|task| !task.error.is_empty() && task.state == TaskState::Failed) {
            text += &format!("task {} ({}): {}\n", task.index, task.name, task.error);
        }
        text
    }
}
