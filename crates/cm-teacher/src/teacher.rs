//! A trained network as a denoiser.

use cm_diffusion::{Denoiser, Edm, ModelError, Precondition, Sigma};
use cm_image::ImageBatch;
use cm_network::{Extra, Network, Scaling, check_labels};
use cm_tensor::{Graph, Images, Weights};

/// D(x; sigma) = c_skip x + c_out F(c_in x, c_noise).
pub struct Teacher<'a> {
    network: &'a dyn Network,
    weights: Weights,
    precondition: Box<dyn Precondition>,
}

impl<'a> Teacher<'a> {
    /// A denoiser from a network, its weights and the preconditioning it was trained under.
    pub fn new(network: &'a dyn Network, weights: Weights, precondition: Edm) -> Self {
        Self::with(network, weights, Box::new(precondition))
    }

    /// The same, of any preconditioning.
    pub fn with(network: &'a dyn Network, weights: Weights, precondition: Box<dyn Precondition>) -> Self {
        Self { network, weights, precondition }
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}

impl Denoiser for Teacher<'_> {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
        ModelError::check(noisy, sigma, self.network.shape())?;
        let labels = check_labels(self.network, labels, noisy.count()).map_err(ModelError::other)?;
        let mut graph = Graph::inference();
        let x = Images::from_batch(noisy);
        let scaling = scaling(self.precondition.as_ref(), sigma);
        let extra = Extra { labels, ..Extra::default() };
        let output = self.network.forward_scaled(&mut graph, &self.weights, &x, &scaling, extra);
        Ok(output.to_batch())
    }
}

/// The coefficients of each image.
pub(crate) fn scaling(precondition: &dyn Precondition, sigma: &[Sigma]) -> Scaling {
    let mut scaling = Scaling::default();
    for &sigma in sigma {
        let c = precondition.coefficients(sigma);
        scaling.push(c.c_skip, c.c_out, c.c_in, c.c_noise);
    }
    scaling
}
