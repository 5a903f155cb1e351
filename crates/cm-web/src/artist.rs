//! Who draws: the model with its card, and what the page asks of it.

use crate::card::{Card, sigmas};
use cm_consistency::ConsistencyModel;
use cm_diffusion::editing::{EditError, Editor, Inpainting};
use cm_diffusion::{Labels, ModelError, Multistep, QuantityError, Sampler};
use cm_image::random::derive_seed;
use cm_image::{ImageBatch, Quantisation, from_u8};
use cm_network::{Network, Weights};

/// Images at a time, at most: a page asks for a few at once, and shows them before it asks for more.
const MOST_IMAGES: usize = 1024;

/// Why nothing was drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// So many images at once are not drawn.
    #[error("{0} images at once; allowed are 1 to {MOST_IMAGES}")]
    Count(usize),
    /// It has no such class.
    #[error("there is no class {class}: the model knows {known}")]
    Class {
        /// The class asked for.
        class: u32,
        /// How many it knows.
        known: usize,
    },
    /// It has no levels for so many evaluations.
    #[error("{0} evaluations; allowed are 1 to {1}")]
    Evaluations(usize, usize),
    /// Pixels and mask are those of one image.
    #[error(
        "an image of {pixels} pixel values and a mask of {mask}: the model's have {expected} and {places}"
    )]
    Image {
        /// Values given.
        pixels: usize,
        /// Entries of the mask.
        mask: usize,
        /// Values of an image.
        expected: usize,
        /// Pixels of an image.
        places: usize,
    },
    /// Noise levels of the card do not fit each other.
    #[error(transparent)]
    Levels(#[from] QuantityError),
    /// Those of an edit do not.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model returned infinite or NaN values.
    #[error("the model's images are not finite")]
    NotFinite,
}

/// A model that draws.
pub struct Artist {
    card: Card,
    network: Box<dyn Network>,
    weights: Weights,
}

/// 8-bit pixels of images, one image after the other, and the class of each; no classes where the model knows none.
pub type Pixels = (Vec<u8>, Vec<u32>);

impl Artist {
    pub(crate) fn new(card: Card, network: Box<dyn Network>, weights: Weights) -> Self {
        Self { card, network, weights }
    }

    /// The images of numbers `first..first + count` that `cm sample` draws with this seed and so many evaluations, of one
    /// class, or of each image's own.
    ///
    /// # Errors
    /// [`DrawError`] if the card does not allow it, or the model fails.
    pub fn draw(
        &self,
        seed: u64,
        first: u32,
        count: usize,
        class: Option<u32>,
        evaluations: usize,
    ) -> Result<Pixels, DrawError> {
        if !(1..=MOST_IMAGES).contains(&count) {
            return Err(DrawError::Count(count));
        }
        let labels = self.labels(class)?;
        let levels = evaluations.checked_sub(1).and_then(|more| self.card.levels.get(more));
        let levels = levels.ok_or(DrawError::Evaluations(evaluations, self.card.levels.len()))?;
        let (model, range) = (self.model(), self.card.range()?);
        // As `cm sample` without --clip.
        let sampler = Multistep::new(&model, self.card.shape(), range, sigmas(levels)?, false, labels)?;
        let seeds: Vec<u64> =
            (0..count as u64).map(|index| derive_seed(seed, u64::from(first) + index)).collect();
        let pixels = pixels(&sampler.sample(&seeds)?, self.card.quantisation)?;
        Ok((pixels, labels.of(&seeds)))
    }

    /// An image of which only some is known, completed as `cm edit inpaint` does with this seed. `known` has an entry for
    /// each pixel; the values of those that are known stay as they are.
    ///
    /// # Errors
    /// [`DrawError`] if the image is none of the model's, or the model fails.
    pub fn fill_in(
        &self,
        seed: u64,
        class: Option<u32>,
        image: &[u8],
        known: &[bool],
    ) -> Result<Pixels, DrawError> {
        let (shape, labels) = (self.card.shape(), self.labels(class)?);
        let places = shape.height * shape.width;
        if image.len() != shape.len() || known.len() != places {
            let (pixels, mask, expected) = (image.len(), known.len(), shape.len());
            return Err(DrawError::Image { pixels, mask, expected, places });
        }
        let known = known.iter().flat_map(|&known| vec![known; shape.channels]).collect();
        let values = image.iter().map(|&pixel| from_u8(pixel)).collect();
        let image = ImageBatch::new(shape, values).expect("as many values as an image has");
        let (model, range) = (self.model(), self.card.range()?);
        // Clamped, as `cm edit` without --clip.
        let editor = Editor::new(&model, range, sigmas(&self.card.edit_levels)?, true, labels)?;
        let seeds = [derive_seed(seed, 0)];
        let edited = editor.edit(&Inpainting::new(shape, known)?, &image, &seeds)?;
        Ok((pixels(&edited, Quantisation::Round)?, labels.of(&seeds)))
    }

    fn model(&self) -> ConsistencyModel<'_> {
        ConsistencyModel::new(self.network.as_ref(), self.weights.clone(), self.card.boundary())
    }

    fn labels(&self, class: Option<u32>) -> Result<Labels, DrawError> {
        let known = self.card.classes.unwrap_or(0);
        match class.filter(|&class| class as usize >= known) {
            Some(class) => Err(DrawError::Class { class, known }),
            None => Ok(self.card.labels(class)),
        }
    }
}

