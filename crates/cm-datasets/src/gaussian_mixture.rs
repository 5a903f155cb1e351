//! Draws from a mixture of Gaussians.

use crate::dataset::check_image;
use crate::{Dataset, DatasetError, Outline, Split};
use cm_diffusion::analytic::{GaussianMixture, MixtureConfig};
use cm_image::ImageShape;
use cm_image::random::{Random, derive_seed};
use serde::{Deserialize, Serialize};

/// A mixture and how many draws of it make the data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianMixtureConfig {
    /// The mixture.
    pub mixture: MixtureConfig,
    /// Training points, 1 to [`MOST_POINTS`].
    pub train_len: usize,
    /// Test points, 1 to [`MOST_POINTS`].
    pub test_len: usize,
    /// Seed of the draws, any whole number; not that of the mixture.
    pub seed: u64,
}

impl Default for GaussianMixtureConfig {
    fn default() -> Self {
        Self {
            mixture: MixtureConfig::default(), // see there
            train_len: 50_000,                 // as many as CIFAR-10 has
            test_len: 10_000,                  // as many as CIFAR-10 has
            seed: 0,                           // any
        }
    }
}

impl GaussianMixtureConfig {
    /// What one part of the draws is, without laying out the mixture.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub(crate) fn outline(&self, split: Split) -> Result<Outline, DatasetError> {
        let (len, _) = part(split, self.train_len, self.test_len, self.seed)?;
        let MixtureConfig { dim, components, .. } = self.mixture;
        self.mixture.check()?;
        Ok(Outline { shape: ImageShape::vector(dim), len, classes: Some(components) })
    }

    /// One part of the draws.
    ///
    /// # Errors
    /// [`DatasetError`] if the mixture's numbers are out of range or there are no points.
    pub fn build(&self, split: Split) -> Result<GaussianMixtureDataset, DatasetError> {
        let (len, seed) = part(split, self.train_len, self.test_len, self.seed)?;
        Ok(GaussianMixtureDataset { mixture: self.mixture.build()?, len, seed })
    }
}

/// Points of a part of a generated data set at most: their mean square is taken over all of them before training.
pub const MOST_POINTS: usize = 100_000_000;

/// Length and seed of a part of a generated data set: parts draw from different families of seeds.
pub(crate) fn part(
    split: Split,
    train_len: usize,
    test_len: usize,
    seed: u64,
) -> Result<(usize, u64), DatasetError> {
    let (len, index) = match split {
        Split::Train => (train_len, 0),
        Split::Test => (test_len, 1),
    };
    if train_len.max(test_len) > MOST_POINTS {
        let what = format!("{train_len} and {test_len} points");
        return Err(DatasetError::setting("train_len", what, format!("at most {MOST_POINTS} of each")));
    }
    if len == 0 { Err(DatasetError::Empty) } else { Ok((len, derive_seed(seed, index))) }
}

/// Points drawn from a mixture on demand: point i is a function of the seed and i. The label is the component.
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianMixtureDataset {
    mixture: GaussianMixture,
    len: usize,
    seed: u64,
}

impl GaussianMixtureDataset {
    /// The law of the points, with its exact denoiser and flow.
    pub fn mixture(&self) -> &GaussianMixture {
        &self.mixture
    }

    fn draw(&self, index: usize, out: &mut [f32]) -> usize {
        self.mixture.draw(&mut Random::new(derive_seed(self.seed, index as u64)), out)
    }
}

impl Dataset for GaussianMixtureDataset {
    fn shape(&self) -> ImageShape {
        self.mixture.shape()
    }

    fn len(&self) -> usize {
        self.len
    }

    fn write_image(&self, index: usize, out: &mut [f32]) -> Result<(), DatasetError> {
        check_image(self, index, out)?;
        self.draw(index, out);
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        (index < self.len).then(|| self.draw(index, &mut vec![0.0; self.mixture.dim()]) as u32)
    }

    fn num_classes(&self) -> Option<usize> {
        Some(self.mixture.components())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigma_data;

    #[test]
    fn points_lie_in_their_component_and_spread_as_the_mixture() {
        let config = GaussianMixtureConfig { train_len: 4000, ..GaussianMixtureConfig::default() };
        let data = config.build(Split::Train).unwrap();
        for index in 0..200 {
            let x: Vec<f64> = data.images(&[index]).unwrap().values().iter().map(|&v| f64::from(v)).collect();
            assert_eq!(data.label(index), Some(data.mixture().nearest(&x) as u32));
        }
        let (measured, exact) = (f64::from(sigma_data(&data).unwrap()), data.mixture().sigma_data());
        assert!((measured / exact - 1.0).abs() < 0.02, "{measured} {exact}");
        assert_eq!(data.label(4000), None);
    }

    #[test]
    fn parts_and_seeds_differ() {
        let config = GaussianMixtureConfig::default();
        let first =
            |config: &GaussianMixtureConfig, split| config.build(split).unwrap().images(&[0, 1]).unwrap();
        let train = first(&config, Split::Train);
        assert_ne!(train, first(&config, Split::Test));
        assert_ne!(train, first(&GaussianMixtureConfig { seed: 1, ..config.clone() }, Split::Train));
        let none = GaussianMixtureConfig { test_len: 0, ..config };
        assert_eq!(none.build(Split::Test), Err(DatasetError::Empty));
    }
}
