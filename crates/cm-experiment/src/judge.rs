//! The classifier that judges images with classes: the shipped one for the digits, one trained once for a study on
//! other data.

use crate::classifier::{accuracy, train_classifier};
use crate::error::RunError;
use crate::sealed::{self, SealedFolder};
use crate::seed::NamedSeeds;
use crate::tensor_file::write_file;
use cm_datasets::{Dataset, DatasetConfig};
use cm_evaluator::NetworkJudge;
use cm_host::{FileError, Identity};
use cm_image::ImageBatch;
use cm_study::{JUDGE_CHANNELS, to_ron};
use cm_tensor::TensorFile;
use std::path::Path;

/// Passes over the training images, and the images it is trained on at least and at most, repeats counted.
const PASSES: u64 = 25;
const TRAIN_IMAGES: [u64; 2] = [10_000, 100_000];
/// The file of a study's judge, in a folder of its own.
pub const JUDGE_FILE: &str = "classifier.safetensors";

/// The name of the folder for the judge of some data: it differs where data or training differ.
pub(crate) fn folder_name(config: &DatasetConfig) -> String {
    let decided_by = to_ron(&(config, JUDGE_CHANNELS, PASSES, TRAIN_IMAGES, NamedSeeds::judge().features));
    format!("judge-{}", &blake3::hash(decided_by.as_bytes()).to_hex()[..16])
}

/// Whether the judge of some data is trained, if they have classes at all.
pub(crate) fn is_trained(config: &DatasetConfig) -> bool {
    match config {
        DatasetConfig::Digits(_) | DatasetConfig::GaussianMixture(_) | DatasetConfig::SwissRoll(_) => false,
        DatasetConfig::Prepared(_) | DatasetConfig::Source(_) => true,
    }
}

/// The judge of images with classes; `None` for others. A trained one is a pure function of data and constants; it is
/// kept in `folder` if there is one, with its accuracy on the test images.
pub(crate) fn network(
    config: &DatasetConfig,
    train: &dyn Dataset,
    test: (&ImageBatch, &[u32]),
    folder: Option<&Path>,
) -> Result<Option<NetworkJudge>, RunError> {
    match config {
        DatasetConfig::Digits(_) => NetworkJudge::digits()
            .map(Some)
            .map_err(|error| RunError::failed("loading the digits' judge", error)),
        DatasetConfig::GaussianMixture(_) | DatasetConfig::SwissRoll(_) => Ok(None),
        DatasetConfig::Prepared(_) | DatasetConfig::Source(_) => {
            if train.num_classes().is_none() {
                Ok(None)
            } else {
                trained(train, test, folder).map(Some)
            }
        }
    }
}

fn trained(
    train: &dyn Dataset,
    (images, labels): (&ImageBatch, &[u32]),
    folder: Option<&Path>,
) -> Result<NetworkJudge, RunError> {
    let path = folder.map(|folder| folder.join(JUDGE_FILE));
    // One that no manifest names is of a process that died before it could seal it.
    if let (Some(path), Some(folder)) = (&path, folder.map(SealedFolder::open).transpose()?)
        && folder.manifest().is_some()
        && let Some(bytes) = folder.bytes(JUDGE_FILE)?
    {
        let file = TensorFile::decode(&bytes).map_err(|error| FileError::damaged(path, error))?;
        return Ok(NetworkJudge::from_file(&file).map_err(|error| FileError::damaged(path, error))?);
    }
    let train_images = (PASSES * train.len() as u64).clamp(TRAIN_IMAGES[0], TRAIN_IMAGES[1]);
    let (network, weights) =
        train_classifier(train, JUDGE_CHANNELS, train_images, NamedSeeds::judge().features)
            .map_err(|error| RunError::failed("training the judge of the samples", error))?;
    if let Some(path) = &path {
        let mut file = NetworkJudge::to_file(&network, &weights);
        file.metadata.insert("trained_on".into(), format!("the training part, {train_images} images"));
        let right = accuracy(&network, &weights, images, labels);
        file.metadata.insert("test_accuracy".into(), format!("{right:.4}"));
        write_file(path, &file)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = parent.file_name().unwrap_or_default().to_string_lossy();
        sealed::seal(parent, Identity::new("judge", &name, &name), &[JUDGE_FILE])?;
    }
    Ok(NetworkJudge::new(network, weights))
}
