//! From a configuration to a network: the only place where an architecture becomes a `Box<dyn Network>`.

use crate::counts::Counts;
use crate::init::Builder;
use crate::limits::MOST_PARAMETERS;
use crate::problem::Problems;
use crate::{
    Adm, AdmConfig, Conditions, Edm2, Edm2Config, Extra, Mlp, MlpConfig, Network, NetworkConfig,
    NetworkConfigError, UNet, UNetConfig,
};
use cm_image::ImageShape;
use cm_image::augmentation::AUGMENTATION_LABELS;
use cm_tensor::{Graph, Images, Weights};

/// Values of an image, and classes, at most: above any that is read, and their products with widths are numbers.
const MOST_VALUES: usize = 1 << 31;

impl NetworkConfig {
    /// The network and its initial weights, a pure function of `seed`.
    ///
    /// # Errors
    /// [`NetworkConfigError`] if numbers are out of range or do not fit `shape`.
    pub fn build(
        &self,
        shape: ImageShape,
        conditions: Conditions,
        seed: u64,
    ) -> Result<(Box<dyn Network>, Weights), NetworkConfigError> {
        self.outline(shape, conditions)?;
        self.with(shape, conditions, Builder::new(Some(seed)))
    }

    /// The network and the extents of its weights, to be counted or loaded. Until they are loaded they take no memory.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn outline(
        &self,
        shape: ImageShape,
        conditions: Conditions,
    ) -> Result<(Box<dyn Network>, Weights), NetworkConfigError> {
        let (network, weights) = self.with(shape, conditions, Builder::new(None))?;
        let (count, mut problems) = (weights.count(), Problems::default());
        let (field, given) = match self {
            Self::UNet(UNetConfig { channels, .. })
            | Self::Adm(AdmConfig { channels, .. })
            | Self::Edm2(Edm2Config { channels, .. }) => ("channels", channels),
            Self::Mlp(MlpConfig { width, .. }) => ("width", width),
        };
        let allowed = format!("a network of at most {MOST_PARAMETERS} weights, and this one has {count}");
        problems.unless(count <= MOST_PARAMETERS, field, given, allowed);
        problems.none()?;
        Ok((network, weights))
    }

    fn with(
        &self,
        shape: ImageShape,
        conditions: Conditions,
        b: Builder,
    ) -> Result<(Box<dyn Network>, Weights), NetworkConfigError> {
        let mut problems = Problems::default();
        let ImageShape { height, width, channels } = shape;
        let values = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
        let some = values.is_some_and(|values| (1..=MOST_VALUES).contains(&values));
        problems.unless(some, "images", [height, width, channels], format!("1 to {MOST_VALUES} values"));
        let classes = conditions.classes.unwrap_or(1);
        let some = (1..=MOST_VALUES).contains(&classes);
        problems.unless(some, "classes", classes, format!("1 to {MOST_VALUES}"));
        problems.none()?;
        Ok(match self {
            NetworkConfig::UNet(config) => {
                let (network, weights) = UNet::new(config, shape, conditions, b)?;
                (Box::new(network), weights)
            }
            NetworkConfig::Adm(config) => {
                let (network, weights) = Adm::new(config, shape, conditions, b)?;
                (Box::new(network), weights)
            }
            NetworkConfig::Edm2(config) => {
                let (network, weights) = Edm2::new(config, shape, conditions, b)?;
                (Box::new(network), weights)
            }
            NetworkConfig::Mlp(config) => {
                let (network, weights) = Mlp::new(config, shape, conditions, b)?;
                (Box::new(network), weights)
            }
        })
    }

    /// What the network and an evaluation of it on one image take, counted from extents: nothing of its size is made.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn count(&self, shape: ImageShape, conditions: Conditions) -> Result<Counts, NetworkConfigError> {
        let (network, weights) = self.outline(shape, conditions)?;
        let mut graph = Graph::counting();
        let x = Images::outline([1, shape.height, shape.width, shape.channels]);
        let extra = Extra {
            labels: conditions.classes.map(|_| &[0][..]),
            second_time: conditions.second_time.then_some(&[0.0]),
            augmentation: conditions.augmentation.then_some(&[0.0; AUGMENTATION_LABELS]),
            ..Extra::default()
        };
        network.forward(&mut graph, &weights, &x, &[0.0], extra);
        Ok(Counts::of(&graph, weights.count()))
    }
}
