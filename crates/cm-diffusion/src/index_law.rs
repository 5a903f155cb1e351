//! Which of the intervals between adjacent noise levels a training pair is drawn from.

use crate::{LevelPair, NoiseLevels, QuantityError, SigmaRange};
use cm_image::random::Random;
use serde::{Deserialize, Serialize};

/// A law of the intervals of a discretisation.
pub trait IndexLaw: Send + Sync {
    /// One pair of adjacent levels for each of `count` images, independent of one another.
    fn draw(&self, levels: &NoiseLevels, count: usize, random: &mut Random) -> Vec<LevelPair>;
}

/// The choice among the laws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum IndexLawConfig {
    /// All intervals alike.
    #[default] // Song et al. 2023, Algorithms 2 and 3
    Uniform,
    /// As a log-normal law of noise levels falls on the intervals.
    LogNormal(LogNormalIndexConfig),
}

/// Parameters of [`IndexLawConfig::LogNormal`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogNormalIndexConfig {
    /// Mean of ln sigma, any whose law falls into the range of the levels.
    pub mean: f32,
    /// Standard deviation of ln sigma, > 0.
    pub std: f32,
}

impl Default for LogNormalIndexConfig {
    fn default() -> Self {
        Self {
            mean: -1.1, // Song and Dhariwal 2024, Section 3.5 (P_mean)
            std: 2.0,   // Song and Dhariwal 2024, Section 3.5 (P_std)
        }
    }
}

impl IndexLawConfig {
    /// The law described, for levels of `range`.
    ///
    /// # Errors
    /// [`QuantityError::IndexLaw`] if a log-normal law has no width, or as good as never falls into the range.
    pub fn build(self, range: SigmaRange) -> Result<Box<dyn IndexLaw>, QuantityError> {
        Ok(match self {
            Self::Uniform => Box::new(Uniform),
            Self::LogNormal(config) => Box::new(LogNormalIndex::new(config, range)?),
        })
    }
}

struct Uniform;

impl IndexLaw for Uniform {
    fn draw(&self, levels: &NoiseLevels, count: usize, random: &mut Random) -> Vec<LevelPair> {
        (0..count).map(|_| levels.pair(random.below(levels.intervals() as u64) as usize)).collect()
    }
}

/// The share of a log-normal law that must fall into the range of the levels.
const MIN_SHARE: f64 = 1e-6;

/// p(i) proportional to erf((ln upper - mean) / (sqrt(2) std)) - erf((ln lower - mean) / (sqrt(2) std)): Song and
/// Dhariwal 2024, Equation 11.
struct LogNormalIndex {
    mean: f64,
    std: f64,
}

impl LogNormalIndex {
    fn new(config: LogNormalIndexConfig, range: SigmaRange) -> Result<Self, QuantityError> {
        let LogNormalIndexConfig { mean, std } = config;
        let law = Self { mean: f64::from(mean), std: f64::from(std) };
        let share = law.below(range.max().get()) - law.below(range.min().get());
        // A comparison that NaN does not pass.
        if std > 0.0 && std.is_finite() && share >= MIN_SHARE {
            Ok(law)
        } else {
            Err(QuantityError::IndexLaw { mean, std })
        }
    }

    /// The share of the law below the level `sigma`.
    fn below(&self, sigma: f32) -> f64 {
        0.5 * libm::erfc((self.mean - libm::log(f64::from(sigma))) / (std::f64::consts::SQRT_2 * self.std))
    }

    /// For each interval, from the noisiest on, the probability of it and all before it; the last is 1.
    fn cumulative(&self, levels: &NoiseLevels) -> Vec<f64> {
        let below: Vec<f64> = levels.as_slice().iter().map(|sigma| self.below(sigma.get())).collect();
        let (first, last) = (below[0], below[below.len() - 1]);
        below[1..].iter().map(|share| (first - share) / (first - last)).collect()
    }
}

