//! The binary `cm`: parse the arguments, call a crate below, print, exit.
//!
//! Exit codes: 0 success, 1 the run failed or was stopped, 2 the input is wrong. Results go to standard output;
//! progress and errors go to standard error. Deliberately absent: everything else. This crate may know all others, and
//! none may know it.

mod args;
mod bench;
mod common_args;
mod dataset_args;
mod ending;
mod evaluation_args;
mod fold;
mod format_args;
mod model_args;
mod plan;
mod processes;
mod progress;
mod report_args;
mod sweep;
mod weights_args;

use args::{Args, Command};
use clap::Parser;
use cm_experiment::table::align;
use cm_experiment::{RunError, RunOutcome, TrainingState, Verified};
use cm_host::{Build, StopFlag};
use cm_network::feature_net::LpipsOptions;
use cm_report::Comparison;
use cm_scoring::{Perceptual, ScoringError};
use cm_tensor::device::caught;
use cm_tensor::devices::{self, Place};
use cm_workbench::{
    Denoised, Drawn, Edited, Exported, Imported, PageWritten, SearchTimes, Sheet, SheetRow, WorkbenchError,
};
use common_args::Threads;
use dataset_args::DatasetCommand;
use ending::{
    Ending, FAILED, end_when_asked, failed, listen, nothing_written, page_of, print, stopped, tell,
    wrong_input,
};
use processes::Shared;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use sweep::SweepCommand;
use weights_args::ExportAsked;

/// What this program was built from, as `build.rs` found it.
fn build() -> Build {
    Build {
        commit: env!("CM_COMMIT").to_owned(),
        dirty: env!("CM_DIRTY").parse().ok(),
        crates: env!("CM_CRATES").split_whitespace().map(str::to_owned).collect(),
    }
}

fn main() -> ExitCode {
    build().is_of_this_process();
    let Args { device, command } = Args::parse();
    let group = match processes::join(shared(&command)) {
        Ok(group) => group,
        Err(error) => return tell(&wrong_input(&error)),
    };
    if device.is_some() && group.device.is_some() {
        return tell(&wrong_input(&"--devices and --device: allowed is one of them"));
    }
    let device = device.or(group.device);
    let manner = Manner::of(&command);
    if device.is_some() && !manner.computes && !manner.starts {
        return tell(&wrong_input(&"this command computes no network: --device is for those that do"));
    }
    let ready = if manner.computes { devices::open(device) } else { Ok(()) };
    // What a GPU cannot do in the middle of a pass ends the command: files are whole or not there.
    let perform = || {
        caught(AssertUnwindSafe(|| perform(command, device, &manner.listen()?)))
            .unwrap_or_else(|error| Err(failed(&error)))
    };
    match ready.map_err(|error| wrong_input(&error)).and_then(|()| perform()) {
        Ok(()) => {
            group.finish();
            ExitCode::SUCCESS
        }
        Err(ending) => group.end(|| tell(&ending), ending.code),
    }
}

/// How processes share a command, of those that they can.
fn shared(command: &Command) -> Option<&Shared> {
    match command {
        Command::Run { shared, .. } | Command::Resume { shared, .. } => Some(shared),
        _ => None,
    }
}

/// What a command wants of the process before it begins.
struct Manner {
    /// The device: it evaluates networks.
    computes: bool,
    /// Others that do.
    starts: bool,
    /// To be asked to stop, and come to an end of its own. Others keep nothing unless it is whole, and end at once.
    stops: bool,
}

