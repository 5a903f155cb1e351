//! A sweep as one command line of GNU parallel.

use crate::error::SweepError;
use crate::folder::Sweep;
use crate::slurm::joined;
use std::path::PathBuf;

/// How GNU parallel is to run the tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParallelOptions {
    /// The program that does a task: this one.
    pub program: PathBuf,
    /// Tasks at a time, at least 1.
    pub jobs: usize,
    /// Worker threads of a task, at least 1.
    pub threads: usize,
    /// Further attempts at a task that failed.
    pub retries: u32,
}

/// The command line; given again, it does the tasks that failed or were not begun.
///
/// # Errors
/// [`SweepError`] if a path cannot be quoted for the shell.
pub fn parallel_command(sweep: &Sweep, options: &ParallelOptions) -> Result<String, SweepError> {
    let path = |path: &std::path::Path| joined(&[path.display().to_string()]);
    let log = path(&sweep.path().join("tasks/parallel.joblog"))?;
    let task = format!(
        "{} sweep run {} --task {{}} --threads {}",
        path(&options.program)?,
        path(sweep.path())?,
        options.threads
    );
    // A teacher's trainer comes before those that wait for it: parallel begins in the order given.
    Ok(format!(
        "parallel --jobs {} --retries {} --joblog {log} --resume-failed --termseq TERM,120000,KILL,25 {} ::: {{0..{}}}",
        options.jobs,
        options.retries + 1,
        joined(&[task])?,
        sweep.tasks().len().saturating_sub(1),
    ))
}
