//! How weights begin.

use cm_image::random::Random;
use cm_tensor::{ParameterId, Weights};

/// Adds arrays to a set of weights, each with random values of its own: the k-th array draws from stream k, so
/// that a change in one layer does not change the others' beginnings.
pub(crate) struct Builder {
    weights: Weights,
    /// None: only extents are noted, and no memory is taken.
    seed: Option<u64>,
}

impl Builder {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { weights: Weights::new(), seed }
    }

    /// An array with values drawn one after the other from its own stream.
    fn drawn(
        &mut self,
        name: &str,
        shape: &[usize],
        trained: bool,
        draw: impl Fn(&mut Random) -> f32,
    ) -> ParameterId {
        let Some(seed) = self.seed else { return self.weights.add_outline(name, shape, trained) };
        let mut random = Random::with_stream(seed, self.weights.len() as u64);
        let values = (0..shape.iter().product()).map(|_| draw(&mut random)).collect();
        match trained {
            true => self.weights.add(name, shape, values),
            false => self.weights.add_untrained(name, shape, values),
        }
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
        self.drawn(name, shape, true, |random| bound * (2.0 * random.uniform() - 1.0))
    }

    /// Normal with standard deviation `std`, and left so by training.
    pub(crate) fn untrained_normal(&mut self, name: &str, shape: &[usize], std: f32) -> ParameterId {
        self.drawn(name, shape, false, |random| std * random.normal())
    }

    /// The same value everywhere.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], value: f32) -> ParameterId {
        match self.seed {
            Some(_) => self.weights.add(name, shape, vec![value; shape.iter().product()]),
            None => self.weights.add_outline(name, shape, true),
        }
    }
}
