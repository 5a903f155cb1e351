//! What a plan must know of how samples are judged: how many images are held for it, and by how many features they are
//! compared. Deliberately absent: the judge itself (the runner's).

use cm_datasets::{DatasetConfig, Outline};

/// Images of a part that evaluations see at most; of a larger one, so many at even distances.
pub const MOST_HELD: usize = 50_000; // as many as CIFAR-10 has to train on
/// Channels of the first layer of the classifier that judges images with classes: it has four times as many features.
pub const JUDGE_CHANNELS: usize = 16; // ours: 64 features, as the shipped judge of the digits has

/// The features by which images of some data are compared.
pub fn features(config: &DatasetConfig, data: &Outline) -> usize {
    match config {
        DatasetConfig::Digits(_) => 4 * JUDGE_CHANNELS,
        DatasetConfig::Prepared(_) | DatasetConfig::Source(_) if data.classes.is_some() => 4 * JUDGE_CHANNELS,
        DatasetConfig::Prepared(_)
        | DatasetConfig::Source(_)
        | DatasetConfig::GaussianMixture(_)
        | DatasetConfig::SwissRoll(_) => data.shape.len(),
    }
}
