//! `cm sweep`: what can be typed, and doing it.

use crate::common_args::{Overrides, Threads};
use crate::ending::{self, Ending, FAILED, failed, print, wrong_input};
use crate::progress;
use clap::{Subcommand, ValueEnum};
use cm_host::StopFlag;
use cm_study::GridAxis;
use cm_sweep::{
    KubernetesOptions, LocalOptions, LocalOutcome, ParallelOptions, SlurmOptions, Sweep, TaskOutcome,
    TaskStatus, collect, limit_memory, parallel_command, plan_sweep, run_locally, run_task, status,
    submit_to_slurm, write_kubernetes_job,
};
use cm_tensor::devices::{DEVICE_VARIABLE, Place};
use std::path::{Path, PathBuf};

/// What to do with a sweep.
#[derive(Debug, Subcommand)]
pub(crate) enum SweepCommand {
    /// Make the folder and task list of a study, or of a grid over any of its fields.
    #[command(
        after_help = "Example:\n  cm sweep plan experiments/distance.ron --grid 'base.consistency.train.batch=[32, 64]' --name batch\n\nThe folder sweeps/batch then holds tasks.csv; do them with `cm sweep run sweeps/batch`."
    )]
    Plan {
        /// The study file.
        file: PathBuf,
        #[command(flatten)]
        overrides: Overrides,
        /// Let a field take each value of a list, with all values of other grids.
        #[arg(long, value_name = "PATH=[VALUE, ..]")]
        grid: Vec<GridAxis>,
        /// The sweep's name, if not the study file's.
        #[arg(long)]
        name: Option<String>,
        /// Where its folder is made.
        #[arg(long, default_value = "sweeps")]
        out: PathBuf,
        /// If that folder is there and holds a study or sweep and nothing else, begin anew in its place: what was there
        /// goes.
        #[arg(long)]
        overwrite: bool,
    },
    /// Do the tasks that are not done, or one of them; or hand them to a cluster.
    #[command(
        after_help = "Example:\n  cm sweep run sweeps/batch --jobs 2 --threads 1\n\nWith --task N it does that task alone: the command that every engine calls. Run it again to go on with tasks that failed or were stopped."
    )]
    Run {
        /// The sweep's folder.
        folder: PathBuf,
        /// The one task to do, by its number in tasks.csv.
        #[arg(long, conflicts_with = "engine")]
        task: Option<usize>,
        #[command(flatten)]
        how: How,
    },
    /// Print where each task stands.
    #[command(after_help = "Example:\n  cm sweep status sweeps/batch")]
    Status {
        /// The sweep's folder.
        folder: PathBuf,
    },
    /// Write the report of a sweep whose tasks are all done, and its page, and print its table.
    ///
    /// The page of a grid has a column for each axis, and scores over them.
    /// Of an unfinished one, print the table of what is there and what is missing, with exit code 1.
    #[command(after_help = "Example:\n  cm sweep collect sweeps/batch")]
    Collect {
        /// The sweep's folder.
        folder: PathBuf,
    },
}

/// How tasks are done.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct How {
    /// Who does them.
    #[arg(long, value_enum, default_value_t = Engine::Local)]
    engine: Engine,
    /// Tasks at a time. Without it, as many as the machine has cores for; with Slurm, as many as it likes.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    #[command(flatten)]
    threads: Threads,
    /// Memory of each task in MiB: one that asks for more ends, and no more are begun than there is memory for.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    memory_mib: Option<u64>,
    /// Further attempts at a task that failed.
    #[arg(long, default_value_t = 1)]
    retries: u32,
    /// Slurm's partition.
    #[arg(long)]
    partition: Option<String>,
    /// The longest a task may take, as Slurm writes it: 04:00:00.
    #[arg(long)]
    time: Option<String>,
    /// Slurm: write the script, submit nothing.
    #[arg(long)]
    dry_run: bool,
    /// Kubernetes: an image with the program `cm`.
    #[arg(long, default_value = "cm:latest")]
    image: String,
    /// Kubernetes: the claim of the volume that holds the sweep's folder.
    #[arg(long, default_value = "sweeps")]
    claim: String,
}

/// Who does tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Processes of this machine.
    Local,
    /// A job array of Slurm: slurm.sh is written and submitted.
    Slurm,
    /// An indexed job of Kubernetes: kubernetes.yaml is written.
    Kubernetes,
    /// GNU parallel: its command line is printed.
    Parallel,
}

