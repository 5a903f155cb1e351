//! A study in place of another: only where the old folder holds nothing that this program did not write.

use super::{Opened, StudyDir, lock, planned};
use crate::error::{FolderError, RunError};
use crate::inputs;
use crate::sealed::STUDY;
use cm_host::{MANIFEST, SetAside};
use cm_study::Study;
use std::fs;
use std::path::Path;

/// What may lie in a study's folder beside its arms.
const OWN: [&str; 15] = [
    MANIFEST,
    "study.ron",
    "plan.ron",
    "report.csv",
    "report.md",
    "report.html",
    "tasks.csv",
    "slurm.sh",
    "kubernetes.yaml",
    "tasks",
    "baselines",
    "teachers",
    "mid-training",
    "first-stage",
    "shared",
];

impl StudyDir {
    /// As [`create`](Self::create), in place of a study that is there: its folder goes when the new one has begun, and
    /// stays as it was if that fails.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`FolderError::Stranger`] if what is there is no study's folder, or holds something
    /// that this program did not write there.
    pub fn replace(study: &Study, out: &Path) -> Result<Opened, RunError> {
        let path = out.join(&study.name);
        // What the new one cannot begin without is looked for while the old one is there.
        inputs::of(&study.plan)?;
        let held = match path.exists() {
            true => {
                check_own(&path)?;
                // Nobody works there.
                Some(lock(&path)?)
            }
            false => None,
        };
        let old = SetAside::begin(&path)?;
        let opened = Self::create(study, out)?;
        drop(held);
        old.map_or(Ok(()), SetAside::replaced)?;
        Ok(opened)
    }
}

/// That all in a folder was written by this program as a study.
fn check_own(path: &Path) -> Result<(), RunError> {
    let stranger = |reason: String| FolderError::Stranger { path: path.to_owned(), reason };
    if path.is_symlink() {
        return Err(stranger("it is a link".to_owned()).into());
    }
    let (sealed, plan) = planned(path).map_err(|error| stranger(error.to_string()))?;
    match sealed.manifest() {
        Some(manifest) if manifest.of.kind == STUDY => {}
        Some(manifest) => return Err(stranger(format!("it is the folder of a {}", manifest.of.kind)).into()),
        None => return Err(stranger(format!("it has no {MANIFEST}")).into()),
    }
    for entry in fs::read_dir(path).map_err(|error| stranger(error.to_string()))? {
        let name = entry.map_err(|error| stranger(error.to_string()))?.file_name();
        let name = name.to_string_lossy();
        let known = OWN.contains(&&*name) || name == ".lock" || plan.arms.iter().any(|arm| arm.name == name);
        if !known {
            return Err(stranger(format!("`{name}` in it is nothing of a study's")).into());
        }
    }
    Ok(())
}
