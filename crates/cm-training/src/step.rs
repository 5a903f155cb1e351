//! What one step of training is told, and what it tells. Deliberately absent: the step itself (`train_step.rs`).

use crate::AugmentationConfig;
use cm_image::augmentation::{Augmentation, augmented};
use cm_image::random::{Random, derive_seed};
use cm_image::{ImageBatch, ImageShape, NO_CLASS};
use cm_tensor::collective::CollectiveError;
use std::borrow::Cow;
use std::ops::Range;

/// The stream of a step's seed from which it is drawn whose class is not told.
const LABELS_STREAM: u64 = 2;
/// The stream of an image's seed from which its augmentation is drawn; 0 is its noise.
const AUGMENTATION_STREAM: u64 = 1;

/// Images and, where the data set has them, their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The images.
    pub images: ImageBatch,
    /// A class for each image, or nothing.
    pub labels: Vec<u32>,
}

impl Batch {
    /// Some of the images, by their places, with their labels if there are any.
    ///
    /// # Panics
    /// If the batch has not so many.
    pub fn slice(&self, images: Range<usize>) -> Self {
        let labels = if self.labels.is_empty() { Vec::new() } else { self.labels[images.clone()].to_vec() };
        Self { images: self.images.slice(images), labels }
    }

    /// The same images, the classes of about this share of which are [`NO_CLASS`]: which, the step's seed decides. With a
    /// share of 0 it is the batch itself.
    pub fn untold(&self, share: f32, seed: StepSeed) -> Cow<'_, Self> {
        if share == 0.0 {
            return Cow::Borrowed(self);
        }
        let mut batch = self.clone();
        let mut random = Random::with_stream(seed.noise(), LABELS_STREAM);
        for label in &mut batch.labels {
            if random.uniform() < share {
                *label = NO_CLASS;
            }
        }
        Cow::Owned(batch)
    }

    /// Whether the images have the shape that a network was made for.
    ///
    /// # Errors
    /// [`TrainError::Shape`] if not.
    pub fn check_shape(&self, expected: ImageShape) -> Result<(), TrainError> {
        let given = self.images.shape();
        if given == expected { Ok(()) } else { Err(TrainError::Shape { given, expected }) }
    }
}

/// How far a run is, before the step it is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps taken so far: the number of this step, from 0.
    pub step: u64,
    /// Images seen so far.
    pub images: u64,
    /// Images of the whole run.
    pub total_images: u64,
}

impl Progress {
    /// The share of the run that is done, in [0, 1].
    pub fn fraction(&self) -> f64 {
        if self.total_images == 0 { 1.0 } else { (self.images as f64 / self.total_images as f64).min(1.0) }
    }
}

/// From which everything a step draws is derived: a pure function of the run's seed and the step's number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSeed {
    noise: u64,
    dropout: u64,
    /// How the step's images were changed.
    augmentation: Option<AugmentationConfig>,
}

impl StepSeed {
    /// The seed of step `step` of a run with the given seeds.
    pub fn new(noise_seed: u64, dropout_seed: u64, step: u64) -> Self {
        Self {
            noise: derive_seed(noise_seed, step),
            dropout: derive_seed(dropout_seed, step),
            augmentation: None,
        }
    }

    /// The same seed for images that are changed so.
    pub fn with_augmentation(self, augmentation: Option<AugmentationConfig>) -> Self {
        Self { augmentation, ..self }
    }

    /// The changes of some images, by their places in the batch; `None` if images stay as they are.
    fn changes(self, images: Range<usize>) -> Option<Vec<Augmentation>> {
        let config = self.augmentation?;
        let of_image = |seed: u64| config.draw(&mut Random::with_stream(seed, AUGMENTATION_STREAM));
        Some(self.image_noise(images).into_iter().map(of_image).collect())
    }

    /// The batch with its images changed.
    pub(crate) fn augmented(self, batch: Batch) -> Batch {
        match self.changes(0..batch.images.count()) {
            Some(changes) => Batch { images: augmented(&batch.images, &changes), ..batch },
            None => batch,
        }
    }

    /// What a network is told of the changes of some images, by their places in the batch:
    /// [`AUGMENTATION_LABELS`](cm_image::augmentation::AUGMENTATION_LABELS) numbers for each; `None` if images stay as they
    /// are.
    pub fn augmentation(self, images: Range<usize>) -> Option<Vec<f32>> {
        Some(self.changes(images)?.iter().flat_map(Augmentation::labels).collect())
    }

