//! Averages worked out after the run from snapshots of others (Karras et al. 2024, Section 3.2).
//!
//! An average of the weights is its profile: how much each step of the run counts in it. The profile of a wanted power
//! average is fitted by a sum of the snapshots' profiles, least squares over the run; the same sum of the snapshots is
//! then that average, as nearly as the profiles agree.

use crate::{PowerEma, RangeError};
use cm_tensor::Weights;
use serde::{Deserialize, Serialize};

/// Snapshots of power averages taken over a run: `count` of them, evenly spaced, the last at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotsConfig {
    /// The widths that are tracked, two or more: shares of the run, each 0.001 to 0.28.
    pub sigma_rels: Vec<f32>,
    /// Snapshots in all, 2 to [`MOST`](Self::MOST); each holds one model for each width.
    pub count: u32,
}

impl Default for SnapshotsConfig {
    fn default() -> Self {
        Self {
            sigma_rels: vec![0.05, 0.10], // Karras et al. 2024, Section 3.2
            count: 16, // ours: any width between the two to a few thousandths, 32 models on the disk
        }
    }
}

impl SnapshotsConfig {
    /// Snapshots at most: averages of any width are good to a few thousandths with sixteen.
    pub const MOST: u32 = 10_000;

    /// Whether a snapshot is taken after step `step`, counted from 1, of a run of `steps`.
    pub fn is_due(&self, step: u64, steps: u64) -> bool {
        let taken = |step: u64| step * u64::from(self.count) / steps.max(1);
        taken(step) > taken(step - 1)
    }

    /// The steps after which a snapshot is taken in a run of `steps`; fewer than `count` if it has fewer steps.
    pub fn due(&self, steps: u64) -> impl Iterator<Item = u64> {
        (1..=steps).filter(move |&step| self.is_due(step, steps))
    }

    /// Everything that is out of range, with paths relative to this struct.
    pub fn problems(&self) -> Vec<RangeError> {
        let mut problems: Vec<_> = [
            RangeError::unless(
                (2..=Self::MOST).contains(&self.count),
                "count",
                self.count,
                "2 to 10000 snapshots",
            ),
            RangeError::unless(
                self.sigma_rels.len() >= 2,
                "sigma_rels",
                format!("{:?}", self.sigma_rels),
                "at least two widths, as in [0.05, 0.1]",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        for (index, sigma_rel) in self.sigma_rels.iter().enumerate() {
            let field = format!("sigma_rels[{index}]");
            problems.extend(PowerEma::problem(*sigma_rel, &field));
            if self.sigma_rels[..index].contains(sigma_rel) {
                problems.push(RangeError { field, given: sigma_rel.to_string(), allowed: "each width once" });
            }
        }
        problems
    }
}

/// How much each part of a run counts in a power average after `steps` steps: (gamma + 1) t^gamma / steps^(gamma + 1)
/// at step t up to there, nothing after.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Steps taken when the average stood so, at least 1.
    pub steps: u64,
    /// The average.
    pub ema: PowerEma,
}

impl Profile {
    /// The integral over the run of the product of two profiles.
    fn dot(self, other: Self) -> f64 {
        let (early, late) = if self.steps <= other.steps { (self, other) } else { (other, self) };
        let (a, b) = (early.ema.gamma(), late.ema.gamma());
        let ratio = early.steps as f64 / late.steps as f64;
        (a + 1.0) * (b + 1.0) * ratio.powf(b) / ((a + b + 1.0) * late.steps as f64)
    }
}

/// A sum of snapshots that stands for an average.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The factor of each snapshot.
    pub factors: Vec<f64>,
    /// How far the profile of the sum is from the wanted one, as a share of the wanted one's length; 0 is exact.
    pub error: f64,
}

