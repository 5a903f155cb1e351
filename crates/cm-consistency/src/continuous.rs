//! Pairs of any two noise levels, ever closer: Easy Consistency Tuning (Geng et al. 2025).

use crate::ContinuousConfig;
use cm_diffusion::{LevelPair, LogNormal, NoiseDistribution, QuantityError, Sigma, SigmaRange};
use cm_image::random::Random;

/// The upper level t is log-normal; the lower is r = t max(0, 1 - (1 + k sigmoid(-b t)) / q^(stage + 1)), Geng et al.
/// 2025, Section 3.2.
///
/// At first r is 0 for small t: the target is the image itself and training is that of a diffusion model. Levels stay
/// in the model's range: an r below sigma_min becomes sigma_min, where a consistency model returns its input, so the
/// target still is the image, with noise of sigma_min. t is held between 2 sigma_min and sigma_max, for a pair needs
/// a gap.
#[derive(Clone, Copy, Debug)]
pub struct ContinuousPairs {
    config: ContinuousConfig,
    upper: LogNormal,
    range: SigmaRange,
}

impl ContinuousPairs {
    /// Pairs in `range`.
    ///
    /// # Errors
    /// [`QuantityError::LogNormal`] if the law of t is out of range.
    pub fn new(config: ContinuousConfig, range: SigmaRange) -> Result<Self, QuantityError> {
        Ok(Self { config, upper: LogNormal::new(config.mean, config.std)?, range })
    }

    /// One pair for each of `count` images, in stage `stage` counted from 0.
    pub fn draw(&self, stage: u32, count: usize, random: &mut Random) -> Vec<LevelPair> {
        (0..count).map(|_| self.pair(self.upper.draw(random).get(), stage)).collect()
    }

    /// The pair whose upper level is t, or what t is held to.
    pub(crate) fn pair(&self, t: f32, stage: u32) -> LevelPair {
        let (min, max) = (self.range.min().get(), self.range.max().get());
        let upper = t.clamp((2.0 * min).min(max), max);
        let lower = (f64::from(upper) * self.ratio(upper, stage)) as f32;
        // Close to 1 the ratio may round to 1; in f32 the two levels differ by one unit at least.
        let lower = lower.max(min).min(upper.next_down());
        let level = |sigma| Sigma::new(sigma).expect("between two noise levels");
        LevelPair { upper: level(upper), lower: level(lower) }
    }

    /// r / t.
    fn ratio(&self, t: f32, stage: u32) -> f64 {
        let ContinuousConfig { q, k, b, .. } = self.config;
        let [q, k, b, t] = [q, k, b, t].map(f64::from);
        let sigmoid = 1.0 / (1.0 + libm::exp(b * t));
        let gap = (1.0 + k * sigmoid) / libm::pow(q, f64::from(stage) + 1.0);
        (1.0 - gap).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> ContinuousPairs {
        ContinuousPairs::new(ContinuousConfig::default(), SigmaRange::new(0.002, 80.0).unwrap()).unwrap()
    }

    /// `scripts/parity/schedules.py`, plain Python.
    #[test]
    fn ratios_are_those_of_the_formula_to_a_millionth() {
        let fixture = include_str!("../../../tests/fixtures/parity/schedules.csv");
        let rows: Vec<Vec<f64>> = (fixture.lines())
            .filter_map(|line| line.strip_prefix("ratio,"))
            .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert_eq!(rows.len(), 60);
        for row in rows {
            let [q, k, b] = [row[0], row[1], row[2]].map(|v| v as f32);
            let config = ContinuousConfig { q, k, b, ..ContinuousConfig::default() };
            let pairs = ContinuousPairs::new(config, SigmaRange::new(0.002, 80.0).unwrap()).unwrap();
            let ratio = pairs.ratio(row[4] as f32, row[3] as u32);
            assert!((ratio - row[5]).abs() < 1e-6, "{row:?}: {ratio}");
        }
    }

    /// Worked out with Python from the formula, q = 2, k = 8, b = 1.
    #[test]
    fn the_ratio_of_the_levels() {
        for (t, stage, expected) in [
            (0.5, 0, 0.000000000),
            (5.0, 0, 0.473228596),
            (0.1, 2, 0.399979187),
            (0.1, 3, 0.699989594),
            (1.0, 4, 0.901514645),
            (80.0, 7, 0.996093750),
        ] {
            let ratio = pairs().ratio(t, stage);
            assert!((ratio - expected).abs() < 1e-6, "t = {t}, stage {stage}: {ratio}");
        }
    }

    #[test]
    fn at_first_the_target_is_the_image_and_at_last_the_levels_are_close() {
        let first = pairs().pair(0.5, 0);
        assert_eq!((first.upper.get(), first.lower.get()), (0.5, 0.002));
        let last = pairs().pair(5.0, 7);
        assert!(last.lower.get() > 0.99 * last.upper.get());
    }

    #[test]
    fn levels_stay_in_the_range_and_fall() {
        let mut random = Random::new(3);
        for stage in [0, 3, 7, 40] {
            for LevelPair { upper, lower } in pairs().draw(stage, 2_000, &mut random) {
                assert!(lower.get() >= 0.002 && lower < upper && upper.get() <= 80.0, "{lower} {upper}");
            }
        }
        assert_eq!(pairs().pair(1e-9, 0).upper.get(), 0.004);
        assert_eq!(pairs().pair(1e9, 0).upper.get(), 80.0);
    }
}