impl Manner {
    fn of(command: &Command) -> Self {
        let (computes, stops) = match command {
            Command::Run { .. }
            | Command::Resume { .. }
            | Command::Ema { .. }
            | Command::Sample { .. }
            | Command::Evaluate { .. }
            | Command::Stats { .. }
            | Command::Lpips { .. }
            | Command::Sweep { sweep: SweepCommand::Run { task: Some(_), .. } } => (true, true),
            Command::Plan { calibrate: true, .. }
            | Command::SearchTimes { .. }
            | Command::Edit { .. }
            | Command::Denoise { .. }
            | Command::Bench { .. } => (true, false),
            Command::Sweep { sweep: SweepCommand::Run { .. } } => (false, true),
            Command::Plan { .. }
            | Command::Format(_)
            | Command::Devices
            | Command::Sweep { .. }
            | Command::Status { .. }
            | Command::Verify { .. }
            | Command::Table { .. }
            | Command::Report { .. }
            | Command::Dataset { .. }
            | Command::Import { .. }
            | Command::Export { .. } => (false, false),
        };
        let starts = matches!(command, Command::Sweep { sweep: SweepCommand::Run { task: None, .. } });
        Self { computes, starts, stops }
    }

    /// Listens to signals in the command's way; the flag they set, which no signal sets where the process ends at once.
    fn listen(&self) -> Result<StopFlag, Ending> {
        if self.stops { listen() } else { end_when_asked().map(|()| StopFlag::new()) }
    }
}

