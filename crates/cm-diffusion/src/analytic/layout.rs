//! Standard mixtures.

use super::{GaussianMixture, MixtureError, squared_distance};
use cm_image::random::Random;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// Directions tried for each new mean in three or more dimensions; the one farthest from the means so far is kept.
const CANDIDATES: usize = 64;

/// A mixture of equally likely components of one width, well separated, in any number of dimensions.
///
/// One dimension: means evenly spaced over [-radius, radius]. Two: evenly spaced on a circle. More: spread over a
/// sphere of radius `radius` sqrt(d / 2), chosen from the seed, so that the mean square of a coordinate is
/// radius^2 / 2 about as on the circle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixtureConfig {
    /// d, 1 to [`MOST_DIM`](Self::MOST_DIM).
    pub dim: usize,
    /// Number of components, 1 to [`MOST_COMPONENTS`](Self::MOST_COMPONENTS).
    pub components: usize,
    /// Size of the layout, data units, >= 0.
    pub radius: f32,
    /// Standard deviation of each component in each coordinate, >= 0.
    pub std: f32,
    /// Seed of the directions, any whole number; used in three or more dimensions.
    pub seed: u64,
}

impl Default for MixtureConfig {
    fn default() -> Self {
        Self {
            dim: 2,        // the usual toy, an eight-component ring
            components: 8, // the usual toy, an eight-component ring
            radius: 0.8,   // with std 0.05: four standard deviations lie in [-1, 1]
            std: 0.05,     // neighbours are 12 standard deviations apart
            seed: 0,       // any
        }
    }
}

impl MixtureConfig {
    /// d at most: as many as an image of 128x128 in colour has.
    pub const MOST_DIM: usize = 1 << 16;
    /// Components at most: the exact denoiser looks at each of them for each point.
    pub const MOST_COMPONENTS: usize = 1 << 16;
    /// d times the square of the components at most, where they are spread over a sphere: some seconds' choosing.
    pub const MOST_SPREAD: usize = 1 << 28;

    /// That it can be laid out.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn check(&self) -> Result<(), MixtureError> {
        let (dim, components, radius, std) = (self.dim, self.components, self.radius, self.std);
        let spread = components.saturating_mul(components).saturating_mul(dim);
        if dim > Self::MOST_DIM
            || components > Self::MOST_COMPONENTS
            || (dim > 2 && spread > Self::MOST_SPREAD)
        {
            let allowed =
                "at most 65536 of either, and above two dimensions at most 2^28 = components^2 x dim";
            return Err(MixtureError::Large { dim, components, allowed });
        }
        if dim == 0 || components == 0 {
            return Err(MixtureError::Empty);
        }
        let usable =
            radius.is_finite() && std.is_finite() && radius >= 0.0 && std >= 0.0 && radius + std > 0.0;
        if !usable {
            return Err(MixtureError::Layout { radius, std });
        }
        Ok(())
    }

    /// The mixture described.
    ///
    /// # Errors
    /// [`MixtureError`] without dimensions or components, with too many, or if radius and std are negative, not finite or
    /// both 0.
    pub fn build(&self) -> Result<GaussianMixture, MixtureError> {
        self.check()?;
        let (radius, std) = (self.radius, self.std);
        let means = match self.dim {
            1 => line(self.components, f64::from(radius)),
            2 => ring(self.components, f64::from(radius)),
            dim => sphere(dim, self.components, f64::from(radius) * (dim as f64 / 2.0).sqrt(), self.seed),
        };
        let n = means.len();
        GaussianMixture::new(vec![1.0; n], means, vec![f64::from(std); n])
    }
}

fn line(components: usize, radius: f64) -> Vec<Vec<f64>> {
    let step = 2.0 * radius / components.saturating_sub(1).max(1) as f64;
    let first = if components > 1 { -radius } else { 0.0 };
    (0..components).map(|k| vec![first + step * k as f64]).collect()
}

fn ring(components: usize, radius: f64) -> Vec<Vec<f64>> {
    let angle = |k: usize| TAU * k as f64 / components as f64;
    (0..components).map(|k| vec![radius * libm::cos(angle(k)), radius * libm::sin(angle(k))]).collect()
}

