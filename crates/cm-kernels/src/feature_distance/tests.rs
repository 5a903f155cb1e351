use super::*;
use crate::buffer::written_by;
use crate::dispatch::Isa;
use crate::elementwise::testing::{assert_gradient, values, weighted_sum, wide};

fn naive_length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt() + LENGTH_EPS
}

/// The truth, pixel by pixel and from the definition.
fn naive_distance(rows: usize, weights: &[f64], x: &[f64], y: &[f64]) -> Vec<f64> {
    let (channels, dim) = (weights.len(), x.len() / rows);
    let of_pixel = |(x, y): (&[f64], &[f64])| {
        let (nx, ny) = (naive_length(x), naive_length(y));
        x.iter().zip(y).zip(weights).map(|((x, y), w)| w * (x / nx - y / ny).powi(2)).sum::<f64>()
    };
    let of_image = |(x, y): (&[f64], &[f64])| {
        let pixels = x.chunks(channels).zip(y.chunks(channels));
        pixels.map(of_pixel).sum::<f64>() / (dim / channels) as f64
    };
    x.chunks(dim).zip(y.chunks(dim)).map(of_image).collect()
}

/// Each feature's own derivative of each squared difference.
fn naive_backward(rows: usize, weights: &[f64], x: &[f64], y: &[f64], grad_out: &[f64]) -> Vec<f64> {
    let (channels, dim) = (weights.len(), x.len() / rows);
    let mut grad = Vec::with_capacity(x.len());
    for (pixel, (x, y)) in x.chunks(channels).zip(y.chunks(channels)).enumerate() {
        let scale = grad_out[pixel * channels / dim] / (dim / channels) as f64;
        let (nx, ny) = (naive_length(x), naive_length(y));
        for j in 0..channels {
            let by_j = |i: usize| {
                let unit = f64::from(u8::from(i == j));
                let turned = match nx - LENGTH_EPS {
                    0.0 => 0.0,
                    bare => x[i] / nx * x[j] / bare,
                };
                2.0 * weights[i] * (x[i] / nx - y[i] / ny) * ((unit - turned) / nx)
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

#[test]
fn kernels_are_the_naive_twin_s() {
    for (rows, pixels, channels) in [(1, 2, 1), (2, 9, 3), (3, 5, 8), (3, 5, 33), (2, 20, 64), (1, 40, 131)] {
        let case = (rows, pixels, channels);
        let dim = pixels * channels;
        let (x, y) = with_black(rows, dim, channels);
        let g = values(rows, 3);
        let weights: Vec<f32> = values(channels, 4).iter().map(|w| w.abs()).collect();
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
        let [wide_w, wide_x, wide_y, wide_g] = [&weights, &x, &y, &g].map(|values| wide(values));
        let value = written_by(rows, |out| unit_feature_distance(rows, &weights, &x, &y, out));
        near(&value, &naive_distance(rows, &wide_w, &wide_x, &wide_y));
        let grad =
            written_by(rows * dim, |out| unit_feature_distance_backward(rows, &weights, &x, &y, &g, out));
        near(&grad, &naive_backward(rows, &wide_w, &wide_x, &wide_y, &wide_g));
        for isa in Isa::available() {
            let of = |isa| {
                let grad = written_by(dim, |grad| {
                    image_gradient(isa, 0.7, &weights, &x[..dim], &y[..dim], grad);
                });
                (image_sum(isa, &weights, &x[..dim], &y[..dim]), grad)
            };
            assert_eq!(of(isa), of(Isa::Portable), "{isa:?} {case:?}: all give the same bits");
        }
    }
}

#[test]
fn the_naive_gradient_is_that_of_central_differences() {
    let (rows, dim) = (3, 12);
    let (x, y) = (wide(&values(rows * dim, 1)), wide(&values(rows * dim, 2)));
    let grad_out = [0.7, -1.3, 2.1];
    for weights in [&[1.0; 3][..], &[1.0; 4], &[0.3, 1.7, 0.0, 0.9]] {
        let grad = naive_backward(rows, weights, &x, &y, &grad_out);
        let loss = |x: &[f64]| weighted_sum(&naive_distance(rows, weights, x, &y), &grad_out);
        assert_gradient(loss, &x, &grad, &weights);
    }
}

#[test]
fn no_images_have_no_distances_and_no_number_is_told() {
    unit_feature_distance(0, &[1.0; 3], &[], &[], &mut []);
    let found = written_by(1, |out| unit_feature_distance(1, &[1.0; 2], &[f32::NAN, 1.0], &[1.0; 2], out));
    assert!(found[0].is_nan());
}
