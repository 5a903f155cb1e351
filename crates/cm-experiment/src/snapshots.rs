//! Snapshots of power averages on the disk, and the averages worked out from them.
//!
//! `snapshots/STEP.safetensors` in a run's folder holds the tracked averages as they stood after that step. There are
//! as many as [`SnapshotsConfig::count`] says, no matter how often the run is stopped: a snapshot is a function of its
//! step, and one that is taken again is written over by the same bytes.

use crate::error::{FolderError, RunError};
use crate::journal::Journal;
use crate::run_dir::RunDir;
use crate::tensor_file::encode;
use cm_host::FileError;
use cm_network::{TensorFile, Weights};
use cm_training::{Fit, PowerEma, Profile, SnapshotsConfig, TrainConfig, TrainState};

/// The name of a snapshot below the folder of its run.
fn name(step: u64) -> String {
    format!("snapshots/{step:08}.safetensors")
}

/// Whether a snapshot is due after a step.
pub(crate) fn is_due(config: &TrainConfig, step: u64) -> bool {
    config.snapshots.as_ref().is_some_and(|snapshots| snapshots.is_due(step, config.steps()))
}

/// Writes the snapshot of a step. To be called before the step's checkpoint is written.
pub(crate) fn snapshot(journal: &mut Journal, state: &TrainState, step: u64) -> Result<(), RunError> {
    let mut file = TensorFile::default();
    for (index, tracked) in state.tracked.iter().enumerate() {
        file.add_weights(&format!("tracked.{index}/"), tracked);
    }
    Ok(journal.file(&name(step), &encode(&file)?)?)
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
    let sealed = folder.sealed()?;
    let steps = config.steps();
    let fit =
        Fit::new(&profiles(snapshots, steps), Profile { steps, ema: PowerEma::with_sigma_rel(sigma_rel) });
    let mut factors = fit.factors.iter();
    let mut sum: Vec<Vec<f64>> = template.iter().map(|(_, _, values)| vec![0.0; values.len()]).collect();
    let mut weights = template.clone();
    for step in snapshots.due(steps) {
        let path = folder.path().join(name(step));
        let bytes = sealed.bytes(&name(step))?.ok_or_else(|| {
            let reason = "the snapshot is not there: the run is not finished, or the file was removed";
            FileError::damaged(&path, reason)
        })?;
        let file = TensorFile::decode(&bytes).map_err(|error| FileError::damaged(&path, error))?;
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
