//! The logarithm of a noise level by Student's t, kept between two bounds: its tails reach far above its middle.

use cm_diffusion::SigmaRange;
use cm_image::random::Random;
use cm_training::RangeError;
use serde::{Deserialize, Serialize};

/// Student's t of ln sigma.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudentTConfig {
    /// The middle of ln sigma, -10 to 10.
    pub mean: f32,
    /// The width of ln sigma, 0.01 to 100; a standard deviation only of a law with many degrees.
    pub scale: f32,
    /// The degrees of freedom, 0.001 to 1000: few for heavy tails, many for a normal law.
    pub degrees: f32,
}

impl Default for StudentTConfig {
    fn default() -> Self {
        Self {
            mean: 0.0,     // Lee et al. 2025, NVlabs/TCM, both data sets
            scale: 0.2,    // the same
            degrees: 0.01, // the same
        }
    }
}

impl StudentTConfig {
    /// What is out of range, with paths relative to this struct.
    pub(crate) fn problems(&self) -> Vec<RangeError> {
        let Self { mean, scale, degrees } = *self;
        let checks = [
            ("mean", mean, (-10.0..=10.0).contains(&mean), "-10 to 10"),
            ("scale", scale, (0.01..=100.0).contains(&scale), "0.01 to 100"),
            ("degrees", degrees, (0.001..=1000.0).contains(&degrees), "0.001 to 1000"),
        ];
        let check = |(field, given, holds, allowed)| RangeError::unless(holds, field, given, allowed);
        checks.into_iter().filter_map(check).collect()
    }
}

/// Intervals of the table.
const INTERVALS: usize = 4096;

/// The law of [`StudentTConfig`] between two noise levels, as a table of its distribution.
///
/// With x = mean + scale sqrt(degrees) sinh(u) the density of u is as cosh(u)^-degrees, smooth and without tails however
/// heavy those of x are, so a table over equal steps of u will do.
#[derive(Clone, Debug)]
pub(crate) struct TruncatedStudentT {
    mean: f64,
    width: f64,
    /// u at the lower bound, and the step.
    start: f64,
    step: f64,
    /// The law's mass below each of the table's places, 0 to 1.
    below: Vec<f64>,
}

impl TruncatedStudentT {
    /// The law within `range`; settings out of range make one that is of no use, but no panic.
    pub(crate) fn new(config: StudentTConfig, range: SigmaRange) -> Self {
        let StudentTConfig { mean, scale, degrees } = config;
        let [mean, scale, degrees] = [mean, scale, degrees].map(f64::from);
        let width = scale * degrees.sqrt();
        let place = |level: f32| libm::asinh((libm::log(f64::from(level)) - mean) / width);
        let (start, end) = (place(range.min().get()), place(range.max().get()));
        let step = (end - start) / INTERVALS as f64;
        let logs: Vec<f64> =
            (0..=INTERVALS).map(|index| -degrees * log_cosh(start + index as f64 * step)).collect();
        // In units of the largest, lest all vanish far from the middle.
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        let mut below = vec![0.0];
        for pair in logs.windows(2) {
            sum += libm::exp(pair[0] - largest) + libm::exp(pair[1] - largest);
            below.push(sum);
        }
        below.iter_mut().for_each(|mass| *mass /= sum);
        Self { mean, width, start, step, below }
    }

    /// ln sigma below which the law has this share, 0 to 1.
    fn quantile(&self, share: f64) -> f64 {
        let index = self.below.partition_point(|&mass| mass <= share).clamp(1, INTERVALS);
        let [low, high] = [self.below[index - 1], self.below[index]];
        let inside = if high > low { ((share - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
        let place = self.start + self.step * ((index - 1) as f64 + inside);
        self.mean + self.width * libm::sinh(place)
    }

    /// A level; rounding may lead out of the range by a unit in the last place.
    pub(crate) fn draw(&self, random: &mut Random) -> f32 {
        libm::exp(self.quantile(random.uniform_f64())) as f32
    }
}

fn log_cosh(u: f64) -> f64 {
    u.abs() + libm::log1p(libm::exp(-2.0 * u.abs())) - std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    fn law(mean: f32, scale: f32, degrees: f32) -> TruncatedStudentT {
        let range = SigmaRange::new(1.0, 80.0).unwrap();
        TruncatedStudentT::new(StudentTConfig { mean, scale, degrees }, range)
    }

    /// One degree is Cauchy's law, two have a distribution in closed form too.
    #[test]
    fn with_one_and_two_degrees_quantiles_are_those_of_the_closed_forms() {
        let one = |x: f64| libm::atan(x) / PI;
        let two = |x: f64| 0.5 * x / (2.0 + x * x).sqrt();
        let forms: [(f32, &dyn Fn(f64) -> f64); 2] = [(1.0, &one), (2.0, &two)];
        for (degrees, form) in forms {
            for (mean, scale) in [(0.0f32, 0.2f32), (1.5, 1.0), (-2.0, 0.05), (6.0, 0.3)] {
                let law = law(mean, scale, degrees);
                let share = |x: f64| form((x - f64::from(mean)) / f64::from(scale));
                let (low, high) = (share(0.0), share(80f64.ln()));
                for wanted in [0.0, 0.001, 0.1, 0.5, 0.9, 0.999, 1.0] {
                    let got = (share(law.quantile(wanted)) - low) / (high - low);
                    assert!((got - wanted).abs() < 1e-5, "{degrees} {mean} {scale} {wanted}: {got}");
                }
            }
        }
    }

    /// The default has so few degrees that no table knows it: against the plain density, summed in small steps.
    #[test]
    fn the_default_s_distribution_is_the_integral_of_its_density() {
        let law = law(0.0, 0.2, 0.01);
        let density = |x: f64| libm::pow(1.0 + (x / 0.2).powi(2) / 0.01, -0.505);
        let end = 80f64.ln();
        let (count, mut sums) = (400_000, vec![0.0]);
        for i in 0..count {
            let middle = end * (f64::from(i) + 0.5) / f64::from(count);
            sums.push(sums[i as usize] + density(middle));
        }
        let total = sums[count as usize];
        for share in [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99] {
            let place = (law.quantile(share) / end * f64::from(count)) as usize;
            assert!((sums[place] / total - share).abs() < 2e-4, "{share}: {}", sums[place] / total);
        }
        // Half of the levels are below 1.6, and a tenth above 10.
        assert!(law.quantile(0.5) < 1.6f64.ln() && law.quantile(0.9) > 10f64.ln());
    }

    #[test]
    fn many_degrees_are_a_normal_law_and_a_far_middle_breaks_nothing() {
        // The quartiles of a normal law of this width about 2, which the bounds hardly touch.
        let law = law(2.0, 0.3, 1000.0);
        for (share, z) in [(0.25, -0.674_49), (0.5, 0.0), (0.75, 0.674_49)] {
            assert!((law.quantile(share) - (2.0 + 0.3 * z)).abs() < 1e-3, "{share}: {}", law.quantile(share));
        }
        let far = super::tests::law(10.0, 0.01, 1000.0);
        let mut random = Random::new(1);
        assert!((0..1000).all(|_| (1.0..=80.001).contains(&far.draw(&mut random))));
    }
}
