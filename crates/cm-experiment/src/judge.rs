//! The classifier that judges images with classes: the shipped one for the digits, one trained once for a study on
//! other data.

use crate::classifier::{accuracy, train_classifier};
use crate::error::RunError;
use crate::seed::NamedSeeds;
use crate::tensor_file::{read, write_file};
use cm_datasets::{Dataset, DatasetConfig, Outline};
use cm_evaluator::NetworkJudge;
use cm_host::FileError;
use cm_image::ImageBatch;
use cm_study::to_ron;
use std::path::Path;

/// Channels of the first layer: 64 features, as the shipped judge has.
const CHANNELS: usize = 16;
/// Passes over the training images, and the images it is trained on at least and at most, repeats counted.
const PASSES: u64 = 25;
const TRAIN_IMAGES: [u64; 2] = [10_000, 100_000];
/// Its file in the study's folder.
const FILE: &str = "classifier.safetensors";

/// The name of the folder for the judge of some data: it differs where data or training differ.
pub(crate) fn folder_name(config: &DatasetConfig) -> String {
    let decided_by = to_ron(&(config, CHANNELS, PASSES, TRAIN_IMAGES, NamedSeeds::judge().features));
    format!("judge-{}", &blake3::hash(decided_by.as_bytes()).to_hex()[..16])
}

/// Whether the judge of some data is trained, if they have classes at all.
pub(crate) fn is_trained(config: &DatasetConfig) -> bool {
    match config {
        DatasetConfig::Digits(_) | DatasetConfig::GaussianMixture(_) | DatasetConfig::SwissRoll(_) => false,
        DatasetConfig::Prepared(_) | DatasetConfig::Source(_) => true,
    }
}

/// The features by which images of some data are compared.
pub(crate) fn features(config: &DatasetConfig, data: &Outline) -> usize {
    match config {
        // The shipped judge has as many as a trained one.
        DatasetConfig::Digits(_) => 4 * CHANNELS,
        DatasetConfig::Prepared(_) | DatasetConfig::Source(_) if data.classes.is_some() => 4 * CHANNELS,
        DatasetConfig::Prepared(_)
        | DatasetConfig::Source(_)
        | DatasetConfig::GaussianMixture(_)
        | DatasetConfig::SwissRoll(_) => data.shape.len(),
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
    let path = folder.map(|folder| folder.join(FILE));
    if let Some(path) = &path
        && let Some(file) = read(path)?
    {
        return Ok(NetworkJudge::from_file(&file).map_err(|error| FileError::damaged(path, error))?);
    }
    let train_images = (PASSES * train.len() as u64).clamp(TRAIN_IMAGES[0], TRAIN_IMAGES[1]);
    let (network, weights) = train_classifier(train, CHANNELS, train_images, NamedSeeds::judge().features)
        .map_err(|error| RunError::failed("training the judge of the samples", error))?;
    if let Some(path) = &path {
        let mut file = NetworkJudge::to_file(&network, &weights);
        file.metadata.insert("trained_on".into(), format!("the training part, {train_images} images"));
        let right = accuracy(&network, &weights, images, labels);
        file.metadata.insert("test_accuracy".into(), format!("{right:.4}"));
        write_file(path, &file)?;
    }
    Ok(NetworkJudge::new(network, weights))
}
