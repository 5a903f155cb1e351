//! Noise levels and their invariants.

use std::fmt;

/// Noise level sigma: the standard deviation of the added noise, in data units. Finite and not negative.
///
/// The paper's time t is the same quantity, since x_t = x + t z.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Sigma(f32);

/// The number N of noise levels of a discretisation: at least 2, so that there is one interval, and at most
/// [`MOST`](Self::MOST).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NumLevels(usize);

/// Why a number is not the quantity it was given for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantityError {
    /// A noise level must be finite and not negative.
    #[error("noise level {0} is not a finite number of at least 0")]
    Sigma(f32),
    /// A discretisation needs two levels, and not more than can be told apart.
    #[error("{0} noise levels: need 2 to {most}", most = NumLevels::MOST)]
    NumLevels(usize),
    /// The range of noise levels must be positive and not empty.
    #[error("noise levels from {min} to {max}: need 0 < sigma_min < sigma_max, both finite")]
    Range {
        /// Lower end given.
        min: f32,
        /// Upper end given.
        max: f32,
    },
    /// Levels must fall strictly.
    #[error("noise level {index} ({level}) is not below the one before it ({before})")]
    NotFalling {
        /// Position of the offending level.
        index: usize,
        /// The offending level.
        level: f32,
        /// The level before it.
        before: f32,
    },
    /// Curvature of Karras levels.
    #[error("rho {0}: need a finite number above 0 for which sigma^(1/rho) neither overflows nor vanishes")]
    Rho(f32),
    /// Scale of the cosine schedule.
    #[error("scale {0}: need a number above 0 that keeps sigma / scale finite and above 0")]
    Scale(f32),
    /// Levels need room.
    #[error("{levels} noise levels from {min} to {max}, where there are only {room} different numbers")]
    Crowded {
        /// N.
        levels: usize,
        /// Lower end of the range.
        min: f32,
        /// Upper end of the range.
        max: f32,
        /// Different `f32` numbers from one to the other.
        room: u32,
    },
    /// A log-normal law must give representable levels only.
    #[error("ln sigma normal with mean {mean} and std {std}: need std >= 0 and |mean| + 6 std <= 80")]
    LogNormal {
        /// Mean of ln sigma given.
        mean: f32,
        /// Standard deviation of ln sigma given.
        std: f32,
    },
    /// Guidance must be a number and have levels.
    #[error(
        "guidance of weight {weight} above {above} up to {up_to}: need a finite weight of at least 0, and levels from 0 on"
    )]
    Guidance {
        /// Weight given.
        weight: f32,
        /// Lower end given.
        above: f32,
        /// Upper end given.
        up_to: f32,
    },
    /// A law of intervals must fall on some of them.
    #[error(
        "ln sigma normal with mean {mean} and std {std}: need std > 0 and a share of the noise levels' range"
    )]
    IndexLaw {
        /// Mean of ln sigma given.
        mean: f32,
        /// Standard deviation of ln sigma given.
        std: f32,
    },
    /// A level must lie in the model's range.
    #[error("noise level {index} ({level}) is outside {min} to {max} (the upper end not included)")]
    Outside {
        /// Position of the offending level.
        index: usize,
        /// The offending level.
        level: f32,
        /// Lower end of the range, included.
        min: f32,
        /// Upper end of the range, not included.
        max: f32,
    },
    /// Share of fresh noise in ancestral sampling.
    #[error("eta {0}: need a number from 0 to 1")]
    Eta(f32),
    /// Share of fresh noise in gamma-sampling.
    #[error("gamma {0}: need a number from 0 to 1")]
    Gamma(f32),
    /// Parameters of the stochastic sampler.
    #[error(
        "churn {amount} over {sigma_min} to {sigma_max} with noise {noise}: need amount >= 0, \
         0 <= sigma_min <= sigma_max, noise > 0, none NaN"
    )]
    Churn {
        /// S_churn given.
        amount: f32,
        /// S_tmin given.
        sigma_min: f32,
        /// S_tmax given.
        sigma_max: f32,
        /// S_noise given.
        noise: f32,
    },
}

impl Sigma {
    /// No noise.
    pub const ZERO: Self = Self(0.0);

    /// A noise level.
    ///
    /// # Errors
    /// [`QuantityError::Sigma`] unless it is finite and at least 0.
    pub fn new(sigma: f32) -> Result<Self, QuantityError> {
        if sigma.is_finite() && sigma >= 0.0 { Ok(Self(sigma)) } else { Err(QuantityError::Sigma(sigma)) }
    }

    /// The standard deviation.
    pub const fn get(self) -> f32 {
        self.0
    }
}

impl fmt::Display for Sigma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl NumLevels {
    /// N at most: 2^20, eight thousand times the largest published, and 4 MiB for their list. Single precision tells
    /// levels apart that differ by 2^-24 of themselves.
    pub const MOST: usize = 1 << 20;

