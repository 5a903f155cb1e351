//! One task, done by whoever holds its lock.

use crate::error::SweepError;
use crate::folder::{SCORES, Sweep, Task, Work};
use crate::record::{Ending, TaskRecord, host};
use cm_experiment::{Halt, Run, StudyDir, check_prepared, seal, table};
use cm_host::{FileError, Identity, Progress, StopFlag, durable};
use cm_study::{Problems, TeacherKey, baseline_key};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

/// How a task that did not fail came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskOutcome {
    /// It is done.
    Finished,
    /// It was done before.
    AlreadyFinished,
    /// It was asked to stop, and left a checkpoint.
    Stopped,
}

/// Does task `index` of the sweep in `folder`, from its last checkpoint on. Does nothing if it is done.
///
/// # Errors
/// [`SweepError`]; [`FileError::Busy`] if another process works on it. A failure is also kept in the task's record.
pub fn run_task(
    folder: &Path,
    index: usize,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<TaskOutcome, SweepError> {
    let sweep = Sweep::open(folder)?;
    let Some(task) = sweep.tasks().get(index) else {
        let mut problems = Problems::default();
        let allowed = format!("0 to {}", sweep.tasks().len().saturating_sub(1));
        problems.add("--task", format!("the sweep has no task {index}"), allowed);
        problems.check()?;
        return Ok(TaskOutcome::AlreadyFinished);
    };
    if sweep.is_finished(task) {
        return Ok(TaskOutcome::AlreadyFinished);
    }
    let _claim = claim(&sweep.file(index, "lock"))?;
    if sweep.is_finished(task) {
        return Ok(TaskOutcome::AlreadyFinished);
    }
    let path = sweep.file(index, "ron");
    let before = TaskRecord::read(&path)?;
    let mut record = TaskRecord {
        attempts: before.attempts + 1,
        ending: Ending::None,
        error: String::new(),
        host: host(),
        process: std::process::id(),
        seconds: before.seconds,
    };
    record.write(&path)?;
    let started = Instant::now();
    let done = work(&sweep, task, stop, progress);
    record.seconds += started.elapsed().as_secs_f64();
    let (ending, outcome) = match done {
        Ok(()) => (Ending::Finished, Ok(TaskOutcome::Finished)),
        Err(Halt::Stopped) => (Ending::Stopped, Ok(TaskOutcome::Stopped)),
        Err(Halt::Failed(error)) => {
            record.error = error.to_string();
            (Ending::Failed, Err(error))
        }
    };
    record.ending = ending;
    // The first error is the one to tell.
    let written = record.write(&path);
    let outcome = outcome?;
    written?;
    Ok(outcome)
}

/// Between two looks at a lock that another process holds.
const PAUSE: Duration = Duration::from_millis(100);
/// Whoever asks for a task's state holds its lock for a moment.
const MOMENT: Duration = Duration::from_secs(2);

/// The lock of a task.
fn claim(path: &Path) -> Result<File, SweepError> {
    let file = File::create(path).map_err(FileError::io(path))?;
    let deadline = Instant::now() + MOMENT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(FileError::Busy { path: path.to_owned() }.into());
            }
            Err(TryLockError::Error(source)) => {
                return Err(FileError::Io { path: path.to_owned(), source }.into());
            }
        }
    }
}

/// The lock of something that several tasks need; waits until the process that makes it is done.
fn wait_for(path: &Path, stop: &StopFlag, progress: &mut dyn Progress) -> Result<File, Halt> {
    let file = File::create(path).map_err(FileError::io(path))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if stop.is_requested() => return Err(Halt::Stopped),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress.note("waiting for the teacher that another task trains");
                    told = true;
                }
                std::thread::sleep(PAUSE);
            }
            Err(TryLockError::Error(source)) => {
                return Err(FileError::Io { path: path.to_owned(), source }.into());
            }
        }
    }
}

fn work(sweep: &Sweep, task: &Task, stop: &StopFlag, progress: &mut dyn Progress) -> Result<(), Halt> {
    let dir = StudyDir::share(sweep.path())?;
    dir.check_inputs()?;
    check_prepared(sweep.plan(), progress)?;
    let run = Run::new(&dir, task.work.run(), stop)?;
    let folder = dir.run_dir(task.work.run());
    let context = {
        let mut teachers = TeacherKey::all_of(&task.work.run().experiment);
        // In one order for all tasks, so that none waits for one that waits for it.
        teachers.sort_by(|a, b| a.hash.cmp(&b.hash));
        let lock = |key: &TeacherKey| {
            let lock = sweep.path().join("tasks").join(format!("teacher-{}.lock", key.hash));
            wait_for(&lock, stop, progress)
        };
        let _teachers = teachers.iter().map(lock).collect::<Result<Vec<_>, Halt>>()?;
        run.prepare(progress)?
    };
    match &task.work {
        Work::Baselines(_) => {
            let rows = run.baselines(&context, progress)?;
            let folder = sweep.results(task);
            durable::create_folders(&folder).map_err(FileError::io(&folder))?;
            let path = folder.join(SCORES);
            durable::write(&path, table::to_csv(&rows).as_bytes()).map_err(FileError::io(&path))?;
            let key = baseline_key(&task.work.run().experiment);
            seal(&folder, Identity::new("baselines", &task.name, &key), &[SCORES])?;
        }
        Work::Run(_) => {
            run.student(&context, &folder?, progress)?;
        }
    }
    Ok(())
}

/// Holds this process to so much memory of its own, in MiB: what it asks for beyond is refused, which ends it.
///
/// # Errors
/// [`FileError::Io`] if the system refuses the limit.
pub fn limit_memory(mebibytes: u64) -> Result<(), SweepError> {
    let bytes = Some(mebibytes.saturating_mul(1 << 20));
    setrlimit(Resource::Data, Rlimit { current: bytes, maximum: bytes })
        .map_err(|error| SweepError::failed("limiting the memory of a task", error))
}
