//! Training of small classifiers: the evaluator's judge, and the features of a learned distance. The two are never
//! the same network: they have different seeds, and the shipped judge is not trained here at run time.

use cm_datasets::{Dataset, DatasetError, Loader};
use cm_image::ImageBatch;
use cm_network::feature_net::Classifier;
use cm_network::{Graph, Images, Weights};
use cm_tensor::ops::cross_entropy;
use cm_training::{
    Batch, Control, DecayConfig, Duration, EmaConfig, LearningRateConfig, MomentsConfig, OptimiserConfig,
    Progress, StepReport, StepSeed, TrainConfig, TrainError, TrainState, TrainStep, train,
};

/// Why there is no classifier.
#[derive(Debug, thiserror::Error)]
pub enum ClassifierError {
    /// A classifier needs classes.
    #[error("the data set has no labels to train a classifier on")]
    NoLabels,
    /// An image could not be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// A classifier trained on all images of `dataset` for `train_images` images, repeats counted. `channels` is its
/// first layer's. A pure function of its arguments.
///
/// # Errors
/// [`ClassifierError`] if the data set has no labels, cannot be read, or training fails.
pub fn train_classifier(
    dataset: &dyn Dataset,
    channels: usize,
    train_images: u64,
    seed: u64,
) -> Result<(Classifier, Weights), ClassifierError> {
    let classes = dataset.num_classes().ok_or(ClassifierError::NoLabels)?;
    let (network, weights) = Classifier::new(dataset.shape(), classes, channels, seed);
    let config = recipe(train_images);
    let mut step = ClassifierStep { network: &network, state: TrainState::new(&config, weights, false) };
    let loader = Loader::new(dataset, config.batch, seed)?;
    train::<_, ClassifierError>(
        &mut step,
        &config,
        0,
        (seed, seed),
        |k| {
            let (images, labels) = loader.batch_at(k)?;
            if labels.len() == images.count() {
                Ok(Batch { images, labels })
            } else {
                Err(ClassifierError::NoLabels)
            }
        },
        |_, _| Ok(Control::Continue),
    )?;
    let weights = step.state.averages.swap_remove(0);
    Ok((network, weights))
}

/// The share of images whose most probable class is their label.
///
/// # Panics
/// If there is not one label for each image, or the images do not fit.
pub fn accuracy(network: &Classifier, weights: &Weights, images: &ImageBatch, labels: &[u32]) -> f64 {
    assert_eq!(images.count(), labels.len(), "one label for each image");
    let output = network.forward(&mut Graph::inference(), weights, &Images::from_batch(images));
    let right = output.logits.values().chunks_exact(network.classes()).zip(labels).filter(|(row, label)| {
        let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        best == Some(**label as usize)
    });
    right.count() as f64 / labels.len() as f64
}

/// How a classifier is trained: AdamW along half a cosine, averaged; found on the digits' training split alone.
fn recipe(train_images: u64) -> TrainConfig {
    TrainConfig {
        total_images: train_images,
        batch: 64,
        optimiser: OptimiserConfig::Adam(MomentsConfig { weight_decay: 0.05, ..MomentsConfig::default() }),
        learning_rate: LearningRateConfig {
            peak: 3e-3,
            warmup: Duration::Images(2_000),
            decay: DecayConfig::Cosine,
        },
        shards: 1,
        gradient_clip: None,
        ema: vec![EmaConfig::PerStep(0.99)],
        snapshots: None,
        horizontal_flips: false,
        augmentation: None,
    }
}

struct ClassifierStep<'a> {
    network: &'a Classifier,
    state: TrainState,
}

impl TrainStep for ClassifierStep<'_> {
    fn state(&self) -> &TrainState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut TrainState {
        &mut self.state
    }

    fn step(&mut self, batch: &Batch, progress: Progress, seed: StepSeed) -> Result<StepReport, TrainError> {
        let count = batch.images.count();
        let mut graph = Graph::recording();
        let images = Images::from_batch(&batch.images);
        let output = self.network.forward(&mut graph, &self.state.weights, &images);
        let losses = cross_entropy(&mut graph, &output.logits, &batch.labels);
        let weights = vec![1.0 / count as f32; count];
        // It sees clean images.
        self.state.descend(graph, &losses, weights, (progress, seed), 0.0, |_| (0.0, 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_datasets::{DatasetConfig, Split};
    use cm_evaluator::NetworkJudge;

    fn digits(split: Split) -> (Box<dyn Dataset>, ImageBatch, Vec<u32>) {
        let dataset = DatasetConfig::default().build(split).unwrap();
        let images = dataset.all_images().unwrap();
        let labels = dataset.labels(&(0..dataset.len()).collect::<Vec<_>>());
        (dataset, images, labels)
    }

    #[test]
    fn a_second_of_training_reads_digits_it_has_not_seen() {
        let (train, ..) = digits(Split::Train);
        let (_, images, labels) = digits(Split::Test);
        let (network, weights) = train_classifier(train.as_ref(), 8, 20_000, 3).unwrap();
        let accuracy = accuracy(&network, &weights, &images, &labels);
        assert!(accuracy > 0.93, "{accuracy}");
    }

    #[test]
    fn the_shipped_judge_reads_the_test_digits() {
        use cm_evaluator::ActivationExtractor as _;
        let (_, images, labels) = digits(Split::Test);
        let activations = NetworkJudge::digits().unwrap().activations(&images).unwrap();
        let probabilities = activations.probabilities.unwrap();
        let right = (0..labels.len())
            .filter(|&i| {
                let row = probabilities.row(i);
                (0..10).all(|class| row[class] <= row[labels[i] as usize])
            })
            .count();
        assert!(right as f64 / labels.len() as f64 >= 0.97, "{right} of {}", labels.len());
    }

    #[test]
    fn points_have_no_classes() {
        let points =
            DatasetConfig::SwissRoll(cm_datasets::SwissRollConfig::default()).build(Split::Train).unwrap();
        assert!(matches!(train_classifier(points.as_ref(), 8, 64, 0), Err(ClassifierError::NoLabels)));
    }
}
