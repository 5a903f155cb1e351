//! One study by several processes, each of which trains on its part of every batch.
//!
//! The first process does what one alone does, folders and scores included. The others follow it through the same plan
//! and compute their parts of the gradients; what they write goes to a folder of their own that is removed in the end.
//! All have the same weights at every step, to the bit. Deliberately absent: how processes reach each other
//! (`cm_tensor::collective`).

use crate::error::RunError;
use cm_consistency::TangentConfig;
use cm_host::FileError;
use cm_study::{ExperimentConfig, Plan, Problems, TeacherSource};
use cm_tensor::collective::{CollectiveError, group};
use cm_training::TrainConfig;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Whether this process is the one that keeps the results; true for one alone.
pub fn is_first() -> bool {
    group().rank() == 0
}

fn failed(error: CollectiveError) -> RunError {
    RunError::failed("working with the other processes", error)
}

/// What the first process decides, told to all.
pub(crate) fn as_first_says(yes: bool) -> Result<bool, RunError> {
    let mut said = [if yes { 1.0 } else { 0.0 }];
    group().broadcast(&mut said, 0).map_err(failed)?;
    Ok(said[0] > 0.0)
}

/// Whether any process has been asked for something.
pub(crate) fn any(asked: bool) -> Result<bool, CollectiveError> {
    let mut count = [if asked { 1.0 } else { 0.0 }];
    group().all_reduce_sum(&mut count)?;
    Ok(count[0] > 0.0)
}

/// Returns when all processes have come here.
pub(crate) fn meet() -> Result<(), RunError> {
    group().barrier().map_err(failed)
}

/// That every training of a plan can be shared by as many processes as there are, and computed where these compute.
pub(crate) fn check(plan: &Plan) -> Result<(), RunError> {
    let size = group().size();
    let mut problems = Problems::default();
    for arm in &plan.arms {
        if let Err(error) = arm.experiment.precision.check() {
            problems.add(&format!("arm {}: precision", arm.name), error.to_string(), "F32");
        }
        if let Some(Err(error)) = arm.experiment.method.tangent().map(TangentConfig::check) {
            problems.add(&format!("arm {}: tangent", arm.name), error.to_string(), "Central(..)");
        }
    }
    let mut known: Vec<(String, usize)> = Vec::new();
    for (path, train) in plan.arms.iter().flat_map(|arm| trainings(&arm.experiment)) {
        let found = (format!("{path}.shards"), train.shards);
        if !train.shards.is_multiple_of(size) && !known.contains(&found) {
            let message = format!("{} parts of a batch cannot be shared by {size} processes", train.shards);
            problems.add(
                &found.0,
                message,
                format!("multiples of {size}, as in --set base.{}={size}", found.0),
            );
            known.push(found);
        }
    }
    Ok(problems.check()?)
}

/// The trainings of an experiment, with their paths.
fn trainings(experiment: &ExperimentConfig) -> Vec<(&'static str, &TrainConfig)> {
    let mut all = vec![("consistency.train", &experiment.consistency.train)];
    if let TeacherSource::Trained(teacher) = &experiment.teacher {
        all.push(("teacher.train", &teacher.train));
    }
    all.extend(experiment.mid_training.as_ref().map(|mid| ("mid_training.train", &mid.train)));
    all.extend(experiment.first_stage.as_ref().map(|stage| ("first_stage.train", &stage.train)));
    all
}

/// A folder of a process that keeps no results.
pub(crate) struct Aside(PathBuf);

impl Aside {
    pub(crate) fn new() -> Result<Self, RunError> {
        let name = format!("cm-process-{}-of-{}", group().rank(), std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).map_err(FileError::io(&path))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A copy of a study's folder, as far as going on with it needs.
    pub(crate) fn copy(&self, study: &Path) -> Result<PathBuf, RunError> {
        let name = fs::canonicalize(study).map_err(FileError::io(study))?;
        let copy = self.0.join(name.file_name().unwrap_or_default());
        copy_folder(study, &copy).map_err(FileError::io(study))?;
        Ok(copy)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // A folder for temporary files that stays there does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
