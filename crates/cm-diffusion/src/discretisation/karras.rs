//! The noise levels of Karras et al. 2022.

use super::Discretisation;
use crate::{QuantityError, SigmaRange};
use serde::{Deserialize, Serialize};

/// Levels evenly spaced in sigma^(1/rho): Karras et al. 2022, Equation 5; Song et al. 2023, Section 2.
///
/// The larger rho, the more levels lie near sigma_min. rho = 1 spaces them evenly.
///
/// ```
/// use cm_diffusion::{Discretisation, Karras, NumLevels, SigmaRange};
/// let range = SigmaRange::new(1.0, 9.0)?;
/// // Even in sigma^(1/2): 3, 2, 1.
/// let levels = Karras::new(range, 2.0)?.noise_levels(NumLevels::new(3)?)?;
/// let levels: Vec<f32> = levels.as_slice().iter().map(|sigma| sigma.get()).collect();
/// assert_eq!(levels, [9.0, 4.0, 1.0]);
/// # Ok::<(), cm_diffusion::QuantityError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Karras {
    range: SigmaRange,
    rho: f64,
    /// sigma_max^(1/rho) and sigma_min^(1/rho).
    warped: [f64; 2],
}

/// Constants of [`Karras`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KarrasConfig {
    /// Curvature, > 0.
    pub rho: f32,
}

impl Default for KarrasConfig {
    fn default() -> Self {
        Self {
            rho: 7.0, // Karras et al. 2022, Table 1
        }
    }
}

impl Karras {
    /// Levels over `range` with curvature `rho` > 0.
    ///
    /// # Errors
    /// [`QuantityError::Rho`] unless `rho` is positive, finite, and so large that sigma^(1/rho) neither overflows
    /// nor vanishes at the ends of the range.
    pub fn new(range: SigmaRange, rho: f32) -> Result<Self, QuantityError> {
        let exponent = 1.0 / f64::from(rho);
        let warped = [range.max(), range.min()].map(|sigma| libm::pow(f64::from(sigma.get()), exponent));
        let usable = rho > 0.0 && rho.is_finite() && warped[0].is_finite() && warped[1] > 0.0;
        if usable && warped[0] > warped[1] {
            Ok(Self { range, rho: f64::from(rho), warped })
        } else {
            Err(QuantityError::Rho(rho))
        }
    }
}

impl Discretisation for Karras {
    fn range(&self) -> SigmaRange {
        self.range
    }

    fn between(&self, fraction: f64) -> f64 {
        let [start, end] = self.warped;
        libm::pow(start + fraction * (end - start), self.rho)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NumLevels;

    fn levels(n: usize, min: f32, max: f32, rho: f32) -> Vec<f32> {
        let karras = Karras::new(SigmaRange::new(min, max).unwrap(), rho).unwrap();
        let levels = karras.noise_levels(NumLevels::new(n).unwrap()).unwrap();
        levels.as_slice().iter().map(|s| s.get()).collect()
    }

    /// The rows of one kind of `scripts/parity/schedules.py`, which is plain Python.
    fn golden(what: &str) -> Vec<Vec<f64>> {
        let fixture = include_str!("../../../../tests/fixtures/parity/schedules.csv");
        let rows = fixture.lines().filter_map(|line| line.strip_prefix(&format!("{what},")));
        rows.map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
    }

    /// Grids of samplers and trainings, among them those of all published sampling times, and the halving grids of
    /// progressive distillation, whose S steps have S + 1 levels.
    #[test]
    fn levels_are_those_of_the_formula_to_a_millionth() {
        let (grids, halvings) = (golden("levels"), golden("halving"));
        assert_eq!((grids.len(), halvings.len()), (2 + 18 + 7 + 3 + 1 + 4, 2 + 3 + 5 + 9));
        let halvings = halvings.into_iter().map(|row| vec![row[0] + 1.0, row[1], row[2]]);
        for row in grids.into_iter().chain(halvings) {
            let sigma = levels(row[0] as usize, 0.002, 80.0, 7.0)[row[1] as usize];
            assert!((f64::from(sigma) / row[2] - 1.0).abs() < 1e-6, "{row:?}: {sigma}");
        }
    }

    /// Index -> sigma of the published sampling times, computed independently to five digits.
    #[test]
    fn the_papers_grids() {
        for (n, index, expected) in [
            (40, 22, 1.3824),
            (201, 106, 1.9128),
            (40, 17, 4.3656),
            (40, 18, 3.5197),
            (151, 67, 3.9912),
            (151, 62, 5.2485),
            (18, 11, 0.5853),
        ] {
            let level = levels(n, 0.002, 80.0, 7.0)[index];
            assert!((level - expected).abs() < 6e-5, "N = {n}, index {index}: {level}");
        }
    }

    #[test]
    fn curvature_must_be_positive_and_usable() {
        let range = SigmaRange::new(0.002, 80.0).unwrap();
        for rho in [0.0, -7.0, f32::NAN, f32::INFINITY, 1e-4] {
            assert!(matches!(Karras::new(range, rho), Err(QuantityError::Rho(_))), "{rho}");
        }
    }
}