fn pixels(images: &ImageBatch, rule: Quantisation) -> Result<Vec<u8>, DrawError> {
    match images.values().iter().all(|value| value.is_finite()) {
        true => Ok(images.values().iter().map(|&value| rule.pixel(value)).collect()),
        false => Err(DrawError::NotFinite),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{OpenError, packed_model};
    use cm_image::ImageShape;
    use cm_image::random::Random;
    use cm_network::{Conditions, NetworkConfig, UNetConfig};

    /// A small network whose weights are no zeros.
    fn model() -> (Card, Box<dyn Network>, Weights) {
        let network = NetworkConfig::UNet(UNetConfig {
            channels: 16,
            multipliers: vec![1, 2],
            blocks: 1,
            attention: vec![4],
            ..UNetConfig::default()
        });
        let conditions = Conditions { classes: Some(3), ..Conditions::default() };
        let (built, mut weights) = network.build(ImageShape::new(8, 8, 1), conditions, 1).unwrap();
        let mut random = Random::new(2);
        weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.05 * random.normal()));
        let card = Card {
            name: "three".to_owned(),
            network,
            height: 8,
            width: 8,
            channels: 1,
            classes: Some(3),
            class_names: Vec::new(),
            sigma_data: 0.5,
            sigma_min: 0.02,
            sigma_max: 20.0,
            levels: vec![vec![], vec![3.0]],
            edit_levels: vec![20.0, 2.0, 0.2],
            quantisation: Quantisation::Round,
        };
        (card, built, weights)
    }

    #[test]
    fn what_was_packed_draws_what_the_model_draws_within_a_level() {
        let (card, network, weights) = model();
        let artist = Artist::open(&packed_model(&card, &weights).unwrap()).unwrap();
        let function = ConsistencyModel::new(network.as_ref(), weights, card.boundary());
        for (class, evaluations) in [(None, 1), (Some(2), 2)] {
            let times = sigmas(&card.levels[evaluations - 1]).unwrap();
            let (shape, range, labels) = (card.shape(), card.range().unwrap(), card.labels(class));
            let sampler = Multistep::new(&function, shape, range, times, false, labels).unwrap();
            let seeds: Vec<u64> = (5..25).map(|index| derive_seed(7, index)).collect();
            let exact: Vec<u8> = sampler
                .sample(&seeds)
                .unwrap()
                .values()
                .iter()
                .map(|&v| Quantisation::Round.pixel(v))
                .collect();
            let (drawn, classes) = artist.draw(7, 5, 20, class, evaluations).unwrap();
            assert_eq!(classes, labels.of(&seeds));
            assert!(exact.iter().any(|&pixel| pixel > 0 && pixel < 255), "all ends say nothing");
            let far = exact.iter().zip(&drawn).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(far <= Some(1), "{far:?} levels");
            // Whatever the batch.
            let (alone, _) = artist.draw(7, 9, 1, class, evaluations).unwrap();
            assert!(alone.iter().zip(&drawn[4 * 64..]).all(|(a, b)| a.abs_diff(*b) <= 1));
        }
    }

    #[test]
    fn what_is_known_stays_and_the_rest_is_drawn() {
        let (card, _, weights) = model();
        let artist = Artist::open(&packed_model(&card, &weights).unwrap()).unwrap();
        let image: Vec<u8> = (0..64).map(|i| (i * 4) as u8).collect();
        let known: Vec<bool> = (0..64).map(|i| i < 40).collect();
        let (filled, classes) = artist.fill_in(1, Some(1), &image, &known).unwrap();
        assert_eq!((&filled[..40], classes), (&image[..40], vec![1]));
        assert_ne!(filled[40..], image[40..]);
        assert_ne!(artist.fill_in(2, Some(1), &image, &known).unwrap().0, filled);
    }

    #[test]
    fn what_is_not_there_is_an_error_and_no_panic() {
        let (card, _, weights) = model();
        let bytes = packed_model(&card, &weights).unwrap();
        let artist = Artist::open(&bytes).unwrap();
        assert!(matches!(artist.draw(0, 0, 0, None, 1), Err(DrawError::Count(0))));
        assert!(matches!(artist.draw(0, 0, 1, Some(3), 1), Err(DrawError::Class { class: 3, known: 3 })));
        for evaluations in [0, 3] {
            assert!(matches!(artist.draw(0, 0, 1, None, evaluations), Err(DrawError::Evaluations(..))));
        }
        assert!(matches!(artist.fill_in(0, None, &[0; 63], &[true; 64]), Err(DrawError::Image { .. })));
        assert!(matches!(Artist::open(&bytes[..3]), Err(OpenError::Short)));
        assert!(matches!(Artist::open(&bytes[..60]), Err(OpenError::Short)));
        assert!(matches!(Artist::open(&bytes[..bytes.len() - 1]), Err(OpenError::Weights { .. })));
        let mut other = bytes.clone();
        other[4] = b'[';
        assert!(matches!(Artist::open(&other), Err(OpenError::Text(_))));
        let wrong = Card { sigma_max: 0.01, ..card };
        assert!(matches!(Artist::open(&packed_model(&wrong, &weights).unwrap()), Err(OpenError::Card(_))));
    }
}