impl IndexLaw for LogNormalIndex {
    fn draw(&self, levels: &NoiseLevels, count: usize, random: &mut Random) -> Vec<LevelPair> {
        let cumulative = self.cumulative(levels);
        let interval = |point: f64| cumulative.partition_point(|&share| share <= point);
        // A point is below 1, and so is inside some interval.
        (0..count).map(|_| levels.pair(interval(random.uniform_f64()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiscretisationConfig, NumLevels};

    fn levels(n: usize) -> NoiseLevels {
        DiscretisationConfig::default().build().unwrap().noise_levels(NumLevels::new(n).unwrap()).unwrap()
    }

    fn ict() -> LogNormalIndex {
        let range = DiscretisationConfig::default().range().unwrap();
        LogNormalIndex::new(LogNormalIndexConfig::default(), range).unwrap()
    }

    fn probabilities(n: usize) -> Vec<f64> {
        let cumulative = ict().cumulative(&levels(n));
        let before = std::iter::once(0.0).chain(cumulative.iter().copied());
        cumulative.iter().zip(before).map(|(upto, before)| upto - before).collect()
    }

    /// The rows of one kind of `scripts/parity/schedules.py`, which is plain Python.
    fn golden(what: &str) -> Vec<Vec<f64>> {
        let fixture = include_str!("../../../tests/fixtures/parity/schedules.csv");
        let rows = fixture.lines().filter_map(|line| line.strip_prefix(&format!("{what},")));
        rows.map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
    }

    #[test]
    fn probabilities_of_few_intervals_are_those_of_the_formula_to_a_millionth() {
        let rows = golden("law");
        assert_eq!(rows.len(), 1 + 2 + 5 + 10);
        for row in rows {
            let p = probabilities(row[0] as usize)[row[1] as usize];
            assert!((p - row[2]).abs() < 1e-6, "{row:?}: {p}");
        }
    }

    /// Computed independently with Python's `math.erf` on the Karras levels.
    #[test]
    fn the_probabilities_of_improved_consistency_training() {
        let expected = [
            0.0039796, 0.0089439, 0.0195801, 0.0410799, 0.0806046, 0.1424461, 0.2134944, 0.2455014, 0.181737,
            0.062633,
        ];
        for (p, expected) in probabilities(11).into_iter().zip(expected) {
            assert!((p - expected).abs() < 1e-6, "{p} is not {expected}");
        }
        let many = probabilities(1281);
        for (i, expected) in
            [(0, 2.0109475e-5), (640, 8.4539263e-4), (950, 1.9556887e-3), (1279, 1.4982123e-4)]
        {
            assert!((many[i] - expected).abs() < 1e-6, "{i}: {} is not {expected}", many[i]);
        }
    }

    #[test]
    fn drawn_intervals_are_as_frequent_as_they_are_probable() {
        let (levels, count) = (levels(11), 40_000);
        let pairs = ict().draw(&levels, count, &mut Random::new(5));
        for (i, p) in probabilities(11).into_iter().enumerate() {
            let drawn = pairs.iter().filter(|&&pair| pair == levels.pair(i)).count() as f64;
            let spread = (count as f64 * p * (1.0 - p)).sqrt();
            assert!((drawn - count as f64 * p).abs() <= 4.0 * spread + 1.0, "interval {i}: {drawn}, p = {p}");
        }
    }

    #[test]
    fn a_uniform_law_draws_every_interval() {
        let range = DiscretisationConfig::default().range().unwrap();
        let levels = levels(4);
        let pairs = IndexLawConfig::Uniform.build(range).unwrap().draw(&levels, 3_000, &mut Random::new(1));
        for i in 0..3 {
            let drawn = pairs.iter().filter(|&&pair| pair == levels.pair(i)).count();
            assert!((850..1_150).contains(&drawn), "interval {i}: {drawn}");
        }
    }

    #[test]
    fn a_law_that_misses_the_levels_is_refused() {
        let range = DiscretisationConfig::default().range().unwrap();
        for (mean, std) in [(-1.1, 0.0), (-1.1, -2.0), (f32::NAN, 2.0), (0.0, f32::INFINITY), (100.0, 1.0)] {
            let law = IndexLawConfig::LogNormal(LogNormalIndexConfig { mean, std }).build(range);
            assert!(matches!(law, Err(QuantityError::IndexLaw { .. })), "{mean} {std}");
        }
    }
}
