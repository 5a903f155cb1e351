//! Makes the evaluator's judge of digits:
//!
//! ```text
//! cargo run --release -p cm-experiment --example digits_judge
//! ```
//!
//! trains the classifier on the training split, prints its accuracy on the test split, and overwrites
//! `crates/cm-evaluator/data/digits_classifier.safetensors`.

use cm_datasets::{Dataset, DatasetConfig, DatasetError, Split};
use cm_evaluator::NetworkJudge;
use cm_experiment::{NamedSeeds, accuracy, train_classifier};
use std::path::Path;

/// Channels of the first layer: 64 features.
const CHANNELS: usize = 16;
/// 100 passes over the training split.
const TRAIN_IMAGES: u64 = 150_000;

#[expect(clippy::print_stdout, reason = "a program that a person runs by hand")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let train = DatasetConfig::default().build(Split::Train)?;
    let (network, weights) =
        train_classifier(train.as_ref(), CHANNELS, TRAIN_IMAGES, NamedSeeds::judge().features)?;
    let share = |split| -> Result<f64, DatasetError> {
        let data = DatasetConfig::default().build(split)?;
        let labels = data.labels(&(0..data.len()).collect::<Vec<_>>());
        Ok(accuracy(&network, &weights, &data.all_images()?, &labels))
    };
    let (on_train, on_test) = (share(Split::Train)?, share(Split::Test)?);
    let mut file = NetworkJudge::to_file(&network, &weights);
    file.metadata.insert("trained_on".into(), format!("digits, training split, {TRAIN_IMAGES} images"));
    file.metadata.insert("test_accuracy".into(), format!("{on_test:.4}"));
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../cm-evaluator/data/digits_classifier.safetensors");
    std::fs::write(&path, file.encode()?)?;
    println!("accuracy {on_train:.4} on the training split, {on_test:.4} on the test split");
    Ok(())
}
