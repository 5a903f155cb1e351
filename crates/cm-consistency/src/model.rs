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
    /// The level of a truncation, and the weights of the model below it.
    below: Option<(Sigma, Weights)>,
}

impl<'a> ConsistencyModel<'a> {
    /// A consistency function from a network, its weights and the preconditioning it was trained under.
    pub fn new(network: &'a dyn Network, weights: Weights, precondition: Boundary) -> Self {
        Self { network, weights, precondition, below: None }
    }

    /// The same function at `level` and above, and that with the weights `first` below it: a truncated consistency model.
    pub fn above(self, level: Sigma, first: Weights) -> Self {
        Self { below: Some((level, first)), ..self }
    }

    fn at(&self, weights: &Weights, noisy: &ImageBatch, sigma: &[Sigma], extra: Extra<'_>) -> ImageBatch {
        let (x, scaling) = (Images::from_batch(noisy), scaling(&self.precondition, sigma));
        self.network.forward_scaled(&mut Graph::inference(), weights, &x, &scaling, extra).to_batch()
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
        let extra = Extra { labels, ..Extra::default() };
        let Some((level, first)) = &self.below else {
            return Ok(self.at(&self.weights, noisy, sigma, extra));
        };
        let below = |sigma: &Sigma| sigma.get() < level.get();
        match (sigma.iter().all(below), sigma.iter().any(below)) {
            (true, _) => Ok(self.at(first, noisy, sigma, extra)),
            (false, false) => Ok(self.at(&self.weights, noisy, sigma, extra)),
            (false, true) => {
                let mut answers = self.at(&self.weights, noisy, sigma, extra);
                take_where(&mut answers, &self.at(first, noisy, sigma, extra), |image| below(&sigma[image]));
                Ok(answers)
            }
        }
    }
}

/// Replaces those of some images that `which` names by the others.
pub(crate) fn take_where(images: &mut ImageBatch, others: &ImageBatch, which: impl Fn(usize) -> bool) {
    for (image, (values, other)) in images.images_mut().zip(others.images()).enumerate() {
        if which(image) {
            values.copy_from_slice(other);
        }
    }
}

/// The coefficients of a preconditioning at the level of each image.
pub fn scaling(precondition: &impl Precondition, sigma: &[Sigma]) -> Scaling {
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
    fn a_truncated_model_is_one_model_below_its_level_and_another_from_it_on() {
        let shape = ImageShape::vector(3);
        let config = NetworkConfig::Mlp(MlpConfig { width: 16, ..MlpConfig::default() });
        let build = |seed| {
            let (network, mut weights) = config.build(shape, Conditions::default(), seed).unwrap();
            let mut random = Random::new(seed);
            weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.3 * random.normal()));
            (network, weights)
        };
        let ((network, first), (_, second)) = (build(1), build(2));
        let sigma = |values: [f32; 4]| values.map(|sigma| Sigma::new(sigma).unwrap());
        let boundary = Boundary { sigma_data: 0.5, sigma_min: 0.002 };
        let plain = |weights: &Weights| ConsistencyModel::new(network.as_ref(), weights.clone(), boundary);
        let truncated = plain(&second).above(Sigma::new(1.0).unwrap(), first.clone());
        let mut random = Random::new(3);
        let x = ImageBatch::from_fn(shape, 4, |_, v| random.fill_normal(v));
        let ends = |model: &ConsistencyModel<'_>, levels| model.endpoint(&x, &sigma(levels), &[]).unwrap();
        for levels in [[0.1, 0.5, 0.99, 0.3], [1.0, 1.5, 80.0, 2.0], [0.9, 1.0, 0.2, 30.0]] {
            let (low, high) = (ends(&plain(&first), levels), ends(&plain(&second), levels));
            let got = ends(&truncated, levels);
            for image in 0..4 {
                let expected = if levels[image] < 1.0 { &low } else { &high };
                assert_eq!(got.image(image), expected.image(image), "{levels:?}");
                assert_ne!(low.image(image), high.image(image));
            }
        }
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