    /// For noise levels and noise.
    pub fn noise(self) -> u64 {
        self.noise
    }

    /// For the noise of each of some images, by their places in the batch.
    pub fn image_noise(self, images: Range<usize>) -> Vec<u64> {
        images.map(|image| derive_seed(self.noise, image as u64)).collect()
    }

    /// For dropout masks; student and target of a pair share it.
    pub fn dropout(self) -> u64 {
        self.dropout
    }
}

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Steps taken, this one included.
    pub step: u64,
    /// Images seen, this step's included.
    pub images: u64,
    /// The mean weighted loss of the batch, before the update.
    pub loss: f64,
    /// The norm of the whole gradient, before clipping.
    pub gradient_norm: f64,
    /// The learning rate of the update.
    pub learning_rate: f32,
    /// The weighted loss of each image and the noise level it was taken at.
    pub losses: Vec<ImageLoss>,
    /// What else the method finds worth a curve: name and value.
    pub scalars: Vec<(&'static str, f64)>,
}

/// One image's part of a step's loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageLoss {
    /// Its noise level, the upper one of a pair.
    pub level: f32,
    /// Its loss times its weight; the step's loss is the mean of these.
    pub loss: f64,
}

/// Why training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss or its gradient is infinite or NaN; the weights have not been touched.
    #[error(
        "the {what} is not finite at step {step} (seeds: noise {noise_seed:#018x}, dropout {dropout_seed:#018x}; \
         {images}): lower the learning rate (a clipped gradient went on, in the runs that were measured, and drew nothing)"
    )]
    NotFinite {
        /// The loss or the gradient.
        what: &'static str,
        /// The step, from 0.
        step: u64,
        /// The step's noise seed.
        noise_seed: u64,
        /// The step's dropout seed.
        dropout_seed: u64,
        /// The images to blame, with their noise levels.
        images: String,
    },
    /// A model used by the step failed.
    #[error("{0}")]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The other processes that train this model cannot be reached.
    #[error("training with other processes: {0}")]
    Group(#[from] CollectiveError),
    /// A batch does not fit the network.
    #[error("a batch of {given} does not fit a network for {expected}")]
    Shape {
        /// Shape of the batch's images.
        given: ImageShape,
        /// Shape the network was made for.
        expected: ImageShape,
    },
}

impl TrainError {
    /// The failure of a model.
    pub fn model(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Model(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::augmentation::AUGMENTATION_LABELS;

    fn batch() -> Batch {
        let shape = ImageShape { height: 8, width: 8, channels: 1 };
        let mut random = Random::new(1);
        Batch { images: ImageBatch::from_fn(shape, 6, |_, v| random.fill_normal(v)), labels: vec![3; 6] }
    }

    fn seed(config: Option<AugmentationConfig>) -> StepSeed {
        StepSeed::new(1, 2, 3).with_augmentation(config)
    }

    #[test]
    fn without_changes_or_probability_a_batch_stays_as_it_is_to_the_bit() {
        assert_eq!(seed(None).augmented(batch()), batch());
        assert_eq!(seed(None).augmentation(0..6), None);
        let never = AugmentationConfig { probability: 0.0, horizontal_flips: false, ..Default::default() };
        assert_eq!(seed(Some(never)).augmented(batch()), batch());
        assert_eq!(seed(Some(never)).augmentation(0..6), Some(vec![0.0; 6 * AUGMENTATION_LABELS]));
    }

    #[test]
    fn images_are_changed_as_the_network_is_told_whatever_part_is_asked_for() {
        let often = seed(Some(AugmentationConfig { probability: 0.6, ..Default::default() }));
        let told = often.augmentation(0..6).unwrap();
        assert_eq!(told[2 * AUGMENTATION_LABELS..5 * AUGMENTATION_LABELS], often.augmentation(2..5).unwrap());
        let (changed, original) = (often.augmented(batch()), batch());
        assert_eq!(changed.labels, original.labels);
        for (image, labels) in told.chunks(AUGMENTATION_LABELS).enumerate() {
            let same = changed.images.image(image) == original.images.image(image);
            assert_eq!(same, labels.iter().all(|&label| label == 0.0), "{image}: {labels:?}");
        }
        let other = StepSeed::new(1, 2, 4).with_augmentation(often.augmentation);
        assert_ne!(other.augmented(batch()).images, changed.images);
        // The noise of an image is what it is without changes.
        assert_eq!(often.image_noise(0..6), seed(None).image_noise(0..6));
    }
}
