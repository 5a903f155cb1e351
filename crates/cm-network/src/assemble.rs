//! From a configuration to a network: the only place where an architecture becomes a `Box<dyn Network>`.

use crate::init::Builder;
use crate::{Adm, Conditions, Extra, Mlp, Network, NetworkConfig, NetworkConfigError, UNet};
use cm_image::ImageShape;
use cm_tensor::{Graph, Images, Weights};

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
        self.with(shape, conditions, Builder::new(Some(seed)))
    }

    /// The network and weights of zeros, to be counted or loaded. Their memory is not touched before they are.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn outline(
        &self,
        shape: ImageShape,
        conditions: Conditions,
    ) -> Result<(Box<dyn Network>, Weights), NetworkConfigError> {
        self.with(shape, conditions, Builder::new(None))
    }

    fn with(
        &self,
        shape: ImageShape,
        conditions: Conditions,
        b: Builder,
    ) -> Result<(Box<dyn Network>, Weights), NetworkConfigError> {
        Ok(match self {
            NetworkConfig::UNet(config) => {
                let (network, weights) = UNet::new(config, shape, conditions, b)?;
                (Box::new(network), weights)
            }
            NetworkConfig::Adm(config) => {
                let (network, weights) = Adm::new(config, shape, conditions, b)?;
                (Box::new(network), weights)
            }
            NetworkConfig::Mlp(config) => {
                let (network, weights) = Mlp::new(config, shape, conditions, b)?;
                (Box::new(network), weights)
            }
        })
    }

    /// Multiplications and additions of evaluating the network on one image.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn flops_per_image(
        &self,
        shape: ImageShape,
        conditions: Conditions,
    ) -> Result<u64, NetworkConfigError> {
        let (network, weights) = self.outline(shape, conditions)?;
        let mut graph = Graph::counting();
        let x = Images::constant(vec![0.0; shape.len()], [1, shape.height, shape.width, shape.channels]);
        let extra = Extra {
            labels: conditions.classes.map(|_| &[0][..]),
            second_time: conditions.second_time.then_some(&[0.0]),
            dropout_key: None,
        };
        network.forward(&mut graph, &weights, &x, &[0.0], extra);
        Ok(graph.flops())
    }
}
