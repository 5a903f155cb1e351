//! The tasks of a sweep in processes of this machine, with bounds on threads and memory.
//!
//! Each attempt is a process of its own, so a task that runs out of memory or panics takes nothing else with it.

use crate::error::SweepError;
use crate::folder::{Sweep, Task};
use crate::record::TaskRecord;
use crate::status::{TaskState, of_task};
use cm_host::{FileError, Progress, StopFlag};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How tasks are run on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalOptions {
    /// The program that does a task: this one.
    pub program: PathBuf,
    /// Tasks at a time, at least 1. None: as many as the machine has cores for, `threads` each.
    pub jobs: Option<usize>,
    /// Worker threads of a task, at least 1.
    pub threads: usize,
    /// What a task is given as `--device`, if anything.
    pub device: Option<String>,
    /// Memory of a task's own in MiB; one that asks for more ends. No more tasks are begun than there is memory for.
    /// None: no bound.
    pub memory_mib: Option<u64>,
    /// Further attempts at a task that failed.
    pub retries: u32,
}

/// What became of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalOutcome {
    /// Tasks done here.
    pub finished: usize,
    /// Tasks that were done before.
    pub already_finished: usize,
    /// Tasks that failed at every attempt, with the reason.
    pub failed: Vec<String>,
    /// Tasks that other processes work on.
    pub elsewhere: Vec<String>,
    /// Tasks not begun, since the task that trains their teacher failed.
    pub held_back: Vec<String>,
    /// Whether it was asked to stop.
    pub stopped: bool,
}

impl LocalOutcome {
    /// Whether every task is done.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.elsewhere.is_empty() && self.held_back.is_empty() && !self.stopped
    }
}

/// Between two looks at the processes.
const PAUSE: Duration = Duration::from_millis(50);

struct Attempt<'a> {
    task: &'a Task,
    child: Child,
    since: Instant,
}

/// A task that is not done, and the attempts at it so far.
struct Waiting<'a> {
    task: &'a Task,
    attempts: u32,
}

