//! `cm plan`: a study in words, with what it costs.

use crate::ending::{Ending, failed, wrong_input};
use crate::progress;
use cm_study::Override;
use std::path::Path;

/// What is missing to run a study, how long it takes where that is asked for, and its plan. With `calibrate` steps are timed
/// here; `measured` is a file of steps that were timed anywhere.
pub(crate) fn told(
    file: &Path,
    overrides: &[Override],
    calibrate: bool,
    measured: Option<&Path>,
) -> Result<String, Ending> {
    let study = cm_study::load_to_plan(file, overrides)?;
    if let Err(error) = cm_experiment::check_memory(&study.plan) {
        progress::to_stderr().note(&format!("note: not on this machine: {error}"));
    }
    let mut lines: Vec<String> =
        study.absent.iter().map(|absent| format!("needed to run: {absent}")).collect();
    lines.extend(study.notes.iter().map(|note| format!("note: {note}")));
    if calibrate {
        let times = cm_host::on_threads(None, || study.plan.calibrate());
        lines.extend(times.map_err(|error| failed(&error))??);
    }
    if let Some(table) = measured {
        let wrong = |reason: String| wrong_input(&format!("{}: {reason}", table.display()));
        let text = std::fs::read_to_string(table).map_err(|error| wrong(error.to_string()))?;
        lines.extend(study.plan.at_measured_rates(&text).map_err(wrong)?);
    }
    let lines: String = lines.iter().map(|line| format!("// {line}\n")).collect();
    Ok(lines + &study.plan.describe())
}
