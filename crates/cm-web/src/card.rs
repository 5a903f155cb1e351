//! What a page must know of its model beside the weights.

use cm_diffusion::{Boundary, Labels, QuantityError, Sigma, SigmaRange};
use cm_image::{ImageShape, Quantisation};
use cm_network::{Conditions, NetworkConfig};
use serde::{Deserialize, Serialize};

/// What a page must know of its model beside the weights. The page's script reads it too, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// What the model is called, for people.
    pub name: String,
    /// The architecture.
    pub network: NetworkConfig,
    /// Height of the images.
    pub height: usize,
    /// Width of the images.
    pub width: usize,
    /// Channels of the images: 1 or 3.
    pub channels: usize,
    /// The number of classes it must be told one of.
    pub classes: Option<usize>,
    /// Their names; none, or one for each.
    pub class_names: Vec<String>,
    /// Standard deviation of the data it was trained with.
    pub sigma_data: f32,
    /// Its lowest noise level.
    pub sigma_min: f32,
    /// Its highest noise level.
    pub sigma_max: f32,
    /// Entry k holds the levels at which it is evaluated after sigma_max, k of them, strictly falling; at least one entry.
    pub levels: Vec<Vec<f32>>,
    /// The levels of an edit, strictly falling; at least one.
    pub edit_levels: Vec<f32>,
    /// How values become 8-bit pixels.
    pub quantisation: Quantisation,
}

/// A card that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CardError {
    /// A canvas shows grey or coloured pixels.
    #[error("images of {0} channels: a page shows those of 1 or 3")]
    Channels(usize),
    /// There is a name for each class, or for none.
    #[error("{names} names for {classes} classes")]
    Names {
        /// Names given.
        names: usize,
        /// Classes of the network.
        classes: usize,
    },
    /// A standard deviation is positive.
    #[error("sigma_data is {0}, which must be a finite number above 0")]
    Data(f32),
    /// A noise level is out of range.
    #[error(transparent)]
    Level(#[from] QuantityError),
    /// There must be a way to draw.
    #[error("entry {0} of the levels does not hold as many, and there must be an entry 0")]
    Levels(usize),
}

impl Card {
    /// Whether the numbers can be; levels are checked against each other where they are used.
    ///
    /// # Errors
    /// [`CardError`] for the first that cannot.
    pub fn check(&self) -> Result<(), CardError> {
        if ![1, 3].contains(&self.channels) {
            return Err(CardError::Channels(self.channels));
        }
        let (names, classes) = (self.class_names.len(), self.classes.unwrap_or(0));
        if names != 0 && names != classes {
            return Err(CardError::Names { names, classes });
        }
        if !(self.sigma_data > 0.0 && self.sigma_data.is_finite()) {
            return Err(CardError::Data(self.sigma_data));
        }
        self.range()?;
        let wrong = self.levels.iter().enumerate().position(|(count, levels)| levels.len() != count);
        match wrong.or(self.levels.is_empty().then_some(0)) {
            Some(entry) => Err(CardError::Levels(entry)),
            None => Ok(()),
        }
    }

    /// The shape of its images.
    pub fn shape(&self) -> ImageShape {
        ImageShape::new(self.height, self.width, self.channels)
    }

    /// What its network is told.
    pub fn conditions(&self) -> Conditions {
        Conditions { classes: self.classes, ..Conditions::default() }
    }

    /// The preconditioning of its network.
    pub fn boundary(&self) -> Boundary {
        Boundary { sigma_data: self.sigma_data, sigma_min: self.sigma_min }
    }

    /// The range of its noise levels.
    ///
    /// # Errors
    /// [`QuantityError::Range`] if it is none.
    pub fn range(&self) -> Result<SigmaRange, QuantityError> {
        SigmaRange::new(self.sigma_min, self.sigma_max)
    }

    /// The classes of images: the one that is asked for, or each image's by its seed, or none where it knows none.
    pub(crate) fn labels(&self, class: Option<u32>) -> Labels {
        match (self.classes, class) {
            (None, _) => Labels::None,
            (Some(_), Some(class)) => Labels::Class(class),
            (Some(classes), None) => Labels::Uniform { classes: classes as u32 },
        }
    }
}

/// Numbers as noise levels.
pub(crate) fn sigmas(levels: &[f32]) -> Result<Vec<Sigma>, QuantityError> {
    levels.iter().map(|&level| Sigma::new(level)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_network::UNetConfig;

    #[test]
    fn what_cannot_be_is_told() {
        let card = Card {
            name: "digits".to_owned(),
            network: NetworkConfig::UNet(UNetConfig::default()),
            height: 8,
            width: 8,
            channels: 1,
            classes: Some(2),
            class_names: vec!["0".to_owned(), "1".to_owned()],
            sigma_data: 0.5,
            sigma_min: 0.02,
            sigma_max: 20.0,
            levels: vec![vec![], vec![3.0]],
            edit_levels: vec![20.0],
            quantisation: Quantisation::Round,
        };
        assert_eq!(card.check(), Ok(()));
        let wrong = |change: &dyn Fn(&mut Card)| {
            let mut card = card.clone();
            change(&mut card);
            card.check().unwrap_err()
        };
        assert_eq!(wrong(&|card| card.channels = 2), CardError::Channels(2));
        assert_eq!(wrong(&|card| card.classes = Some(3)), CardError::Names { names: 2, classes: 3 });
        assert!(matches!(wrong(&|card| card.sigma_data = f32::NAN), CardError::Data(_)));
        assert!(matches!(wrong(&|card| card.sigma_min = 30.0), CardError::Level(_)));
        assert_eq!(wrong(&|card| card.levels = vec![vec![], vec![]]), CardError::Levels(1));
        assert_eq!(wrong(&|card| card.levels = Vec::new()), CardError::Levels(0));
        // It goes to the browser and back as text.
        let text = serde_json::to_string(&card).unwrap();
        assert_eq!(serde_json::from_str::<Card>(&text).unwrap(), card);
    }
}
