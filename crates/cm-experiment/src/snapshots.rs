//! Snapshots of power averages on the disk, and the averages worked out from them.
//!
//! `snapshots/STEP.safetensors` in a run's folder holds the tracked averages as they stood after that step. There are
//! as many as [`SnapshotsConfig::count`] says, no matter how often the run is stopped: a snapshot is a function of its
//! step, and one that is taken again is written over by the same bytes.

use crate::error::{FolderError, RunError};
use crate::run_dir::RunDir;
use crate::tensor_file::{read, write_file};
use cm_host::{FileError, durable};
use cm_network::{TensorFile, Weights};
use cm_training::{Fit, PowerEma, Profile, SnapshotsConfig, StepReport, TrainConfig, TrainState};
use std::path::PathBuf;

fn path(folder: &RunDir, step: u64) -> PathBuf {
    folder.path().join("snapshots").join(format!("{step:08}.safetensors"))
}

/// Writes a snapshot if one is due after this step. To be called before the step's checkpoint is written.
pub(crate) fn snapshot(
    folder: &RunDir,
    config: &TrainConfig,
    state: &TrainState,
    report: &StepReport,
) -> Result<(), RunError> {
    let Some(snapshots) = &config.snapshots else { return Ok(()) };
    if !snapshots.is_due(report.step, config.steps()) {
        return Ok(());
    }
    let parent = folder.path().join("snapshots");
    durable::create_folders(&parent).map_err(FileError::io(&parent))?;
    let mut file = TensorFile::default();
    for (index, tracked) in state.tracked.iter().enumerate() {
        file.add_weights(&format!("tracked.{index}/"), tracked);
    }
    write_file(&path(folder, report.step), &file)
}

/// The average of width `sigma_rel` at the end of a finished run, and how far its profile is from the wanted one.
/// `template` has the network's arrays.
pub(crate) fn reconstruct(
    folder: &RunDir,
    config: &TrainConfig,
    template: &Weights,
    sigma_rel: f32,
) -> Result<(Weights, f64), RunError> {
    let refused = |reason: String| FolderError::NoAverages { path: folder.path().to_owned(), reason };
    let kept_none = || refused("the run kept no snapshots; `train: (snapshots: ())` asks for them".into());
    let snapshots = config.snapshots.as_ref().ok_or_else(kept_none)?;
    if let Some(problem) = PowerEma::problem(sigma_rel, "sigma_rel") {
        return Err(refused(problem.to_string()).into());
    }
    let steps = config.steps();
    let fit =
        Fit::new(&profiles(snapshots, steps), Profile { steps, ema: PowerEma::with_sigma_rel(sigma_rel) });
    let mut factors = fit.factors.iter();
    let mut sum: Vec<Vec<f64>> = template.iter().map(|(_, _, values)| vec![0.0; values.len()]).collect();
    let mut weights = template.clone();
    for step in snapshots.due(steps) {
        let path = path(folder, step);
        let file = read(&path)?.ok_or_else(|| {
            let reason = "the snapshot is not there: the run is not finished, or the file was removed";
            FileError::Damaged { path: path.clone(), reason: reason.into() }
        })?;
        for index in 0..snapshots.sigma_rels.len() {
            let factor = factors.next().expect("a factor for each snapshot");
            file.load_weights(&format!("tracked.{index}/"), &mut weights)
                .map_err(|error| FileError::damaged(&path, error))?;
            Fit::accumulate(&mut sum, *factor, &weights);
        }
    }
    for (values, sum) in weights.values_mut().zip(&sum) {
        values.iter_mut().zip(sum).for_each(|(value, sum)| *value = *sum as f32);
    }
    Ok((weights, fit.error))
}

/// The profiles of all snapshots in the order in which they are read.
fn profiles(snapshots: &SnapshotsConfig, steps: u64) -> Vec<Profile> {
    let emas: Vec<PowerEma> = snapshots.sigma_rels.iter().map(|&s| PowerEma::with_sigma_rel(s)).collect();
    snapshots.due(steps).flat_map(|steps| emas.iter().map(move |&ema| Profile { steps, ema })).collect()
}
