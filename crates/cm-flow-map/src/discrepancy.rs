//! The maximum mean discrepancy of two sets of particles under Laplace's kernel, and its gradient.
//!
//! In double precision, on the host: a group has a few particles, and its network's passes cost far more.

/// Distances below this count as this (Zhou et al. 2025, Section 5).
const LEAST: f64 = 1e-8;

/// Particles that are compared: `group` neighbours at a time, of `len` values each.
#[derive(Clone, Copy)]
pub(crate) struct Groups<'a> {
    /// Particles of a group, M.
    pub(crate) group: usize,
    /// Values of a particle.
    pub(crate) len: usize,
    /// The kernel's width for each particle, above 0; the same within a group.
    pub(crate) widths: &'a [f64],
}

/// exp(-max(|a - b|, 1e-8) / width), and by what a - b is multiplied to be its gradient by a.
fn kernel(a: &[f64], b: &[f64], width: f64) -> (f64, f64) {
    let distance = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let value = libm::exp(-distance.max(LEAST) / width);
    let slope = if distance > LEAST { -value / (width * distance) } else { 0.0 };
    (value, slope)
}

/// For each particle j of `own` its part 1/M sum over k of k(y_j, y_k) + k(z_j, z_k) - 2 k(y_j, z_k) of its group's
/// discrepancy from `other`, times M; and the gradient of the sum of all parts by `own`, of `other` none.
///
/// # Panics
/// If counts disagree.
pub(crate) fn discrepancy(groups: Groups<'_>, own: &[f64], other: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let Groups { group, len, widths } = groups;
    assert!(own.len() == other.len() && own.len() == len * widths.len(), "one width for each particle");
    assert!(widths.len().is_multiple_of(group), "whole groups");
    let particle = |of: &[f64], index: usize| of[index * len..(index + 1) * len].to_vec();
    let mut parts = vec![0.0; widths.len()];
    let mut gradient = vec![0.0; own.len()];
    for (j, part) in parts.iter_mut().enumerate() {
        let first = j / group * group;
        let (y, z) = (particle(own, j), particle(other, j));
        let gradient = &mut gradient[j * len..(j + 1) * len];
        for k in first..first + group {
            let (own, other) = (particle(own, k), particle(other, k));
            let (alike, alike_slope) = kernel(&y, &own, widths[j]);
            let (between, between_slope) = kernel(&y, &other, widths[j]);
            let (there, _) = kernel(&z, &other, widths[j]);
            *part += (alike + there - 2.0 * between) / group as f64;
            // y_j is in the pairs (j, k) and (k, j).
            let (alike_slope, between_slope) = (2.0 * alike_slope, 2.0 * between_slope);
            for (place, gradient) in gradient.iter_mut().enumerate() {
                let by_own = alike_slope * (y[place] - own[place]);
                let by_other = between_slope * (y[place] - other[place]);
                *gradient += (by_own - by_other) / group as f64;
            }
        }
    }
    (parts, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::random::Random;

    fn normal(count: usize, random: &mut Random) -> Vec<f64> {
        (0..count).map(|_| f64::from(random.normal())).collect()
    }

    /// The estimator as it is printed: sums over all pairs of a group, group by group.
    fn naive(groups: Groups<'_>, own: &[f64], other: &[f64]) -> f64 {
        let Groups { group, len, widths } = groups;
        let kernel = |a: &[f64], b: &[f64], width: f64| {
            let squares: f64 = (0..len).map(|i| (a[i] - b[i]) * (a[i] - b[i])).sum();
            (-squares.sqrt().max(1e-8) / width).exp()
        };
        let mut total = 0.0;
        for g in 0..widths.len() / group {
            let of = |from: &[f64], j: usize| from[(g * group + j) * len..(g * group + j + 1) * len].to_vec();
            let width = widths[g * group];
            let mut sum = 0.0;
            for j in 0..group {
                for k in 0..group {
                    sum += kernel(&of(own, j), &of(own, k), width);
                    sum += kernel(&of(other, j), &of(other, k), width);
                    sum -= 2.0 * kernel(&of(own, j), &of(other, k), width);
                }
            }
            total += sum / (group * group) as f64;
        }
        total / (widths.len() / group) as f64
    }

    /// Widths of so many groups.
    fn widths(group: usize, count: usize) -> Vec<f64> {
        (0..count * group).map(|j| 0.3 + 0.5 * (j / group) as f64).collect()
    }

    #[test]
    fn the_mean_of_the_parts_is_the_printed_estimator() {
        let mut random = Random::new(1);
        for (group, count, len) in [(1, 5, 3), (2, 3, 1), (4, 3, 2), (5, 1, 7)] {
            let widths = widths(group, count);
            let groups = Groups { group, len, widths: &widths };
            let own = normal(widths.len() * len, &mut random);
            let other = normal(widths.len() * len, &mut random);
            let (parts, _) = discrepancy(groups, &own, &other);
            let mean = parts.iter().sum::<f64>() / parts.len() as f64;
            let expected = naive(groups, &own, &other);
            assert!((mean - expected).abs() < 1e-13, "{group} {count} {len}: {mean} {expected}");
            // A set has no discrepancy from itself, and one from any other.
            let (same, _) = discrepancy(groups, &own, &own);
            assert!(same.iter().all(|part| part.abs() < 1e-14) && mean > 0.0);
        }
    }

    #[test]
    fn the_gradient_is_that_of_central_differences() {
        let mut random = Random::new(2);
        for (group, count, len) in [(1, 3, 2), (2, 2, 3), (4, 2, 2)] {
            let widths = widths(group, count);
            let groups = Groups { group, len, widths: &widths };
            let own = normal(widths.len() * len, &mut random);
            let other = normal(widths.len() * len, &mut random);
            let (_, gradient) = discrepancy(groups, &own, &other);
            let particles = widths.len() as f64;
            for place in 0..own.len() {
                let at = |step: f64| {
                    let mut moved = own.clone();
                    moved[place] += step;
                    particles * naive(groups, &moved, &other)
                };
                let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((gradient[place] - expected).abs() < 1e-8, "{group}: {} {expected}", gradient[place]);
            }
        }
    }

    /// Zhou et al. 2025, Section 4: with one particle all that is left is a consistency model's loss whose distance is
    /// 2 (1 - k).
    #[test]
    fn one_particle_has_a_distance_of_its_own_and_no_repulsion() {
        let widths = [0.7, 2.0];
        let (own, other) = ([0.3, -0.1, 1.0, 2.0], [0.6, 0.3, 1.0, 2.0]);
        let (parts, gradient) = discrepancy(Groups { group: 1, len: 2, widths: &widths }, &own, &other);
        // The first two lie 0.5 apart, the second two in one place.
        let k = (-0.5f64 / 0.7).exp();
        // The kernel of a particle with itself is 1 but for the least distance.
        let itself = (-LEAST / 0.7).exp();
        assert!((parts[0] - 2.0 * (itself - k)).abs() < 1e-14 && parts[1].abs() < 1e-14);
        for (place, side) in [(0, -0.3), (1, -0.4)] {
            let expected = 2.0 * k / 0.7 * side / 0.5;
            assert!((gradient[place] - expected).abs() < 1e-14, "{} {expected}", gradient[place]);
        }
        assert_eq!(gradient[2..], [0.0, 0.0]);
    }

    /// The exact flow map of a Gaussian, at its end from two starts on the way: the loss does not move it, and moves one
    /// that is too wide or too narrow towards it.
    #[test]
    fn the_flow_of_a_gaussian_is_a_fixed_point() {
        const GROUPS: usize = 40_000;
        let (spread, from, middle, to) = (0.5f64, 2.0f64, 1.9f64, 0.4f64);
        let scale = |level: f64| ((spread.powi(2) + to.powi(2)) / (spread.powi(2) + level.powi(2))).sqrt();
        let mut random = Random::new(3);
        let count = 4 * GROUPS;
        let (x, z) = (normal(count, &mut random), normal(count, &mut random));
        let at = |level: f64| -> Vec<f64> {
            x.iter().zip(&z).map(|(x, z)| scale(level) * (spread * x + level * z)).collect()
        };
        let (own, other) = (at(from), at(middle));
        let widths = vec![0.5; count];
        let groups = Groups { group: 4, len: 1, widths: &widths };
        // The mean derivative of the loss by a factor of the map, and its standard error over groups.
        let slope = |factor: f64| {
            let wrong: Vec<f64> = own.iter().map(|y| factor * y).collect();
            let (_, gradient) = discrepancy(groups, &wrong, &other);
            let terms: Vec<f64> = gradient.iter().zip(&own).map(|(g, y)| g * y).collect();
            let sums: Vec<f64> = terms.chunks(4).map(|group| group.iter().sum()).collect();
            let mean = sums.iter().sum::<f64>() / GROUPS as f64;
            let variance = sums.iter().map(|sum| (sum - mean).powi(2)).sum::<f64>() / GROUPS as f64;
            (mean, (variance / GROUPS as f64).sqrt())
        };
        let (narrow, right, wide) = (slope(0.8), slope(1.0), slope(1.25));
        assert!(narrow.0 < -0.05 && wide.0 > 0.05, "{narrow:?} {wide:?}");
        assert!(right.0.abs() < 5.0 * right.1 + 0.01, "{right:?}");
        let (parts, _) = discrepancy(groups, &own, &other);
        let (far, _) = discrepancy(groups, &own.iter().map(|y| 1.25 * y).collect::<Vec<_>>(), &other);
        let mean = |parts: &[f64]| parts.iter().sum::<f64>() / count as f64;
        assert!(mean(&parts) < 0.2 * mean(&far), "{} {}", mean(&parts), mean(&far));
    }
}
