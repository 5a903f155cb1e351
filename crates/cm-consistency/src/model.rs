//! A trained network as a consistency function.

use cm_diffusion::{Boundary, ConsistencyFunction, ModelError, Precondition, Sigma};
use cm_image::ImageBatch;
use cm_network::{Extra, Network, Scaling, check_labels};
use cm_tensor::{Graph, Images, Weights};

/// f(x, sigma) = c_skip x + c_out F(c_in x, c_noise) with f(x, sigma_min) = x: Song et al. 2023, Equation 5.
pub struct ConsistencyModel<'a> {
    network: &'a dyn Network,
    weights: Weights,
    precondition: Boundary,
}

impl<'a> ConsistencyModel<'a> {
    /// A consistency function from a network, its weights and the preconditioning it was trained under.
    pub fn new(network: &'a dyn Network, weights: Weights, precondition: Boundary) -> Self {
        Self { network, weights, precondition }
    }
}

impl ConsistencyFunction for ConsistencyModel<'_> {
    fn endpoint(
        &self,
        noisy: &ImageBatch,
        sigma: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        ModelError::check(noisy, sigma, self.network.shape())?;
        let labels = check_labels(self.network, labels, noisy.count()).map_err(ModelError::other)?;
        let mut graph = Graph::inference();
        let x = Images::from_batch(noisy);
        let scaling = scaling(&self.precondition, sigma);
        let extra = Extra { labels, ..Extra::default() };
        let output = self.network.forward_scaled(&mut graph, &self.weights, &x, &scaling, extra);
        Ok(output.to_batch())
    }
}

/// The coefficients of each image.
pub(crate) fn scaling(precondition: &impl Precondition, sigma: &[Sigma]) -> Scaling {
    let mut scaling = Scaling::default();
    for &sigma in sigma {
        let c = precondition.coefficients(sigma);
        scaling.push(c.c_skip, c.c_out, c.c_in, c.c_noise);
    }
    scaling
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::ImageShape;
    use cm_image::random::Random;
    use cm_network::{Conditions, MlpConfig, NetworkConfig};

    #[test]
    fn at_sigma_min_every_model_is_the_identity_to_the_bit() {
        let shape = ImageShape::vector(5);
        let config = NetworkConfig::Mlp(MlpConfig { width: 16, ..MlpConfig::default() });
        let (network, mut weights) = config.build(shape, Conditions::default(), 0).unwrap();
        let mut random = Random::new(2);
        weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.3 * random.normal()));
        let model =
            ConsistencyModel::new(network.as_ref(), weights, Boundary { sigma_data: 0.5, sigma_min: 0.002 });
        let x = ImageBatch::from_fn(shape, 7, |_, v| random.fill_normal(v));
        let at = |sigma: f32| model.endpoint(&x, &[Sigma::new(sigma).unwrap(); 7], &[]).unwrap();
        assert_eq!(at(0.002), x);
        assert_ne!(at(0.5), x);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let config = NetworkConfig::Mlp(MlpConfig::default());
        let (network, weights) = config.build(ImageShape::vector(2), Conditions::default(), 0).unwrap();
        let model =
            ConsistencyModel::new(network.as_ref(), weights, Boundary { sigma_data: 0.5, sigma_min: 0.002 });
        let three = ImageBatch::zeros(ImageShape::vector(3), 1);
        assert!(matches!(model.endpoint(&three, &[Sigma::ZERO], &[]), Err(ModelError::Shape { .. })));
        let two = ImageBatch::zeros(ImageShape::vector(2), 2);
        assert!(matches!(
            model.endpoint(&two, &[Sigma::ZERO], &[]),
            Err(ModelError::Count { images: 2, sigmas: 1 })
        ));
    }
}