pub(crate) fn perform(command: SweepCommand, device: Option<Place>, stop: &StopFlag) -> Result<(), Ending> {
    match command {
        SweepCommand::Plan { file, overrides, grid, name, out, overwrite } => {
            let study = plan_sweep(&file, &overrides.set, &grid, name.as_deref())?;
            let mut progress = progress::to_stderr();
            study.notes.iter().for_each(|note| progress.note(&format!("note: {note}")));
            let sweep = Sweep::create(&study, &out, overwrite)?;
            let (tasks, path) = (sweep.tasks().len(), sweep.path().display());
            print(&format!("{}\n{path}: {tasks} tasks; do them with: cm sweep run {path}\n", list(&sweep)))
        }
        SweepCommand::Run { folder, task: Some(task), how } => one(&folder, task, &how, stop),
        SweepCommand::Run { folder, task: None, how } => all(&folder, how, device, stop),
        SweepCommand::Status { folder } => {
            let sweep = Sweep::open(&folder)?;
            print(&status(&sweep)?.table())
        }
        SweepCommand::Collect { folder } => {
            let collected = collect(&Sweep::open(&folder)?)?;
            print(&collected.table)?;
            match collected.report {
                Some(report) => {
                    let page = ending::page_of(&folder);
                    print(&format!("\nresults: {}\n{page}\n", report.display()))
                }
                None => Err(Ending {
                    message: format!("not all tasks are done:\n{}", TaskStatus::table(&collected.missing)),
                    code: FAILED,
                }),
            }
        }
    }
}

fn list(sweep: &Sweep) -> String {
    sweep.tasks().iter().map(|task| format!("{} {}\n", task.index, task.name)).collect()
}

/// One task in this process.
fn one(folder: &Path, task: usize, how: &How, stop: &StopFlag) -> Result<(), Ending> {
    if let Some(memory) = how.memory_mib {
        limit_memory(memory)?;
    }
    let outcome = cm_host::on_threads(how.threads.threads.map(usize::from), || {
        run_task(folder, task, stop, progress::to_stderr().as_mut())
    });
    match outcome.map_err(|error| failed(&error))?? {
        TaskOutcome::Finished => print(&format!("task {task} is done\n")),
        TaskOutcome::AlreadyFinished => print(&format!("task {task} was done before\n")),
        TaskOutcome::Stopped => Err(Ending {
            message: format!("stopped; the same command goes on with task {task}"),
            code: FAILED,
        }),
    }
}

/// All that are not done, by an engine.
fn all(folder: &Path, how: How, device: Option<Place>, stop: &StopFlag) -> Result<(), Ending> {
    let sweep = Sweep::open(folder)?;
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let How { engine, jobs, threads, memory_mib, retries, partition, time, dry_run, image, claim } = how;
    let jobs = jobs.map(usize::from);
    let threads = threads.threads.map_or(1, usize::from);
    if device.is_some() && engine != Engine::Local {
        return Err(wrong_input(&format!(
            "--device is for tasks of this machine; where another engine does them, set {DEVICE_VARIABLE} there"
        )));
    }
    match engine {
        Engine::Local => {
            let options = LocalOptions {
                program,
                jobs,
                threads,
                device: device.map(|place| place.to_string()),
                memory_mib,
                retries,
            };
            // The processes it started end when they have noticed, and it after them.
            let outcome =
                stop.while_finishing(|| run_locally(&sweep, &options, stop, progress::to_stderr().as_mut()))?;
            told(&sweep, &outcome)
        }
        Engine::Slurm => {
            let options = SlurmOptions { program, jobs, threads, memory_mib, partition, time, dry_run };
            let submitted = submit_to_slurm(&sweep, &options)?;
            let mut text = format!("{}\n", submitted.script.display());
            submitted.commands.iter().for_each(|command| text += &format!("{command}\n"));
            submitted.jobs.iter().for_each(|job| text += &format!("submitted as job {job}\n"));
            if submitted.commands.is_empty() {
                text += "every task is done\n";
            }
            print(&text)
        }
        Engine::Kubernetes => {
            let options =
                KubernetesOptions { image, claim, jobs: jobs.unwrap_or(1), threads, memory_mib, retries };
            let path = write_kubernetes_job(&sweep, &options)?;
            print(&format!("{}\n", path.display()))
        }
        Engine::Parallel => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let jobs = jobs.unwrap_or((cores / threads).max(1));
            let options = ParallelOptions { program, jobs, threads, retries };
            print(&format!("{}\n", parallel_command(&sweep, &options)?))
        }
    }
}

fn told(sweep: &Sweep, outcome: &LocalOutcome) -> Result<(), Ending> {
    let path = sweep.path().display();
    if outcome.is_complete() {
        let LocalOutcome { finished, already_finished, .. } = outcome;
        return print(&format!(
            "{finished} tasks done, {already_finished} done before; the table: cm sweep collect {path}\n"
        ));
    }
    let mut lines = outcome.failed.clone();
    lines.extend(outcome.held_back.iter().map(|task| format!("{task}: not begun, its teacher failed")));
    lines.extend(outcome.elsewhere.iter().map(|task| format!("{task}: another process works on it")));
    if outcome.stopped {
        lines.push("stopped".to_owned());
    }
    lines.push(format!("go on with: cm sweep run {path}"));
    Err(Ending { message: lines.join("\n"), code: FAILED })
}
