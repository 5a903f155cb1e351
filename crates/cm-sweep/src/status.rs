//! Where the tasks of a sweep stand.

use crate::error::SweepError;
use crate::folder::{Sweep, Task, Work};
use crate::record::{Ending, TaskRecord};
use cm_experiment::table::align;
use cm_experiment::{StudyStatus, TrainingStatus};
use cm_host::FileError;
use cm_study::{TeacherKey, duration};
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
    /// The share of its training's steps that were written down; nothing where it trains nothing.
    pub share: Option<f64>,
    /// Seconds to the end of its training at the last rate, scores aside; nothing where no rate is known.
    pub seconds_left: Option<f64>,
}

/// Where a sweep stands.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepStatus {
    /// Its tasks, in their order.
    pub tasks: Vec<TaskStatus>,
    /// Its trainings; nothing where a folder is in the way of one.
    trainings: Option<StudyStatus>,
}

/// Where a sweep stands, and how far the trainings of its tasks are.
///
/// # Errors
/// [`SweepError`] if a lock or record cannot be read.
pub fn status(sweep: &Sweep) -> Result<SweepStatus, SweepError> {
    let mut tasks = sweep.tasks().iter().map(|task| of_task(sweep, task)).collect::<Result<Vec<_>, _>>()?;
    // What is wrong with a folder is found and told by whoever works on its task.
    let trainings = cm_experiment::status(sweep.path()).ok();
    for (status, task) in tasks.iter_mut().zip(sweep.tasks()) {
        let of_task: Vec<&TrainingStatus> = (trainings.iter())
            .flat_map(|study| &study.trainings)
            .filter(|training| names_of(task).contains(&training.name))
            .collect();
        if !of_task.is_empty() {
            let share = of_task.iter().map(|training| training.share()).sum::<f64>();
            status.share = Some(share / of_task.len() as f64);
            let left: Vec<f64> = of_task.iter().filter_map(|training| training.seconds_left()).collect();
            status.seconds_left = (!left.is_empty()).then(|| left.iter().sum());
        }
    }
    Ok(SweepStatus { tasks, trainings })
}

/// What the trainings of a task are called.
fn names_of(task: &Task) -> Vec<String> {
    match &task.work {
        Work::Run(run) => vec![run.name()],
        Work::Baselines(run) => {
            TeacherKey::all_of(&run.experiment).iter().map(|key| format!("teachers/{}", key.hash)).collect()
        }
    }
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
    let name = task.name.clone();
    Ok(TaskStatus {
        index: task.index,
        name,
        state,
        attempts,
        seconds,
        error,
        share: None,
        seconds_left: None,
    })
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
        let header =
            ["task", "name", "state", "left", "done", "attempts", "seconds"].map(str::to_owned).to_vec();
        let rows = all.iter().map(|task| {
            vec![
                task.index.to_string(),
                task.name.clone(),
                task.state.name().to_owned(),
                task.seconds_left
                    .filter(|_| task.state == TaskState::Running)
                    .map_or_else(|| "-".to_owned(), duration),
                task.share.map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", (100.0 * share).floor())),
                task.attempts.to_string(),
                format!("{:.1}", task.seconds),
            ]
        });
        let mut text = align(&std::iter::once(header).chain(rows).collect::<Vec<_>>(), 3);
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

impl SweepStatus {
    /// The table of all tasks, and a line on the whole.
    pub fn table(&self) -> String {
        let mut text = TaskStatus::table(&self.tasks);
        let Some(trainings) = &self.trainings else { return text };
        text += &format!("{:.0}% of the arithmetic of training", (100.0 * trainings.share()).floor());
        let running = self.tasks.iter().filter(|task| task.state == TaskState::Running).count();
        if let Some(left) = trainings.seconds_left().filter(|_| running > 0) {
            let left = duration(left / running as f64);
            text += &format!(
                "; about {left} left for the rest, {running} at a time at the last speed, scores aside"
            );
        }
        text + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(index: usize, state: TaskState, share: Option<f64>, seconds_left: Option<f64>) -> TaskStatus {
        let (name, error) = (format!("a/seed-{index}"), String::new());
        TaskStatus { index, name, state, attempts: 1, seconds: 2.0, error, share, seconds_left }
    }

    #[test]
    fn a_running_task_tells_how_far_it_is() {
        let table = TaskStatus::table(&[
            task(0, TaskState::Running, Some(0.259), Some(90.0)),
            task(1, TaskState::Stopped, Some(0.5), Some(90.0)),
            task(2, TaskState::Pending, None, None),
        ]);
        let left = |line: &str| line.split('|').nth(4).unwrap().trim().to_owned();
        let found: Vec<String> = table.lines().take(3).map(left).collect();
        assert_eq!((found[0].as_str(), found[2].as_str()), ("left", duration(90.0).as_str()), "{table}");
        assert!(
            table.contains("|  25% |")
                && table.contains("| stopped |")
                && table.contains("1 running, 1 pending")
        );
        assert_eq!(table.matches(&duration(90.0)).count(), 1, "what stands still has no end: {table}");
    }
}
