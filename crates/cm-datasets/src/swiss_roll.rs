//! Points on a spiral in the plane.

use crate::dataset::check_image;
use crate::gaussian_mixture::part;
use crate::{Dataset, DatasetError, Split};
use cm_image::ImageShape;
use cm_image::random::{Random, derive_seed};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// A spiral of one and a half turns: (a cos a, a sin a) / (4.5 pi) with a uniform in (1.5 pi, 4.5 pi), plus noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SwissRollConfig {
    /// Training points, 1 to [`MOST_POINTS`](crate::MOST_POINTS).
    pub train_len: usize,
    /// Test points, 1 to [`MOST_POINTS`](crate::MOST_POINTS).
    pub test_len: usize,
    /// Standard deviation of the noise in each coordinate, where the spiral reaches to 1; >= 0.
    pub noise: f32,
    /// Seed of the points, any whole number.
    pub seed: u64,
}

impl Default for SwissRollConfig {
    fn default() -> Self {
        Self {
            train_len: 50_000, // as many as CIFAR-10 has
            test_len: 10_000,  // as many as CIFAR-10 has
            noise: 0.02,       // turns are 0.44 apart
            seed: 0,           // any
        }
    }
}

impl SwissRollConfig {
    /// One part of the points.
    ///
    /// # Errors
    /// [`DatasetError`] if the noise is negative or not finite, or there are no points.
    pub fn build(&self, split: Split) -> Result<SwissRoll, DatasetError> {
        if !(self.noise >= 0.0 && self.noise.is_finite()) {
            return Err(DatasetError::Noise(self.noise));
        }
        let (len, seed) = part(split, self.train_len, self.test_len, self.seed)?;
        Ok(SwissRoll { len, seed, noise: self.noise })
    }
}

/// Points of the spiral, generated on demand: point i is a function of the seed and i. No labels.
#[derive(Clone, Debug, PartialEq)]
pub struct SwissRoll {
    len: usize,
    seed: u64,
    noise: f32,
}

impl Dataset for SwissRoll {
    fn shape(&self) -> ImageShape {
        ImageShape::vector(2)
    }

    fn len(&self) -> usize {
        self.len
    }

    fn write_image(&self, index: usize, out: &mut [f32]) -> Result<(), DatasetError> {
        check_image(self, index, out)?;
        let mut random = Random::new(derive_seed(self.seed, index as u64));
        let angle = PI * (1.5 + 3.0 * random.uniform_f64());
        let radius = angle / (4.5 * PI);
        for (out, position) in out.iter_mut().zip([radius * angle.cos(), radius * angle.sin()]) {
            *out = (position + f64::from(self.noise) * f64::from(random.normal())) as f32;
        }
        Ok(())
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn num_classes(&self) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_noise_points_lie_on_the_spiral() {
        let roll = SwissRollConfig { noise: 0.0, ..SwissRollConfig::default() }.build(Split::Train).unwrap();
        let mut turns = [0; 3];
        for point in roll.images(&(0..300).collect::<Vec<usize>>()).unwrap().images() {
            let (x, y) = (f64::from(point[0]), f64::from(point[1]));
            let angle = 4.5 * PI * x.hypot(y);
            assert!((1.5 * PI..4.5 * PI).contains(&angle));
            assert!(
                (angle.cos() - x / x.hypot(y)).abs() < 1e-5 && (angle.sin() - y / x.hypot(y)).abs() < 1e-5
            );
            turns[((angle / PI - 1.5) as usize).min(2)] += 1;
        }
        assert!(turns.iter().all(|&n| n > 70), "{turns:?}");
    }

    #[test]
    fn bad_numbers_are_refused() {
        for noise in [-0.1, f32::NAN, f32::INFINITY] {
            let config = SwissRollConfig { noise, ..SwissRollConfig::default() };
            assert!(matches!(config.build(Split::Train), Err(DatasetError::Noise(_))));
        }
    }
}
