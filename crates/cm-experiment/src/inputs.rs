//! What a study is made from besides its plan: prepared data and other sources of images, the weights of a teacher, of
//! LPIPS and of networks of features. Their identity (BLAKE3) stands in the study's manifest, and is compared when the study goes on and when it
//! is found to have been run before.
//!
//! Of a prepared folder it is that of its index, which holds the hashes of all its files; those are compared with the
//! files at the start of the work if there are not too many bytes of them. Of a folder of images it is that of a list
//! of all files with their hashes.

use crate::error::{FolderError, RunError};
use cm_consistency::{DistanceConfig, LpipsConfig};
use cm_datasets::{DatasetConfig, prepared};
use cm_host::{FileError, Progress, Seal, Sealer};
use cm_study::{ExperimentConfig, FeatureNetworkConfig, Plan, TeacherSource};
use std::path::{Path, PathBuf};

/// Bytes of a prepared set that are compared with their hashes at every start: some seconds of reading. The others'
/// are those of `cm dataset verify`.
const COMPARED: u64 = 4 << 30;

/// The identity of every input of a plan, in the order in which it names them.
pub(crate) fn of(plan: &Plan) -> Result<Vec<Seal>, RunError> {
    seals(plan, |path| Err(FileError::io(path)(std::io::ErrorKind::NotFound.into())))
}

/// That the inputs of a plan are those of `before`. One that is not there any more is passed over: whoever needs it
/// will say so.
pub(crate) fn compare(plan: &Plan, before: &[Seal], study: &Path) -> Result<(), RunError> {
    let now = seals(plan, |_| Ok(()))?;
    for (before, now) in before.iter().filter_map(|seal| {
        let now = now.iter().find(|now| now.file == seal.file)?;
        Some((seal, now))
    }) {
        before.compare(now).map_err(|reason| FolderError::InputChanged {
            input: before.file.clone().into(),
            study: study.to_owned(),
            reason,
        })?;
    }
    Ok(())
}

/// Compares the files of prepared sets with the hashes in their indexes.
///
/// # Errors
/// [`RunError::Dataset`] with the first file that was changed.
pub fn check_prepared(plan: &Plan, progress: &mut dyn Progress) -> Result<(), RunError> {
    let mut seen: Vec<&Path> = Vec::new();
    for arm in &plan.arms {
        let DatasetConfig::Prepared(config) = &arm.experiment.dataset else { continue };
        if seen.contains(&config.path.as_path()) {
            continue;
        }
        seen.push(&config.path);
        if !prepared::verify_up_to(&config.path, COMPARED)? {
            progress.note(&format!(
                "{0} is large: its index is checked and its images are not; `cm dataset verify {0}` does that",
                config.path.display()
            ));
        }
    }
    Ok(())
}

/// Seals of all inputs; `absent` says what to do about one that is not there.
fn seals(plan: &Plan, mut absent: impl FnMut(&Path) -> Result<(), FileError>) -> Result<Vec<Seal>, RunError> {
    let mut found: Vec<Seal> = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    for (path, files) in plan.arms.iter().flat_map(|arm| inputs(&arm.experiment)) {
        if seen.contains(&path) {
            continue;
        }
        if path.exists() {
            found.push(seal(&path, files)?);
        } else {
            absent(&path)?;
        }
        seen.push(path);
    }
    Ok(found)
}

/// An input: a file, or a folder with the data set it is of.
type Input<'a> = (PathBuf, Option<&'a DatasetConfig>);

fn inputs(experiment: &ExperimentConfig) -> Vec<Input<'_>> {
    let dataset = &experiment.dataset;
    let mut all: Vec<Input<'_>> = match dataset {
        DatasetConfig::Prepared(config) => vec![(config.path.clone(), Some(dataset))],
        DatasetConfig::Source(config) => vec![(config.path.clone(), Some(dataset))],
        DatasetConfig::Digits(_) | DatasetConfig::GaussianMixture(_) | DatasetConfig::SwissRoll(_) => {
            Vec::new()
        }
    };
    if let TeacherSource::File(config) = &experiment.teacher {
        all.push((config.path.clone(), None));
    }
    let distances = [
        Some(&experiment.consistency.distance),
        experiment.mid_training.as_ref().map(|mid| &mid.distance),
        experiment.first_stage.as_ref().map(|stage| &stage.distance),
    ];
    for distance in distances.into_iter().flatten() {
        if let DistanceConfig::Lpips(LpipsConfig { trunk_weights, heads, .. }) = distance {
            all.push((trunk_weights.clone(), None));
            all.extend(heads.clone().map(|heads| (heads, None)));
        }
    }
    let networks = experiment.evaluation.networks.iter().flat_map(FeatureNetworkConfig::files);
    all.extend(networks.map(|file| (file.to_owned(), None)));
    all
}

fn seal(path: &Path, dataset: Option<&DatasetConfig>) -> Result<Seal, RunError> {
    let files = dataset.map(DatasetConfig::files).transpose()?.unwrap_or_else(|| vec![path.to_owned()]);
    let of_file = |file: &Path| {
        Seal::of_file(Path::new(""), &file.to_string_lossy()).map_err(FileError::io(file.to_owned()))
    };
    match &files[..] {
        [file] => Ok(of_file(file)?),
        files => {
            let mut list = Sealer::default();
            for file in files {
                let name = file.strip_prefix(path).unwrap_or(file);
                list.update(format!("{}  {}\n", of_file(file)?.blake3, name.display()).as_bytes());
            }
            Ok(list.seal(&path.to_string_lossy()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_study::check;
    use std::fs;

    #[test]
    fn a_source_that_was_changed_is_told_and_one_that_is_away_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let images = scratch.path().join("images");
        fs::create_dir_all(images.join("cats")).unwrap();
        fs::write(images.join("a.png"), "1").unwrap();
        fs::write(images.join("cats/b.png"), "2").unwrap();
        let teacher = scratch.path().join("teacher.safetensors");
        fs::write(&teacher, "weights").unwrap();
        let text = "(base: (dataset: GaussianMixture(), network: Mlp(), teacher: Exact,
            consistency: (init: Random), evaluation: (metrics: [Frechet])))";
        let mut plan = check(Path::new("a.ron"), text).unwrap().plan;
        assert_eq!(of(&plan).unwrap(), []);
        let experiment = &mut plan.arms[0].experiment;
        experiment.dataset = DatasetConfig::Source(cm_datasets::SourceConfig {
            path: images.clone(),
            ..cm_datasets::SourceConfig::default()
        });
        experiment.teacher = TeacherSource::File(cm_study::TeacherFileConfig { path: teacher.clone() });
        let before = of(&plan).unwrap();
        assert_eq!(before.len(), 2);
        let compare = || compare(&plan, &before, Path::new("runs/a"));
        compare().unwrap();
        fs::write(images.join("cats/b.png"), "3").unwrap();
        let told = compare().unwrap_err();
        assert!(told.is_input() && told.to_string().contains("images has changed since"), "{told}");
        fs::write(images.join("cats/b.png"), "2").unwrap();
        compare().unwrap();
        fs::write(&teacher, "weighty").unwrap();
        assert!(compare().unwrap_err().to_string().contains("teacher.safetensors has changed since"));
        fs::remove_file(&teacher).unwrap();
        compare().unwrap();
        assert!(of(&plan).is_err(), "a new study needs it");
    }
}
