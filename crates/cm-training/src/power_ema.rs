//! Averages whose width grows with the run (Karras et al. 2024, Section 3.1).

use crate::RangeError;

/// average <- beta_k x average + (1 - beta_k) x weights at step k = 1, 2, ..., with beta_k = (1 - 1/k)^(gamma + 1):
/// Karras et al. 2024, Section 3.1. After K steps, step k counts (k/K)^(gamma + 1) - ((k-1)/K)^(gamma + 1), whatever
/// the length of the run, and the initial weights count nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerEma {
    gamma: f64,
}

/// The width of gamma = 0 is 1 / sqrt(12): the plain mean of all weights of the run.
const WIDEST: f32 = 0.28;

impl PowerEma {
    /// The average whose profile over the run has standard deviation `sigma_rel` times the length of the run: the
    /// gamma >= 0 with (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) = sigma_rel^2 (Karras et al. 2024, Section 3.1).
    ///
    /// ```
    /// use cm_training::PowerEma;
    /// assert!((PowerEma::with_sigma_rel(0.05).gamma() - 16.97).abs() < 5e-3);
    /// assert!((PowerEma::with_sigma_rel(0.10).gamma() - 6.94).abs() < 5e-3);
    /// ```
    ///
    /// # Panics
    /// If `sigma_rel` is not from 0.001 to 0.28.
    pub fn with_sigma_rel(sigma_rel: f32) -> Self {
        assert!(Self::problem(sigma_rel, "").is_none(), "sigma_rel {sigma_rel} has no power average");
        let wanted = f64::from(sigma_rel).powi(2);
        // The variance falls from 1/12 at gamma = 0, and below 1 / gamma^2 everywhere.
        let (mut low, mut high) = (0.0, 1.0 / f64::from(sigma_rel));
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if Self::variance(middle) > wanted { low = middle } else { high = middle }
        }
        Self { gamma: 0.5 * (low + high) }
    }

    fn variance(gamma: f64) -> f64 {
        (gamma + 1.0) / ((gamma + 2.0).powi(2) * (gamma + 3.0))
    }

    /// The exponent.
    pub fn gamma(self) -> f64 {
        self.gamma
    }

    /// beta_k of the update after step `step`, counted from 1; 0 at the first.
    pub fn decay(self, step: u64) -> f32 {
        (1.0 - 1.0 / step as f64).powf(self.gamma + 1.0) as f32
    }

    /// A complaint about `field` unless `sigma_rel` has such an average.
    pub fn problem(sigma_rel: f32, field: &str) -> Option<RangeError> {
        let allowed = "a width sigma_rel from 0.001 to 0.28 of the run";
        RangeError::unless((0.001..=WIDEST).contains(&sigma_rel), field, sigma_rel, allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gammas_are_those_of_the_independent_solution() {
        let fixture = include_str!("../../../tests/fixtures/parity/schedules.csv");
        let rows: Vec<Vec<f64>> = (fixture.lines())
            .filter_map(|line| line.strip_prefix("gamma,"))
            .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert_eq!(rows.len(), 6);
        for row in rows {
            // sigma_rel is an f32; near the widest, gamma changes much faster than it.
            let gamma = PowerEma::with_sigma_rel(row[0] as f32).gamma();
            assert!((gamma - row[1]).abs() < 1e-6 * (1.0 + row[1]) * 10.0, "{row:?}: {gamma}");
        }
    }

    #[test]
    fn the_first_step_forgets_the_initial_weights_and_later_ones_hold_on() {
        let power = PowerEma::with_sigma_rel(0.1);
        assert_eq!(power.decay(1), 0.0);
        assert!(power.decay(10) < power.decay(100) && power.decay(100) < 1.0);
        // (1 - 1/2)^(6.937 + 1)
        assert!((f64::from(power.decay(2)) - 0.5f64.powf(7.937_203_937)).abs() < 1e-8);
    }
}
