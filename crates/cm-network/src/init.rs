//! How weights begin.

use cm_image::random::Random;
use cm_tensor::{ParameterId, Weights};

/// Adds arrays to a set of weights, each with random values of its own: the k-th array draws from stream k, so
/// that a change in one layer does not change the others' beginnings.
pub(crate) struct Builder {
    weights: Weights,
    /// None: everything is 0, and the memory of large networks is not touched.
    seed: Option<u64>,
}

impl Builder {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { weights: Weights::new(), seed }
    }

    /// Values drawn one after the other from the array's own stream.
    fn drawn(&self, count: usize, draw: impl Fn(&mut Random) -> f32) -> Vec<f32> {
        let Some(seed) = self.seed else { return vec![0.0; count] };
        let mut random = Random::with_stream(seed, self.weights.len() as u64);
        (0..count).map(|_| draw(&mut random)).collect()
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
        let values = self.drawn(shape.iter().product(), |random| bound * (2.0 * random.uniform() - 1.0));
        self.weights.add(name, shape, values)
    }

    /// Normal with standard deviation `std`, and left so by training.
    pub(crate) fn untrained_normal(&mut self, name: &str, shape: &[usize], std: f32) -> ParameterId {
        let values = self.drawn(shape.iter().product(), |random| std * random.normal());
        self.weights.add_untrained(name, shape, values)
    }

    /// The same value everywhere.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], value: f32) -> ParameterId {
        let value = if self.seed.is_some() { value } else { 0.0 };
        self.weights.add(name, shape, vec![value; shape.iter().product()])
    }
}
