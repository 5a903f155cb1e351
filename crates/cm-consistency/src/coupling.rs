//! Which image a pair of noise levels belongs to: the data's own, or one that the model has made of it.

use cm_diffusion::{ModelError, Sigma, noise};
use cm_image::ImageBatch;
use cm_image::random::Random;
use cm_training::{RangeError, StepSeed};
use serde::{Deserialize, Serialize};

/// The stream of a step's seed from which it is drawn whose image the model makes.
const COUPLING_STREAM: u64 = 3;

/// Which image and which noise make a pair's two points, in training without a teacher.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum CouplingConfig {
    /// An image of the data, and noise that knows nothing of it.
    #[default] // Song et al. 2023, Algorithm 3
    Independent,
    /// For a share of the pairs, what the model makes of the pair's own lower point, and the noise of that point
    /// (Issenhuth et al. 2025): then the noise and the image that it makes belong together.
    GeneratorAugmented(GeneratorAugmentedConfig),
}

impl CouplingConfig {
    /// Whether it is the default, which changes nothing.
    pub fn is_independent(&self) -> bool {
        *self == Self::Independent
    }

    /// Passes of the network for an image beyond those of the pair.
    pub fn extra_passes(&self) -> f64 {
        match self {
            Self::Independent => 0.0,
            Self::GeneratorAugmented(config) => f64::from(config.share),
        }
    }

    /// What is out of range, with paths relative to this type.
    pub(crate) fn problems(&self) -> Option<RangeError> {
        match self {
            Self::Independent => None,
            Self::GeneratorAugmented(GeneratorAugmentedConfig { share, .. }) => {
                RangeError::unless(*share > 0.0 && *share <= 1.0, "share", share, "above 0, at most 1")
            }
        }
    }
}

/// Settings of [`CouplingConfig::GeneratorAugmented`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratorAugmentedConfig {
    /// The chance of a pair to be one of the model's image, above 0 and at most 1.
    pub share: f32,
    /// Which weights make the image.
    pub predictor: Predictor,
}

impl Default for GeneratorAugmentedConfig {
    fn default() -> Self {
        Self {
            share: 0.5,                    // Issenhuth et al. 2025, all their data sets
            predictor: Predictor::Average, // the same
        }
    }
}

/// The weights that make the images of [`CouplingConfig::GeneratorAugmented`], always without dropout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Predictor {
    /// The first average that is evaluated.
    Average,
    /// The student's.
    Student,
}

impl GeneratorAugmentedConfig {
    /// The places of those of a batch's images, of `count`, that the model makes: the same for any parts of the batch.
    pub(crate) fn chosen(&self, count: usize, seed: StepSeed) -> Vec<bool> {
        let mut random = Random::with_stream(seed.noise(), COUPLING_STREAM);
        (0..count).map(|_| random.uniform_f64() < f64::from(self.share)).collect()
    }
}

/// Replaces the chosen images by x' = f(x + lower z, lower), f without gradient. The pair's points are then x' + upper z
/// and x' + lower z.
///
/// # Errors
/// [`ModelError`] if `predict` fails.
///
/// # Panics
/// If counts disagree.
pub(crate) fn augment(
    clean: &mut ImageBatch,
    (chosen, noise, lower): (&[bool], &ImageBatch, &[Sigma]),
    labels: &[u32],
    predict: impl Fn(&ImageBatch, &[Sigma], &[u32]) -> Result<ImageBatch, ModelError>,
) -> Result<(), ModelError> {
    assert_eq!([chosen.len(), noise.count(), lower.len()], [clean.count(); 3], "one of each for an image");
    let places: Vec<usize> = (0..chosen.len()).filter(|&image| chosen[image]).collect();
    if places.is_empty() {
        return Ok(());
    }
    let some = |of: &ImageBatch| {
        let shape = of.shape();
        ImageBatch::from_fn(shape, places.len(), |place, out| out.copy_from_slice(of.image(places[place])))
    };
    let levels: Vec<Sigma> = places.iter().map(|&image| lower[image]).collect();
    let known: Vec<u32> = places.iter().filter_map(|&image| labels.get(image).copied()).collect();
    let made = predict(&noise::perturb(&some(clean), &levels, &some(noise)), &levels, &known)?;
    let len = clean.shape().len();
    for (image, made) in places.into_iter().zip(made.images()) {
        clean.values_mut()[image * len..(image + 1) * len].copy_from_slice(made);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
