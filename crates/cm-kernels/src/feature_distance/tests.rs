use super::*;
use crate::buffer::written_by;
use crate::elementwise::testing::values;

fn naive_length(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() + LENGTH_EPS
}

/// The truth, pixel by pixel and from the definition.
fn naive_distance(rows: usize, weights: &[f32], x: &[f32], y: &[f32]) -> Vec<f64> {
    let (channels, dim) = (weights.len(), x.len() / rows);
    let images = x.chunks(dim).zip(y.chunks(dim));
    let of_image = |(x, y): (&[f32], &[f32])| {
        let pixels = x.chunks(channels).zip(y.chunks(channels));
        let of_pixel = |(x, y): (&[f32], &[f32])| {
            let (nx, ny) = (naive_length(x), naive_length(y));
            let square = |((x, y), w): ((&f32, &f32), &f32)| {
                f64::from(*w) * (f64::from(*x) / nx - f64::from(*y) / ny).powi(2)
            };
            x.iter().zip(y).zip(weights).map(square).sum::<f64>()
        };
        pixels.map(of_pixel).sum::<f64>() / (dim / channels) as f64
    };
    images.map(of_image).collect()
}

/// Each feature's own derivative of each squared difference.
fn naive_backward(rows: usize, weights: &[f32], x: &[f32], y: &[f32], grad_out: &[f32]) -> Vec<f64> {
    let (channels, dim) = (weights.len(), x.len() / rows);
    let pixels = (dim / channels) as f64;
    let mut grad = Vec::with_capacity(x.len());
    for (pixel, (x, y)) in x.chunks(channels).zip(y.chunks(channels)).enumerate() {
        let scale = f64::from(grad_out[pixel * channels / dim]) / pixels;
        let (nx, ny) = (naive_length(x), naive_length(y));
        for j in 0..channels {
            let by_j = |i: usize| {
                let unit = f64::from(u8::from(i == j));
                let turned = match nx - LENGTH_EPS {
                    0.0 => 0.0,
                    bare => f64::from(x[i]) / nx * f64::from(x[j]) / bare,
                };
                2.0 * f64::from(weights[i])
                    * (f64::from(x[i]) / nx - f64::from(y[i]) / ny)
                    * ((unit - turned) / nx)
            };
            grad.push(scale * (0..channels).map(by_j).sum::<f64>());
        }
    }
    grad
}

/// The black pixel of each image, and one that is black in the other.
fn with_black(rows: usize, dim: usize, channels: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut x, mut y) = (values(rows * dim, 1), values(rows * dim, 2));
    for row in 0..rows {
        x[row * dim..][..channels].fill(0.0);
        y[(row + 1) * dim - channels..][..channels].fill(0.0);
    }
    (x, y)
}

#[test]
fn hand_checked() {
    let distance = |weights: &[f32], x: &[f32], y: &[f32]| {
        written_by(1, |out| unit_feature_distance(1, weights, x, y, out))[0]
    };
    // Parallel features are at distance 0, orthogonal ones at 2.
    let found = distance(&[1.0; 2], &[3.0, 0.0, 1.0, 1.0], &[9.0, 0.0, 2.0, -2.0]);
    assert!((found - 1.0).abs() < 1e-6);
    // (0, sqrt 2) apart in the second feature.
    let found = distance(&[7.0, 0.25], &[1.0, 1.0], &[1.0, -1.0]);
    assert!((found - 0.5).abs() < 1e-6);
}

/// Every instruction set gives the naive twin's values, and all the same bits.
#[test]
fn variants_are_the_naive_twin_s() {
    for (rows, pixels, channels) in [(1, 2, 1), (2, 9, 3), (3, 5, 8), (3, 5, 33), (2, 20, 64), (1, 40, 131)] {
        let case = (rows, pixels, channels);
        let dim = pixels * channels;
        let (x, y) = with_black(rows, dim, channels);
        let g = values(rows, 3);
        let weights: Vec<f32> = values(channels, 4).iter().map(|w| w.abs()).collect();
        let of_isa = |isa| {
            let value = written_by(rows, |out| distance_with(isa, rows, &weights, &x, &y, out));
            let grad = written_by(rows * dim, |out| backward_with(isa, rows, &weights, &x, &y, &g, out));
            (value, grad)
        };
        let value = naive_distance(rows, &weights, &x, &y);
        let grad = naive_backward(rows, &weights, &x, &y, &g);
        let portable = of_isa(Isa::Portable);
        let near = |found: &[f32], expected: &[f64]| {
            // Against the pixel's own size: a black pixel's gradient is 1e10 times that of others. A single feature's
            // gradient is what two terms of size one leave.
            let scales =
                expected.chunks(channels).map(|own| own.iter().fold(1e-30f64, |m, v| m.max(v.abs())));
            let pairs = found.chunks(channels).zip(expected.chunks(channels)).zip(scales);
            for ((found, expected), scale) in pairs {
                for (found, expected) in found.iter().zip(expected) {
                    assert!(
                        (f64::from(*found) - expected).abs() < 2e-7 * scale + 1e-14,
                        "{case:?}: {found} {expected}"
                    );
                }
            }
        };
        near(&portable.0, &value);
        near(&portable.1, &grad);
        for isa in Isa::available() {
            assert_eq!(of_isa(isa), portable, "{isa:?} {case:?}");
        }
    }
}

/// The kernels sum in f64, so a step of 4e-3 keeps five digits.
#[test]
fn gradients_are_those_of_central_differences() {
    let (rows, dim) = (3, 12);
    let (x, y) = (values(rows * dim, 1), values(rows * dim, 2));
    let grad_out = [0.7, -1.3, 2.1];
    for weights in [&[1.0; 3][..], &[1.0; 4], &[0.3, 1.7, 0.0, 0.9]] {
        let grad = written_by(x.len(), |grad| {
            unit_feature_distance_backward(rows, weights, &x, &y, &grad_out, grad);
        });
        for i in 0..x.len() {
            let at = |step: f32| {
                let mut moved = x.clone();
                moved[i] += step;
                let out = written_by(rows, |out| unit_feature_distance(rows, weights, &moved, &y, out));
                out.iter().zip(grad_out).map(|(d, g)| f64::from(d * g)).sum::<f64>()
            };
            let h = 4e-3;
            let expected = (at(h) - at(-h)) / (2.0 * f64::from(h));
            assert!((f64::from(grad[i]) - expected).abs() < 2e-3, "{weights:?} {i}: {} {expected}", grad[i]);
        }
    }
}

#[test]
fn no_images_have_no_distances_and_no_number_is_told() {
    unit_feature_distance(0, &[1.0; 3], &[], &[], &mut []);
    let found = written_by(1, |out| unit_feature_distance(1, &[1.0; 2], &[f32::NAN, 1.0], &[1.0; 2], out));
    assert!(found[0].is_nan());
}