/// Does every task that is not done. Asked to stop, it asks the tasks, and waits for their checkpoints.
///
/// # Errors
/// [`SweepError`] if a process cannot be started or a record cannot be read; failures of tasks are in the outcome.
pub fn run_locally(
    sweep: &Sweep,
    options: &LocalOptions,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<LocalOutcome, SweepError> {
    let jobs = jobs(options, progress);
    let mut outcome = LocalOutcome::default();
    let mut waiting: Vec<Waiting<'_>> = Vec::new();
    for task in sweep.tasks() {
        if sweep.is_finished(task) {
            outcome.already_finished += 1;
        } else {
            waiting.push(Waiting { task, attempts: 0 });
        }
    }
    progress.note(&format!(
        "{} tasks to do, {} done before; up to {jobs} at a time, {} threads each",
        waiting.len(),
        outcome.already_finished,
        options.threads
    ));
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    let mut counts: Vec<u32> = vec![0; sweep.tasks().len()];
    let mut given_up: Vec<usize> = Vec::new();
    let mut told = false;
    loop {
        if stop.is_requested() && !told {
            told = true;
            outcome.stopped = true;
            progress.note(&format!("stopping: {} tasks write their checkpoints", attempts.len()));
            attempts.iter().for_each(|attempt| terminate(&attempt.child));
            waiting.clear();
        }
        while attempts.len() < jobs {
            let ready = |waiting: &Waiting<'_>| match waiting.task.after {
                Some(first) => sweep.is_finished(&sweep.tasks()[first]),
                None => true,
            };
            let Some(place) = waiting.iter().position(ready) else { break };
            let Waiting { task, attempts: before } = waiting.remove(place);
            if of_task(sweep, task)?.state == TaskState::Running {
                progress.note(&format!("task {} ({}): another process works on it", task.index, task.name));
                outcome.elsewhere.push(task.name.clone());
                continue;
            }
            counts[task.index] = before + 1;
            let child = start(sweep, task, options)?;
            progress.note(&format!("task {} ({}): begins", task.index, task.name));
            attempts.push(Attempt { task, child, since: Instant::now() });
        }
        let mut index = 0;
        while index < attempts.len() {
            let ended = attempts[index].child.try_wait();
            let Some(status) = ended.map_err(|error| SweepError::failed("waiting for a task", error))? else {
                index += 1;
                continue;
            };
            let Attempt { task, since, .. } = attempts.swap_remove(index);
            let (number, name) = (task.index, &task.name);
            if sweep.is_finished(task) && status.success() {
                outcome.finished += 1;
                let done = outcome.finished + outcome.already_finished;
                let (seconds, all) = (since.elapsed().as_secs_f64(), sweep.tasks().len());
                progress.note(&format!("task {number} ({name}): done in {seconds:.1} s; {done} of {all}"));
            } else if !told {
                let reason = reason(sweep, task, status)?;
                let again = counts[number] <= options.retries;
                let next = if again { "; it is tried again" } else { "" };
                progress.note(&format!("task {number} ({name}) failed: {reason}{next}"));
                if again {
                    waiting.push(Waiting { task, attempts: counts[number] });
                } else {
                    given_up.push(number);
                    outcome.failed.push(format!("task {number} ({name}): {reason}"));
                }
            }
        }
        if attempts.is_empty() {
            // What is left waits for a task that failed, or that another process works on.
            let elsewhere = |task: &Task| {
                task.after.is_some_and(|first| outcome.elsewhere.contains(&sweep.tasks()[first].name))
            };
            if let Some(place) = waiting.iter().position(|waiting| elsewhere(waiting.task)) {
                outcome.elsewhere.push(waiting.remove(place).task.name.clone());
                continue;
            }
            let lost = |task: &Task| task.after.is_some_and(|first| given_up.contains(&first));
            if let Some(place) = waiting.iter().position(|waiting| lost(waiting.task)) {
                let task = waiting.remove(place).task;
                given_up.push(task.index);
                outcome.held_back.push(format!("task {} ({})", task.index, task.name));
                continue;
            }
            if waiting.is_empty() {
                return Ok(outcome);
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn start(sweep: &Sweep, task: &Task, options: &LocalOptions) -> Result<Child, SweepError> {
    let path = sweep.file(task.index, "log");
    let log = OpenOptions::new().append(true).create(true).open(&path).map_err(FileError::io(&path))?;
    let errors = log.try_clone().map_err(FileError::io(&path))?;
    let mut command = Command::new(&options.program);
    command.args(["sweep", "run"]).arg(sweep.path());
    command.args(["--task", &task.index.to_string(), "--threads", &options.threads.to_string()]);
    if let Some(device) = &options.device {
        command.args(["--device", device]);
    }
    if let Some(memory) = options.memory_mib {
        command.args(["--memory-mib", &memory.to_string()]);
    }
    // In a group of its own, so that Ctrl-C reaches it once, from here.
    command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    command.spawn().map_err(|error| SweepError::failed(format!("starting task {}", task.index), error))
}

fn terminate(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // A process that has ended needs no asking.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Why an attempt did not finish its task.
fn reason(sweep: &Sweep, task: &Task, status: ExitStatus) -> Result<String, SweepError> {
    let record = TaskRecord::read(&sweep.file(task.index, "ron"))?;
    let log = sweep.file(task.index, "log");
    Ok(match (record.error.is_empty(), status.signal()) {
        (false, _) => record.error,
        (true, Some(signal)) => format!("ended by signal {signal}; see {}", log.display()),
        (true, None) => format!("{status}; see {}", log.display()),
    })
}

/// How many tasks are run at a time.
fn jobs(options: &LocalOptions, progress: &mut dyn Progress) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.unwrap_or(cores / options.threads.max(1)).max(1);
    let Some((memory, available)) = options.memory_mib.zip(available_mib()) else { return jobs };
    let fitting = usize::try_from(available / memory.max(1)).unwrap_or(usize::MAX).max(1);
    if fitting < jobs {
        progress.note(&format!("{available} MiB of memory are free: {fitting} tasks at a time, not {jobs}"));
    }
    jobs.min(fitting)
}

/// Memory that processes can still have, on Linux.
fn available_mib() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes / 1024)
}