impl Fit {
    /// The sum of `snapshots` nearest to `wanted` whose factors sum to one, so that equal weights stay as they are.
    ///
    /// # Panics
    /// If there is no snapshot.
    pub fn new(snapshots: &[Profile], wanted: Profile) -> Self {
        assert!(!snapshots.is_empty(), "an average of nothing");
        // Profiles of unit length: their products form a matrix with ones on the diagonal.
        let length = |profile: Profile| profile.dot(profile).sqrt();
        let cosine = |a: Profile, b: Profile| a.dot(b) / (length(a) * length(b));
        let products: Vec<Vec<f64>> =
            snapshots.iter().map(|&a| snapshots.iter().map(|&b| cosine(a, b)).collect()).collect();
        let towards: Vec<f64> = snapshots.iter().map(|&snapshot| cosine(snapshot, wanted)).collect();
        let scale: Vec<f64> = snapshots.iter().map(|&snapshot| length(wanted) / length(snapshot)).collect();
        let along = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        // Least squares, then the shortest way to factors that sum to one.
        let (free, way) = (solve(&products, &towards), solve(&products, &scale));
        let share = (1.0 - along(&scale, &free)) / along(&scale, &way);
        let unit: Vec<f64> = free.iter().zip(&way).map(|(free, way)| free + share * way).collect();
        let square: f64 = unit.iter().zip(&products).map(|(x, row)| x * along(row, &unit)).sum();
        let error = (1.0 - 2.0 * along(&unit, &towards) + square).max(0.0).sqrt();
        Self { factors: unit.iter().zip(&scale).map(|(x, scale)| x * scale).collect(), error }
    }

    /// Adds `factor` times `snapshot` to a sum that began with zeros.
    ///
    /// # Panics
    /// If `sum` is not of the snapshot's size.
    pub fn accumulate(sum: &mut [Vec<f64>], factor: f64, snapshot: &Weights) {
        assert_eq!(sum.len(), snapshot.len(), "a sum over another network");
        for (sum, (_, _, values)) in sum.iter_mut().zip(snapshot.iter()) {
            assert_eq!(sum.len(), values.len(), "a sum over another network");
            sum.iter_mut().zip(values).for_each(|(sum, &value)| *sum += factor * f64::from(value));
        }
    }
}

/// The solution of a positive semi-definite system: Gaussian elimination with the largest remaining diagonal first.
/// What is linearly dependent to the last digits is left out.
fn solve(matrix: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let n = right.len();
    let mut rows: Vec<Vec<f64>> =
        matrix.iter().zip(right).map(|(row, &right)| [row.as_slice(), &[right]].concat()).collect();
    let mut order: Vec<usize> = Vec::with_capacity(n);
    for _ in 0..n {
        let rest = (0..n).filter(|i| !order.contains(i));
        let Some(pivot) = rest.max_by(|&i, &j| rows[i][i].total_cmp(&rows[j][j])) else { break };
        if rows[pivot][pivot] < SMALLEST_PIVOT {
            break;
        }
        order.push(pivot);
        let by = rows[pivot].clone();
        for i in (0..n).filter(|i| !order.contains(i)) {
            let factor = rows[i][pivot] / by[pivot];
            rows[i].iter_mut().zip(&by).for_each(|(value, by)| *value -= factor * by);
        }
    }
    let mut solution = vec![0.0; n];
    for (done, &pivot) in order.iter().enumerate().rev() {
        let known: f64 = order[done + 1..].iter().map(|&j| rows[pivot][j] * solution[j]).sum();
        solution[pivot] = (rows[pivot][n] - known) / rows[pivot][pivot];
    }
    solution
}