    /// N levels.
    ///
    /// # Errors
    /// [`QuantityError::NumLevels`] below 2 and above [`MOST`](Self::MOST).
    pub fn new(levels: usize) -> Result<Self, QuantityError> {
        if (2..=Self::MOST).contains(&levels) {
            Ok(Self(levels))
        } else {
            Err(QuantityError::NumLevels(levels))
        }
    }

    /// N.
    pub const fn get(self) -> usize {
        self.0
    }

    /// N - 1.
    pub const fn intervals(self) -> usize {
        self.0 - 1
    }
}

/// The range of noise levels of a model: 0 < `min` < `max`. The paper's epsilon and T.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SigmaRange {
    min: Sigma,
    max: Sigma,
}

impl SigmaRange {
    /// Levels from `min` to `max`.
    ///
    /// # Errors
    /// [`QuantityError::Range`] unless 0 < `min` < `max` and both are finite.
    pub fn new(min: f32, max: f32) -> Result<Self, QuantityError> {
        if min > 0.0 && min < max && max.is_finite() {
            Ok(Self { min: Sigma(min), max: Sigma(max) })
        } else {
            Err(QuantityError::Range { min, max })
        }
    }

    /// The paper's epsilon: where a consistency model is the identity.
    pub const fn min(self) -> Sigma {
        self.min
    }

    /// The paper's T: where sampling starts.
    pub const fn max(self) -> Sigma {
        self.max
    }

    /// Whether `num_levels` different levels fit: there must be as many `f32` numbers in the range, ends included.
    ///
    /// # Errors
    /// [`QuantityError::Crowded`] if not.
    pub fn check_room(self, num_levels: NumLevels) -> Result<(), QuantityError> {
        let (min, max) = (self.min.get(), self.max.get());
        // The bits of positive numbers are in the order of the numbers.
        let room = max.to_bits() - min.to_bits() + 1;
        let levels = num_levels.get();
        if levels <= room as usize { Ok(()) } else { Err(QuantityError::Crowded { levels, min, max, room }) }
    }
}

/// sigma_max = sigma_1 > ... > sigma_N = sigma_min: N levels, N - 1 intervals, strictly falling.
///
/// Index 0 is the noisiest level, as in a sampler's order; the paper counts the same levels from the other end.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseLevels(Box<[Sigma]>);

/// Two adjacent levels of one training pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelPair {
    /// The noisier level, where the student is evaluated.
    pub upper: Sigma,
    /// The less noisy level, where the target is evaluated; may be 0 for continuous schedules.
    pub lower: Sigma,
}

impl NoiseLevels {
    /// Strictly falling levels, all positive.
    ///
    /// # Errors
    /// [`QuantityError`] for fewer than two levels, for a level that is not positive and finite, or for one that is
    /// not below its predecessor.
    pub fn new(levels: impl IntoIterator<Item = f32>) -> Result<Self, QuantityError> {
        let levels: Vec<f32> = levels.into_iter().collect();
        NumLevels::new(levels.len())?;
        for (index, &level) in levels.iter().enumerate() {
            if !(level.is_finite() && level > 0.0) {
                return Err(QuantityError::Sigma(level));
            }
            if index > 0 && level >= levels[index - 1] {
                return Err(QuantityError::NotFalling { index, level, before: levels[index - 1] });
            }
        }
        Ok(Self(levels.into_iter().map(Sigma).collect()))
    }

    /// The levels, noisiest first.
    pub fn as_slice(&self) -> &[Sigma] {
        &self.0
    }

    /// The interval below level `index`, counted from the noisiest: `index < intervals()`.
    ///
    /// # Panics
    /// If there is no such interval.
    pub fn pair(&self, index: usize) -> LevelPair {
        LevelPair { upper: self.0[index], lower: self.0[index + 1] }
    }

    /// N - 1.
    pub fn intervals(&self) -> usize {
        self.0.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_refuse_what_they_are_not() {
        assert!(
            Sigma::new(-0.1).is_err() && Sigma::new(f32::NAN).is_err() && Sigma::new(f32::INFINITY).is_err()
        );
        assert!(NumLevels::new(1).is_err());
        assert!(SigmaRange::new(0.0, 80.0).is_err() && SigmaRange::new(80.0, 80.0).is_err());
        assert!(NoiseLevels::new([2.0, 2.0]).is_err() && NoiseLevels::new([2.0, 0.0]).is_err());
        let levels = NoiseLevels::new([80.0, 1.0, 0.5]).unwrap();
        assert_eq!(levels.intervals(), 2);
        assert_eq!(levels.pair(1), LevelPair { upper: Sigma(1.0), lower: Sigma(0.5) });
    }
}
