//! Distances between the two images of a pair, and their gradients by the first.
//!
//! One value for each image; sums over an image are in `f64`.

use crate::threads::{MIN_PARALLEL, SharedMut, for_each_piece};

/// A distance over the D values of an image, d = x - y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distance {
    /// Mean of |d|.
    L1,
    /// Root of the mean of d^2. Its gradient at d = 0 is taken as 0.
    L2,
    /// Mean of d^2.
    SquaredL2,
    /// Largest |d|. Its gradient is that of the first largest value alone; at d = 0 it is taken as 0.
    LInfinity,
    /// sqrt(sum of d^2 + c^2) - c.
    PseudoHuber {
        /// c, positive.
        c: f32,
    },
}

/// The distance of each of `rows` images of `x` to its partner in `y`.
///
/// # Panics
/// If the slices do not hold `rows` images of one size.
pub fn distance(kind: Distance, rows: usize, x: &[f32], y: &[f32], out: &mut [f32]) {
    check(rows, x, y);
    assert_eq!(out.len(), rows, "one distance for each image");
    let dim = x.len().checked_div(rows).unwrap_or(0);
    for_each_row(rows, dim, out, 1, |row, out| {
        out[0] = row_distance(kind, &x[row * dim..][..dim], &y[row * dim..][..dim]) as f32;
    });
}

/// The gradient by `x` of the sum of `grad_out`\[i\] x distance\[i\].
///
/// # Panics
/// If the slices do not hold `rows` images of one size.
pub fn distance_backward(
    kind: Distance,
    rows: usize,
    x: &[f32],
    y: &[f32],
    grad_out: &[f32],
    grad_x: &mut [f32],
) {
    check(rows, x, y);
    assert!(grad_out.len() == rows && grad_x.len() == x.len(), "gradients do not fit the images");
    let dim = x.len().checked_div(rows).unwrap_or(0);
    for_each_row(rows, dim, grad_x, dim, |row, grad| {
        let (x, y) = (&x[row * dim..][..dim], &y[row * dim..][..dim]);
        let scale = f64::from(grad_out[row]);
        if kind == Distance::LInfinity {
            grad.fill(0.0);
            let largest = row_distance(kind, x, y);
            let differences = x.iter().zip(y).map(|(x, y)| f64::from(x - y));
            if let Some((at, d)) = differences.enumerate().find(|(_, d)| largest > 0.0 && d.abs() == largest)
            {
                grad[at] = (scale * d.signum()) as f32;
            }
            return;
        }
        let per_value = match kind {
            Distance::L1 | Distance::LInfinity => scale / dim as f64,
            Distance::SquaredL2 => 2.0 * scale / dim as f64,
            Distance::L2 => match row_distance(kind, x, y) {
                0.0 => 0.0,
                norm => scale / (dim as f64 * norm),
            },
            Distance::PseudoHuber { c } => scale / (row_distance(kind, x, y) + f64::from(c)),
        } as f32;
        let sign_only = kind == Distance::L1;
        for ((grad, x), y) in grad.iter_mut().zip(x).zip(y) {
            let d = x - y;
            let direction = match sign_only {
                false => d,
                true if d == 0.0 => 0.0,
                true => d.signum(),
            };
            *grad = per_value * direction;
        }
    });
}

fn row_distance(kind: Distance, x: &[f32], y: &[f32]) -> f64 {
    let differences = x.iter().zip(y).map(|(x, y)| f64::from(x - y));
    let n = x.len() as f64;
    match kind {
        Distance::L1 => differences.map(f64::abs).sum::<f64>() / n,
        Distance::SquaredL2 => differences.map(|d| d * d).sum::<f64>() / n,
        Distance::L2 => (differences.map(|d| d * d).sum::<f64>() / n).sqrt(),
        // `f64::max` would hide a NaN.
        Distance::LInfinity => {
            differences.fold(0.0, |most, d| if d.abs() > most || d.is_nan() { d.abs() } else { most })
        }
        Distance::PseudoHuber { c } => {
            let c = f64::from(c);
            (differences.map(|d| d * d).sum::<f64>() + c * c).sqrt() - c
        }
    }
}

pub(crate) fn check(rows: usize, x: &[f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "images of different sizes");
    assert!(if rows == 0 { x.is_empty() } else { x.len().is_multiple_of(rows) }, "{rows} whole images");
}

