//! The truth, pixel by pixel and from the definition.

use super::LENGTH_EPS;

fn length(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() + LENGTH_EPS
}

pub(super) fn unit_feature_distance(rows: usize, weights: &[f32], x: &[f32], y: &[f32]) -> Vec<f64> {
    let (channels, dim) = (weights.len(), x.len() / rows);
    let images = x.chunks(dim).zip(y.chunks(dim));
    let of_image = |(x, y): (&[f32], &[f32])| {
        let pixels = x.chunks(channels).zip(y.chunks(channels));
        let of_pixel = |(x, y): (&[f32], &[f32])| {
            let (nx, ny) = (length(x), length(y));
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
pub(super) fn unit_feature_distance_backward(
    rows: usize,
    weights: &[f32],
    x: &[f32],
    y: &[f32],
    grad_out: &[f32],
) -> Vec<f64> {
    let (channels, dim) = (weights.len(), x.len() / rows);
    let pixels = (dim / channels) as f64;
    let mut grad = Vec::with_capacity(x.len());
    for (pixel, (x, y)) in x.chunks(channels).zip(y.chunks(channels)).enumerate() {
        let scale = f64::from(grad_out[pixel * channels / dim]) / pixels;
        let (nx, ny) = (length(x), length(y));
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