fn perform(command: Command, device: Option<Place>, stop: &StopFlag) -> Result<(), Ending> {
    match command {
        Command::Run { file, out, name, overwrite, overrides, shared, threads } => {
            let mut study = cm_study::load_with(&file, &overrides.set)?;
            study.name = name.unwrap_or(study.name);
            work(threads.or(shared.threads()), || {
                let mut progress = progress::to_stderr();
                study.notes.iter().for_each(|note| progress.note(&format!("note: {note}")));
                study.plan.schedule().lines().for_each(|line| progress.note(line));
                let warnings = study.plan.warnings();
                warnings.iter().for_each(|warning| progress.note(&format!("warning: {warning}")));
                let run = if overwrite { cm_experiment::run_in_place } else { cm_experiment::run };
                run(&study, &out, stop, progress.as_mut())
            })
        }
        Command::Resume { run_dir, shared, threads } => work(threads.or(shared.threads()), || {
            cm_experiment::resume(&run_dir, stop, progress::to_stderr().as_mut())
        }),
        Command::Ema { run_dir, sigma_rel, threads } => work(threads, || {
            cm_experiment::post_hoc_ema(&run_dir, &sigma_rel, stop, progress::to_stderr().as_mut())
        }),
        Command::Plan { network: Some(preset), .. } => print(&cm_study::describe_preset(preset.into())),
        Command::Plan { file, network: None, calibrate, measured, overrides } => {
            let file = file.unwrap_or_default();
            print(&plan::told(&file, &overrides.set, calibrate, measured.as_deref())?)
        }
        Command::Status { study } => {
            let found = cm_experiment::status(&study)?;
            let told = match found.is_worked_on {
                true => "a process works on it".to_owned(),
                false if found.trainings.iter().all(|training| training.state == TrainingState::Finished) => {
                    "nothing is left to do".to_owned()
                }
                false => format!("nobody works on it; continue with: cm resume {}", study.display()),
            };
            print(&format!("{}{told}\n", found.table()))
        }
        Command::Verify { folder } => {
            let Verified { table, problems } = cm_experiment::verify(&folder)?;
            print(&table)?;
            match problems.is_empty() {
                true => Ok(()),
                false => Err(wrong_input(&problems.join("\nerror: "))),
            }
        }
        Command::Format(format) => format_args::perform(format),
        Command::Devices => print(&cm_bench::describe_devices()),
        Command::Sweep { sweep } => sweep::perform(sweep, device, stop),
        Command::Table { table } => {
            let Comparison { text, remarks } = cm_report::compare(&table.studies, table.format.into())?;
            let mut progress = progress::to_stderr();
            remarks.iter().for_each(|remark| progress.note(&format!("note: {remark}")));
            print(&text)
        }
        Command::Report { report } => {
            let page = match &report.curves {
                Some(curves) => cm_report::write_curves(&report.folder, curves)?,
                None => cm_report::write_page(&report.folder, report.out.as_deref())?,
            };
            print(&format!("{}\n", page.display()))
        }
        Command::SearchTimes {
            run_dir,
            points,
            samples,
            levels,
            average,
            out,
            threads: Threads { threads },
        } => {
            let search = SearchTimes { points, samples, levels, average };
            let found = cm_host::on_threads(threads.map(usize::from), || {
                let mut progress = progress::to_stderr();
                cm_workbench::search_times(&run_dir, &search, out.as_deref(), progress.as_mut())
            });
            print(&found.map_err(|error| failed(&error))??)
        }
        Command::Sample { sample, threads: Threads { threads } } => {
            let out = sample.out().to_owned();
            let requests = sample.requests();
            let drawn = cm_host::on_threads(threads.map(usize::from), || {
                let mut progress = progress::to_stderr();
                match &requests[..] {
                    [request] => {
                        Ok(cm_workbench::sample(request, stop, progress.as_mut())?.map(|drawn| told(&drawn)))
                    }
                    several => {
                        let sheet =
                            cm_workbench::sample_side_by_side(several, &out, stop, progress.as_mut())?;
                        Ok::<_, WorkbenchError>(sheet.map(|sheet| told_of_sheet(&sheet)))
                    }
                }
            });
            match drawn.map_err(|error| failed(&error))?? {
                Some(drawn) => print(&drawn),
                None => Err(Ending { message: nothing_written(), code: FAILED }),
            }
        }
        Command::Edit { edit } => {
            let Edited { edited, before_after } = cm_workbench::edit(&edit.into())?;
            print(&format!("{}\n{}\n", edited.display(), before_after.display()))
        }
        Command::Evaluate { evaluate, threads } => {
            let request = evaluate.into();
            let card =
                until_stopped(threads, |progress| cm_scoring::evaluate_sets(&request, stop, progress))?;
            print(&card.markdown())
        }
        Command::Stats { stats, threads } => {
            let request = stats.into();
            until_stopped(threads, |progress| cm_scoring::write_statistics(&request, stop, progress))?;
            print(&format!("{}\n", request.out.display()))
        }
        Command::Lpips { lpips, threads } => {
            let request = lpips.into();
            let found = until_stopped(threads, |progress| cm_scoring::perceptual(&request, stop, progress))?;
            print(&perceptual(&found))
        }
        Command::Dataset { dataset } => {
            let told = match dataset {
                DatasetCommand::Prepare { source, out, shard_mib, strict } => cm_workbench::dataset::prepare(
                    &dataset_args::prepare_options(source, out, shard_mib, strict),
                    progress::to_stderr().as_mut(),
                ),
                DatasetCommand::Inspect { source, sheet, images } => {
                    cm_workbench::dataset::inspect(source.into(), sheet.as_deref(), images.into())
                }
                DatasetCommand::Verify { dir } => cm_workbench::dataset::verify(&dir),
            };
            print(&told?)
        }
        Command::Import { import } => {
            let Imported { out, format, card, parameters, notes } = cm_workbench::import(&import.into())?;
            let notes: String = notes.iter().map(|note| format!("// {note}\n")).collect();
            print(&format!("// from {format}: {parameters} parameters\n{notes}{card}{}\n", out.display()))
        }
        Command::Export { export } => match export.asked().map_err(|error| wrong_input(&error))? {
            ExportAsked::Model(request) => {
                let Exported { out, contents, notes } = cm_workbench::export(&request)?;
                let notes: String = notes.iter().map(|note| format!("// {note}\n")).collect();
                print(&format!("{notes}{} with {contents}\n", out.display()))
            }
            ExportAsked::Page(request) => {
                let PageWritten { out, bytes } = cm_workbench::export_page(&request)?;
                print(&format!("{} with {bytes} bytes\n", out.display()))
            }
        },
        Command::Denoise { denoise, threads: Threads { threads } } => {
            let denoised =
                cm_host::on_threads(threads.map(usize::from), || cm_workbench::denoise(&denoise.into()));
            let Denoised { out, count } = denoised.map_err(|error| failed(&error))??;
            print(&format!("{} with {count} images\n", out.display()))
        }
        Command::Bench { bench } => bench::perform(bench),
    }
}

