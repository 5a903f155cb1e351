//! The preconditioning of improved DDPM.

use super::{Coefficients, Precondition};
use crate::Sigma;
use std::f64::consts::FRAC_PI_2;

/// Karras et al. 2022, Table 1, column "iDDPM": the network foretells the noise, and is told the number of the nearest of
/// M noise levels.
///
/// ```
/// use cm_diffusion::{Iddpm, Precondition, Sigma};
/// let iddpm = Iddpm::new(0.001, 0.008, 1000);
/// let c = iddpm.coefficients(Sigma::new(1.0).unwrap());
/// assert_eq!((c.c_skip, c.c_out, c.c_noise.fract()), (1.0, -1.0, 0.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Iddpm {
    /// u_0 to u_M, falling to 0.
    levels: Vec<f64>,
}

impl Iddpm {
    /// `c1` bounds the steps from below, `c2` moves the cosine schedule (C_1 and C_2 there); `steps` is M.
    pub fn new(c1: f32, c2: f32, steps: usize) -> Self {
        let (c1, c2) = (f64::from(c1), f64::from(c2));
        let alpha_bar = |j: usize| (FRAC_PI_2 * j as f64 / steps as f64 / (c2 + 1.0)).sin().powi(2);
        let mut levels = vec![0.0f64; steps + 1];
        for j in (1..=steps).rev() {
            let kept = (alpha_bar(j - 1) / alpha_bar(j)).max(c1);
            levels[j - 1] = ((levels[j].powi(2) + 1.0) / kept - 1.0).sqrt();
        }
        Self { levels }
    }

    /// u_0 to u_M: the noise levels, falling to 0.
    pub fn levels(&self) -> &[f64] {
        &self.levels
    }

    /// The number of the level that is nearest to `sigma`.
    fn nearest(&self, sigma: f64) -> usize {
        let above = self.levels.partition_point(|&level| level > sigma);
        match (above.checked_sub(1), self.levels.get(above)) {
            (Some(before), Some(level)) if self.levels[before] - sigma <= sigma - level => before,
            (Some(before), None) => before,
            _ => above,
        }
    }
}

impl Precondition for Iddpm {
    fn coefficients(&self, sigma: Sigma) -> Coefficients {
        let s = f64::from(sigma.get());
        // M levels above 0, counted from the lowest; the original counts 0 itself as one below.
        let c_noise = self.levels.len() as f64 - 2.0 - self.nearest(s) as f64;
        Coefficients {
            c_skip: 1.0,
            c_out: -sigma.get(),
            c_in: (1.0 / s.hypot(1.0)) as f32,
            c_noise: c_noise as f32,
        }
    }
}
