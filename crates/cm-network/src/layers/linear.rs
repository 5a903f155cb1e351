//! The affine map.

use crate::init::Builder;
use cm_tensor::{Graph, Matrix, ParameterId, Weights, ops};

pub(crate) struct Linear {
    weight: ParameterId,
    bias: Option<ParameterId>,
}

impl Linear {
    /// Xavier-uniform weights times `gain`; bias 0.
    pub(crate) fn new(b: &mut Builder, name: &str, inputs: usize, outputs: usize, gain: f32) -> Self {
        let weight = b.xavier(&format!("{name}.weight"), &[inputs, outputs], gain);
        Self { weight, bias: Some(b.constant(&format!("{name}.bias"), &[outputs], 0.0)) }
    }

    /// Without a bias.
    pub(crate) fn unbiased(b: &mut Builder, name: &str, inputs: usize, outputs: usize, gain: f32) -> Self {
        Self { weight: b.xavier(&format!("{name}.weight"), &[inputs, outputs], gain), bias: None }
    }

    pub(crate) fn forward(&self, g: &mut Graph, w: &Weights, x: &Matrix) -> Matrix {
        ops::linear(g, x, w.get(self.weight), self.bias.map(|bias| w.get(bias)))
    }
}