/// Does work that leaves nothing half-done when it is stopped.
fn until_stopped<T: Send>(
    Threads { threads }: Threads,
    work: impl FnOnce(&mut dyn cm_host::Progress) -> Result<Option<T>, ScoringError> + Send,
) -> Result<T, Ending> {
    let done = cm_host::on_threads(threads.map(usize::from), || work(progress::to_stderr().as_mut()));
    let stopped = || Ending { message: nothing_written(), code: FAILED };
    done.map_err(|error| failed(&error))??.ok_or_else(stopped)
}

/// LPIPS, and what is meant by it.
fn perceptual(found: &Perceptual) -> String {
    let Perceptual { distances, mean, options, sha256: [trunk, heads] } = found;
    let each: String = distances.iter().enumerate().map(|(i, d)| format!("{i} {d}\n")).collect();
    let LpipsOptions { trunk: network, version, pooling, resize } = options;
    format!(
        "{each}mean {mean}\n\n* pairs: {}\n* trunk: {network:?}, weights sha256 {trunk}\n* learned weights: {version:?}, \
         sha256 {heads}\n* pooling: {pooling:?}\n* resizing: {resize:?}\n",
        distances.len()
    )
}

/// Where samples are.
fn told(Drawn { grid, samples, images, evaluations }: &Drawn) -> String {
    let line = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| format!("{}\n", path.display())).unwrap_or_default()
    };
    let (grid, images) = (line(grid), line(images));
    format!("{grid}{}\n{images}evaluations for each image: {evaluations}\n", samples.display())
}

/// What the rows of a sheet are, and where it is.
fn told_of_sheet(Sheet { picture, text, rows }: &Sheet) -> String {
    let head = ["row", "model", "sampler", "NFE"].map(str::to_owned).to_vec();
    let row = |(place, SheetRow { path, card, .. }): (usize, &SheetRow)| {
        let of = [(place + 1).to_string(), path.display().to_string()];
        [&of[..], &[card.sampler.clone(), card.evaluations.to_string()]].concat()
    };
    let table: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().enumerate().map(row)).collect();
    format!("{}\n{}\n{}\n", align(&table, 3), picture.display(), text.display())
}

/// Does a study's work on the wanted number of threads and prints how it came out.
fn work(
    Threads { threads }: Threads,
    study: impl FnOnce() -> Result<RunOutcome, RunError> + Send,
) -> Result<(), Ending> {
    let outcome = cm_host::on_threads(threads.map(usize::from), study)
        .map_err(|error| Ending { message: format!("error: {error}"), code: FAILED })??;
    conclude(outcome)
}

/// The table of a study; its losses beside those of a run that was measured before, and what was published of its arms
/// beside its own, where there is such a thing.
fn with_comparisons(dir: &Path, table: String) -> String {
    let table = match cm_report::beside_reference(dir) {
        Ok(Some(text)) => format!("{table}\nBeside the run that was measured before:\n\n{text}"),
        Ok(None) => table,
        Err(error) => format!("{table}\nnot compared with the run that was measured before: {error}\n"),
    };
    // It was run to its end; whatever a comparison lacks, the table is there.
    match cm_report::compare_with_published(dir) {
        Ok(Some(Comparison { text, remarks })) => {
            let remarks: String = remarks.iter().map(|remark| format!("* {remark}\n")).collect();
            format!("{table}\nBeside what was published:\n\n{text}\n{remarks}")
        }
        Ok(None) => table,
        Err(error) => format!("{table}\nnot compared with what was published: {error}\n"),
    }
}

fn conclude(outcome: RunOutcome) -> Result<(), Ending> {
    match outcome {
        RunOutcome::Finished { dir, table } => {
            let table = with_comparisons(&dir, table);
            let page = page_of(&dir);
            print(&format!("{table}\nresults: {}\n{page}\n", dir.display()))
        }
        RunOutcome::AlreadyFinished { dir, table } => {
            let table = with_comparisons(&dir, table);
            print(&format!("{table}\nthis very plan was run before; results: {}\n", dir.display()))
        }
        RunOutcome::Followed => Ok(()),
        RunOutcome::Stopped { dir } => Err(Ending { message: stopped(&dir), code: FAILED }),
    }
}
