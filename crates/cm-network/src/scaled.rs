//! A network between factors: how every preconditioning calls it.

use crate::{Extra, Network};
use cm_tensor::{Graph, Images, Weights, ops};

/// One set of factors for each image: skip x + out F(input x, c_noise).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scaling {
    /// c_skip of each image.
    pub skip: Vec<f32>,
    /// c_out of each image.
    pub out: Vec<f32>,
    /// c_in of each image.
    pub input: Vec<f32>,
    /// c_noise of each image.
    pub c_noise: Vec<f32>,
}

impl Scaling {
    /// Adds the factors of one more image.
    pub fn push(&mut self, skip: f32, out: f32, input: f32, c_noise: f32) {
        self.skip.push(skip);
        self.out.push(out);
        self.input.push(input);
        self.c_noise.push(c_noise);
    }
}

impl dyn Network + '_ {
    /// skip x + out F(input x, c_noise), differentiable in the weights.
    ///
    /// # Panics
    /// If there is not one set of factors for each image, and as [`Network::forward`].
    pub fn forward_scaled(
        &self,
        graph: &mut Graph,
        weights: &Weights,
        x: &Images,
        scaling: &Scaling,
        extra: Extra<'_>,
    ) -> Images {
        let rows = scaling.input.len();
        assert_eq!(rows, x.shape()[0], "one set of factors for each image");
        let scaled = cm_tensor::scaled_rows(x, &scaling.input);
        let raw = self.forward(graph, weights, &scaled, &scaling.c_noise, extra);
        ops::blend(graph, scaling.skip.clone(), x, scaling.out.clone(), &raw)
    }
}
