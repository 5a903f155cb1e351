//! At which noise levels the derivative is asked for.

use super::TimeLawConfig;
use cm_diffusion::{Discretisation, LogNormal, QuantityError, Sigma};
use cm_image::random::Random;

/// A built [`TimeLawConfig`]. What it draws lies in the range of the model's noise levels; what would lie outside is drawn
/// to the nearer end.
pub(super) enum TimeLaw {
    LogNormal(LogNormal),
    Uniform,
}

impl TimeLaw {
    pub(super) fn new(config: TimeLawConfig) -> Result<Self, QuantityError> {
        Ok(match config {
            TimeLawConfig::LogNormal(config) => Self::LogNormal(LogNormal::new(config.mean, config.std)?),
            TimeLawConfig::Uniform => Self::Uniform,
        })
    }

    /// One level for each of `count` images.
    pub(super) fn draw(&self, levels: &dyn Discretisation, count: usize, random: &mut Random) -> Vec<Sigma> {
        let (min, max) = (levels.range().min().get(), levels.range().max().get());
        let one = |_| {
            let level = match self {
                Self::LogNormal(law) => cm_diffusion::NoiseDistribution::draw(law, random).get(),
                Self::Uniform => levels.between(random.uniform_f64()) as f32,
            };
            Sigma::new(level.clamp(min, max)).expect("a number between two noise levels is one")
        };
        (0..count).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_diffusion::{DiscretisationConfig, NumLevels};

    #[test]
    fn levels_are_as_likely_as_those_of_the_grid_or_log_normal_and_in_range() {
        let grid = DiscretisationConfig::default().build().unwrap();
        let draws = |config: TimeLawConfig| {
            let drawn = TimeLaw::new(config).unwrap().draw(grid.as_ref(), 40_000, &mut Random::new(4));
            drawn.into_iter().map(Sigma::get).collect::<Vec<f32>>()
        };
        let uniform = draws(TimeLawConfig::Uniform);
        let ends = grid.noise_levels(NumLevels::new(5).unwrap()).unwrap();
        for pair in ends.as_slice().windows(2) {
            let inside = uniform.iter().filter(|s| (pair[1].get()..pair[0].get()).contains(*s)).count();
            // A quarter each, within five standard deviations.
            assert!((9_567..10_433).contains(&inside), "{inside}");
        }
        let law = draws(TimeLawConfig::default());
        let below = law.iter().filter(|s| **s < (-1.0f32).exp()).count();
        assert!((19_500..20_500).contains(&below), "{below}");
        assert!(law.iter().chain(&uniform).all(|s| (0.002..=80.0).contains(s)));
    }
}