fn sphere(dim: usize, components: usize, radius: f64, seed: u64) -> Vec<Vec<f64>> {
    let mut random = Random::new(seed);
    let mut direction = || -> Vec<f64> {
        let v: Vec<f64> = (0..dim).map(|_| f64::from(random.normal())).collect();
        let norm = v.iter().map(|c| c * c).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        v.into_iter().map(|c| radius * c / norm).collect()
    };
    let mut means: Vec<Vec<f64>> = Vec::with_capacity(components);
    for _ in 0..components {
        let candidates: Vec<Vec<f64>> = (0..CANDIDATES).map(|_| direction()).collect();
        let room = |candidate: &Vec<f64>| {
            let distances =
                means.iter().map(|m| squared_distance(m.iter().copied(), candidate.iter().copied()));
            distances.fold(f64::INFINITY, f64::min)
        };
        let best = candidates.iter().max_by(|a, b| room(a).total_cmp(&room(b)));
        let best = best.expect("there are candidates").clone();
        means.push(best);
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_a_ring_of_known_spread() {
        let mixture = MixtureConfig::default().build().unwrap();
        assert_eq!((mixture.dim(), mixture.components()), (2, 8));
        for (k, mean) in mixture.means().iter().enumerate() {
            assert!((mean[0].hypot(mean[1]) - f64::from(0.8f32)).abs() < 1e-12);
            assert!((mean[1].atan2(mean[0]).rem_euclid(TAU) - TAU * k as f64 / 8.0).abs() < 1e-12);
        }
        // Each coordinate: radius^2 / 2 + std^2.
        assert!((mixture.sigma_data() - (0.32f64 + 0.0025).sqrt()).abs() < 1e-7);
    }

    #[test]
    fn layouts_that_would_not_come_to_an_end_are_refused_at_once() {
        let most = MixtureConfig { dim: 4, components: 8192, ..MixtureConfig::default() };
        assert!(most.check().is_ok());
        for (dim, components) in [(2_147_483_648, 8), (2, 4_294_967_295), (4, 8193), (3, usize::MAX)] {
            let large = MixtureConfig { dim, components, ..MixtureConfig::default() };
            assert!(matches!(large.build(), Err(MixtureError::Large { .. })), "{dim} {components}");
        }
        for (dim, components) in [(0, 8), (2, 0)] {
            let empty = MixtureConfig { dim, components, ..MixtureConfig::default() };
            assert_eq!(empty.check(), Err(MixtureError::Empty));
        }
    }

    #[test]
    fn sixteen_dimensions_are_well_separated_and_as_wide_as_the_ring() {
        let config = MixtureConfig { dim: 16, components: 10, ..MixtureConfig::default() };
        let mixture = config.build().unwrap();
        let means = mixture.means();
        for a in 0..10 {
            for b in 0..a {
                let distance = squared_distance(means[a].clone(), means[b].clone()).sqrt();
                assert!(distance > 20.0 * 0.05, "means {a} and {b}: {distance}");
            }
        }
        assert!((0.5..0.58).contains(&mixture.sigma_data()), "{}", mixture.sigma_data());
        assert_eq!(mixture, config.build().unwrap());
        assert_ne!(mixture, MixtureConfig { seed: 1, ..config }.build().unwrap());
    }

    #[test]
    fn a_line_spans_its_radius() {
        let config = MixtureConfig { dim: 1, components: 3, radius: 1.0, ..MixtureConfig::default() };
        assert_eq!(config.build().unwrap().means(), [[-1.0], [0.0], [1.0]]);
        let one = MixtureConfig { components: 1, ..config.clone() };
        assert_eq!(one.build().unwrap().means(), [[0.0]]);
        assert_eq!(MixtureConfig { components: 0, ..config.clone() }.build(), Err(MixtureError::Empty));
        assert_eq!(MixtureConfig { dim: 0, ..config }.build(), Err(MixtureError::Empty));
    }
}
