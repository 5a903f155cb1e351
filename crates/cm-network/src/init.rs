//! How weights begin.

use cm_image::random::Random;
use cm_tensor::{ParameterId, Weights};

/// Adds arrays to a set of weights, each with random values of its own: the k-th array draws from stream k, so
/// that a change in one layer does not change the others' beginnings.
pub(crate) struct Builder {
    weights: Weights,
    seed: u64,
}

impl Builder {
    pub(crate) fn new(seed: u64) -> Self {
        Self { weights: Weights::new(), seed }
    }

    pub(crate) fn finish(self) -> Weights {
        self.weights
    }

    /// Uniform in +-`gain` sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010), as DDPM++ begins.
    /// `shape` is [..., in, out] with fans multiplied by the leading extents.
    pub(crate) fn xavier(&mut self, name: &str, shape: &[usize], gain: f32) -> ParameterId {
        let [taps @ .., inputs, outputs] = shape else { unreachable!("a weight has inputs and outputs") };
        let taps: usize = taps.iter().product();
        let bound = gain * (6.0 / ((inputs + outputs) * taps) as f32).sqrt();
        let mut random = Random::with_stream(self.seed, self.weights.len() as u64);
        let values = (0..shape.iter().product()).map(|_| bound * (2.0 * random.uniform() - 1.0)).collect();
        self.weights.add(name, shape, values)
    }

    /// Normal with standard deviation `std`.
    pub(crate) fn normal(&mut self, name: &str, shape: &[usize], std: f32) -> ParameterId {
        let mut random = Random::with_stream(self.seed, self.weights.len() as u64);
        let values = (0..shape.iter().product()).map(|_| std * random.normal()).collect();
        self.weights.add(name, shape, values)
    }

    /// The same value everywhere.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], value: f32) -> ParameterId {
        self.weights.add(name, shape, vec![value; shape.iter().product()])
    }
}
