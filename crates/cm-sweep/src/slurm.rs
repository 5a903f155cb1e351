//! A sweep as job arrays of Slurm.
//!
//! The array's elements are the tasks that are not done. Slurm asks a job that it requeues or that runs out of time to
//! end (SIGTERM); `cm` then leaves a checkpoint, and the requeued job goes on from there.

use crate::error::SweepError;
use crate::folder::{Sweep, Task};
use cm_host::{FileError, durable};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What Slurm is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlurmOptions {
    /// The program that does a task: this one.
    pub program: PathBuf,
    /// Tasks at a time. None: as many as Slurm likes.
    pub jobs: Option<usize>,
    /// Cores and worker threads of a task, at least 1.
    pub threads: usize,
    /// Memory of a task in MiB. None: the partition's default.
    pub memory_mib: Option<u64>,
    /// Where to run. None: the default partition.
    pub partition: Option<String>,
    /// The longest a task may take, as Slurm writes it, such as `04:00:00`. None: the partition's default.
    pub time: Option<String>,
    /// Write the script and submit nothing.
    pub dry_run: bool,
}

/// What was handed to Slurm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The batch script.
    pub script: PathBuf,
    /// The command lines of each submission, in their order.
    pub commands: Vec<String>,
    /// The numbers that Slurm gave the arrays; none of a dry run.
    pub jobs: Vec<String>,
}

/// Writes `slurm.sh` and submits it for the tasks that are not done: first those that train teachers, then, when they
/// have ended, the others.
///
/// # Errors
/// [`SweepError`] if the script cannot be written, or Slurm refuses it.
pub fn submit_to_slurm(sweep: &Sweep, options: &SlurmOptions) -> Result<Submitted, SweepError> {
    let folder = fs::canonicalize(sweep.path()).map_err(FileError::io(sweep.path()))?;
    let script = folder.join("slurm.sh");
    let text = text(sweep, options, &folder)?;
    durable::write(&script, text.as_bytes())
        .map_err(|source| FileError::NotWritable { path: script.clone(), source })?;
    let open: Vec<_> = sweep.tasks().iter().filter(|task| !sweep.is_finished(task)).collect();
    let waits = |first: usize| open.iter().any(|task| task.index == first);
    let (later, first): (Vec<&Task>, Vec<&Task>) =
        open.iter().copied().partition(|task| task.after.is_some_and(waits));
    let mut submitted = Submitted { script: script.clone(), commands: vec![], jobs: vec![] };
    for tasks in [first, later].into_iter().filter(|tasks| !tasks.is_empty()) {
        let mut arguments =
            vec!["--parsable".to_owned(), array(tasks.iter().map(|task| task.index), options)];
        // In a dry run the first array has no number yet.
        let before = submitted.jobs.last().map(String::as_str);
        if !submitted.commands.is_empty() {
            arguments.push(format!("--dependency=afterany:{}", before.unwrap_or("FIRST_JOB")));
        }
        arguments.push(script.display().to_string());
        submitted.commands.push(format!("sbatch {}", joined(&arguments)?));
        if !options.dry_run {
            submitted.jobs.push(sbatch(&arguments, &script)?);
        }
    }
    Ok(submitted)
}

fn sbatch(arguments: &[String], script: &Path) -> Result<String, SweepError> {
    let what = format!("submitting {}", script.display());
    let output = Command::new("sbatch")
        .args(arguments)
        .output()
        .map_err(|error| SweepError::failed(&what, format!("{error}; is Slurm's sbatch on this machine?")))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(SweepError::failed(&what, told));
    }
    // NUMBER or NUMBER;CLUSTER.
    let answer = String::from_utf8_lossy(&output.stdout);
    Ok(answer.trim().split(';').next().unwrap_or_default().to_owned())
}

/// `--array=0-2,5%4`.
fn array(tasks: impl Iterator<Item = usize>, options: &SlurmOptions) -> String {
    let limit = options.jobs.map_or(String::new(), |jobs| format!("%{jobs}"));
    format!("--array={}{limit}", ranges(tasks))
}

/// Rising numbers as ranges.
fn ranges(numbers: impl Iterator<Item = usize>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = |&(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(shown).collect::<Vec<_>>().join(",")
}

/// Words as a shell reads them.
pub(crate) fn joined(words: &[String]) -> Result<String, SweepError> {
    shlex::try_join(words.iter().map(String::as_str))
        .map_err(|error| SweepError::failed("quoting a command for the shell", error))
}

fn text(sweep: &Sweep, options: &SlurmOptions, folder: &Path) -> Result<String, SweepError> {
    let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let all = array(0..sweep.tasks().len(), options);
    let mut text = format!(
        "#!/bin/bash
#SBATCH --job-name=cm-{name}
#SBATCH {all}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={}
#SBATCH --chdir={}
#SBATCH --output=tasks/slurm-%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
",
        options.threads,
        joined(&[folder.display().to_string()])?,
    );
    // Two minutes before the end of its time the task is asked to leave a checkpoint.
    text += "#SBATCH --signal=B:TERM@120\n";
    for (option, value) in [
        ("mem", options.memory_mib.map(|memory| format!("{memory}M"))),
        ("partition", options.partition.clone()),
        ("time", options.time.clone()),
    ] {
        if let Some(value) = value {
            text += &format!("#SBATCH --{option}={}\n", joined(&[value])?);
        }
    }
    let words = [
        options.program.display().to_string(),
        "sweep".to_owned(),
        "run".to_owned(),
        folder.display().to_string(),
    ];
    text += "\n# `exec` lets the signal that asks for an end reach the program itself.\n";
    text +=
        &format!("exec {} --task \"$SLURM_ARRAY_TASK_ID\" --threads {}\n", joined(&words)?, options.threads);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_become_ranges() {
        assert_eq!(ranges([0, 1, 2, 5, 7, 8].into_iter()), "0-2,5,7-8");
        assert_eq!(ranges(std::iter::once(3)), "3");
    }
}