/// Calls `work(row, its part of out)`; rows are grouped so that a piece is worth a task.
pub(crate) fn for_each_row(
    rows: usize,
    dim: usize,
    out: &mut [f32],
    out_per_row: usize,
    work: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    let group = MIN_PARALLEL.div_ceil(dim.max(1));
    let out = SharedMut::new(out);
    for_each_piece(rows.div_ceil(group), |piece| {
        for row in piece * group..rows.min((piece + 1) * group) {
            // SAFETY: each row is visited once and owns its part of the output.
            work(row, unsafe { out.slice(row * out_per_row, out_per_row) });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Distance; 5] = [
        Distance::L1,
        Distance::L2,
        Distance::SquaredL2,
        Distance::LInfinity,
        Distance::PseudoHuber { c: 0.3 },
    ];

    fn values(len: usize, seed: u32) -> Vec<f32> {
        let mixed = |i: u32| {
            let bits = i.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(2_246_822_519);
            bits.wrapping_mul(3_266_489_917) >> 8
        };
        (0..len as u32).map(|i| mixed(i) as f32 / 8e6 - 1.0).collect()
    }

    #[test]
    fn hand_checked() {
        let mut out = [0.0];
        for (kind, expected) in [
            (Distance::L1, 3.5),
            (Distance::L2, 12.5f32.sqrt()),
            (Distance::SquaredL2, 12.5),
            (Distance::LInfinity, 4.0),
            (Distance::PseudoHuber { c: 12.0 }, 1.0),
        ] {
            distance(kind, 1, &[3.0, 0.0], &[0.0, 4.0], &mut out);
            assert_eq!(out[0], expected, "{kind:?}");
        }
    }

    /// Central differences in f64 arithmetic: the kernels sum in f64, so a step of 1e-2 keeps five digits.
    #[test]
    fn gradients_are_those_of_central_differences() {
        let (rows, dim) = (3, 12);
        let (x, y) = (values(rows * dim, 1), values(rows * dim, 2));
        let grad_out = [0.7, -1.3, 2.1];
        type Forward = Box<dyn Fn(&[f32], &mut [f32])>;
        type Backward = Box<dyn Fn(&[f32], &mut [f32])>;
        let mut cases: Vec<(String, Forward, Backward)> = Vec::new();
        for kind in KINDS {
            let (y1, y2) = (y.clone(), y.clone());
            cases.push((
                format!("{kind:?}"),
                Box::new(move |x, out| distance(kind, rows, x, &y1, out)),
                Box::new(move |x, grad| distance_backward(kind, rows, x, &y2, &grad_out, grad)),
            ));
        }
        for (name, forward, backward) in cases {
            let mut grad = vec![f32::NAN; x.len()];
            backward(&x, &mut grad);
            for i in 0..x.len() {
                let at = |step: f32| {
                    let (mut moved, mut out) = (x.clone(), vec![0.0; rows]);
                    moved[i] += step;
                    forward(&moved, &mut out);
                    out.iter().zip(grad_out).map(|(d, g)| f64::from(d * g)).sum::<f64>()
                };
                let h = 4e-3;
                let expected = (at(h) - at(-h)) / (2.0 * f64::from(h));
                assert!((f64::from(grad[i]) - expected).abs() < 2e-3, "{name} {i}: {} {expected}", grad[i]);
            }
        }
    }

    #[test]
    fn a_value_that_is_no_number_makes_every_distance_none() {
        for kind in KINDS {
            let mut out = [0.0];
            distance(kind, 1, &[0.5, f32::NAN, 2.0], &[0.0; 3], &mut out);
            assert!(out[0].is_nan(), "{kind:?}: {}", out[0]);
        }
    }

    #[test]
    fn equal_images_are_at_distance_zero_with_no_gradient() {
        let x = values(24, 5);
        for kind in KINDS {
            let (mut out, mut grad) = (vec![1.0; 2], vec![1.0; 24]);
            distance(kind, 2, &x, &x, &mut out);
            distance_backward(kind, 2, &x, &x, &[1.0, 1.0], &mut grad);
            assert!(out.iter().chain(&grad).all(|&v| v == 0.0), "{kind:?}");
        }
        distance(Distance::L1, 0, &[], &[], &mut []);
    }
}