/// What is left of a squared length of 1 when a profile is as good as a sum of others.
const SMALLEST_PIVOT: f64 = 1e-13;

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshots(config: &SnapshotsConfig, steps: u64) -> Vec<Profile> {
        let emas: Vec<_> = config.sigma_rels.iter().map(|&s| PowerEma::with_sigma_rel(s)).collect();
        config.due(steps).flat_map(|steps| emas.iter().map(move |&ema| Profile { steps, ema })).collect()
    }

    fn fit(steps: u64, sigma_rel: f32) -> (Vec<Profile>, Fit) {
        let snapshots = snapshots(&SnapshotsConfig::default(), steps);
        let fit = Fit::new(&snapshots, Profile { steps, ema: PowerEma::with_sigma_rel(sigma_rel) });
        (snapshots, fit)
    }

    /// What an average holds after so many steps if the weights at step k are `weights(k)`: by its recurrence.
    fn tracked(profile: Profile, weights: impl Fn(u64) -> f64) -> f64 {
        (1..=profile.steps).fold(f64::NAN, |average, k| match f64::from(profile.ema.decay(k)) {
            0.0 => weights(k),
            decay => decay * average + (1.0 - decay) * weights(k),
        })
    }

    /// Weights that move in a straight line: the reconstructed average is the one that was tracked, and that is the
    /// line's value at the profile's mean, (gamma + 1) / (gamma + 2) of the run (up to half a step).
    #[test]
    fn linear_weights_are_averaged_as_if_the_average_had_been_tracked() {
        let steps = 4_000;
        let line = |k: u64| 2.0 + k as f64 / steps as f64;
        for sigma_rel in [0.05, 0.07, 0.08, 0.1, 0.12] {
            let (snapshots, fit) = fit(steps, sigma_rel);
            let values = snapshots.iter().map(|&snapshot| tracked(snapshot, line));
            let sum: f64 = fit.factors.iter().zip(values).map(|(factor, value)| factor * value).sum();
            let ema = PowerEma::with_sigma_rel(sigma_rel);
            let direct = tracked(Profile { steps, ema }, line);
            assert!((sum - direct).abs() < 1e-4, "{sigma_rel}: {sum} {direct}, error {}", fit.error);
            let mean = 2.0 + (ema.gamma() + 1.0) / (ema.gamma() + 2.0);
            assert!((direct - mean).abs() < 2e-3, "{sigma_rel}: {direct} {mean}");
        }
    }

    /// Weights that jump and swing, as real ones do.
    #[test]
    fn curved_weights_are_averaged_to_the_error_that_the_fit_admits() {
        let steps = 4_000;
        let curve = |k: u64| (k as f64 / 90.0).sin() + if k > 3_000 { 0.5 } else { 0.0 };
        let (snapshots, fit) = fit(steps, 0.08);
        let sum: f64 = fit.factors.iter().zip(&snapshots).map(|(f, &s)| f * tracked(s, curve)).sum();
        let direct = tracked(Profile { steps, ema: PowerEma::with_sigma_rel(0.08) }, curve);
        assert!(fit.error < 0.01, "{}", fit.error);
        assert!((sum - direct).abs() < 2.0 * fit.error, "{sum} {direct}");
    }

    #[test]
    fn what_was_tracked_is_found_again_exactly_and_what_is_far_away_is_not() {
        let (snapshots, at_end) = fit(1_600, 0.1);
        assert!(at_end.error < 1e-6, "{}", at_end.error);
        for (factor, snapshot) in at_end.factors.iter().zip(&snapshots) {
            let it = snapshot.steps == 1_600 && snapshot.ema == PowerEma::with_sigma_rel(0.1);
            assert!((factor - if it { 1.0 } else { 0.0 }).abs() < 1e-5, "{factor} {snapshot:?}");
        }
        assert!(fit(1_600, 0.005).1.error > 0.3, "a width that no snapshot resolves");
    }

    #[test]
    fn profiles_sum_to_one_and_their_products_are_those_of_the_integral() {
        let (a, b) = (
            Profile { steps: 300, ema: PowerEma::with_sigma_rel(0.1) },
            Profile { steps: 500, ema: PowerEma::with_sigma_rel(0.05) },
        );
        let density = |p: Profile, t: f64| {
            let (gamma, end) = (p.ema.gamma(), p.steps as f64);
            if t > end { 0.0 } else { (gamma + 1.0) * t.powf(gamma) / end.powf(gamma + 1.0) }
        };
        let n = 200_000;
        let points = (0..n).map(|i| 500.0 * (f64::from(i) + 0.5) / f64::from(n));
        let sum: f64 = points.map(|t| density(a, t) * density(b, t)).sum::<f64>() * 500.0 / f64::from(n);
        assert!((a.dot(b) / sum - 1.0).abs() < 1e-3, "{} {sum}", a.dot(b));
        assert_eq!(a.dot(b), b.dot(a));
        let (_, fit) = fit(2_000, 0.07);
        assert!((fit.factors.iter().sum::<f64>() - 1.0).abs() < 1e-9, "an average of equal weights is them");
    }

    #[test]
    fn snapshots_are_evenly_spaced_and_no_more_than_counted() {
        let config = SnapshotsConfig { count: 4, ..SnapshotsConfig::default() };
        assert_eq!(config.due(20).collect::<Vec<_>>(), [5, 10, 15, 20]);
        assert_eq!(config.due(10).collect::<Vec<_>>(), [3, 5, 8, 10]);
        assert_eq!(config.due(3).collect::<Vec<_>>(), [1, 2, 3]);
        let wrong = SnapshotsConfig { sigma_rels: vec![0.5, 0.5], count: 1 };
        let fields: Vec<_> = wrong.problems().into_iter().map(|p| p.field).collect();
        assert_eq!(fields, ["count", "sigma_rels[0]", "sigma_rels[1]", "sigma_rels[1]"]);
        assert!(SnapshotsConfig::default().problems().is_empty());
    }
}
