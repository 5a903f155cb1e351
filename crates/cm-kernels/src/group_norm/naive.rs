//! The truth: the definition, generic over the float, one value at a time.

use super::GroupNormShape;
use crate::elementwise::testing::Real;

/// gamma, beta, and scale and shift per image.
pub(super) struct Parameters<'a, F> {
    pub(super) gamma: &'a [F],
    pub(super) beta: &'a [F],
    pub(super) film: Option<(&'a [F], &'a [F])>,
}

/// Gradients in x, gamma, beta, scale and shift.
pub(super) struct Gradients<F> {
    pub(super) x: Vec<F>,
    pub(super) gamma: Vec<F>,
    pub(super) beta: Vec<F>,
    pub(super) scale: Vec<F>,
    pub(super) shift: Vec<F>,
}

/// (mean, reciprocal standard deviation) of group `g` of image `n`, and the indices of its elements.
fn group<F: Real>(shape: &GroupNormShape, x: &[F], n: usize, g: usize) -> (F, F, Vec<usize>) {
    let GroupNormShape { pixels, channels, groups, eps, .. } = *shape;
    let size = channels / groups;
    let indices: Vec<usize> = (0..pixels)
        .flat_map(|p| (g * size..(g + 1) * size).map(move |c| (n * pixels + p) * channels + c))
        .collect();
    let count = F::of(indices.len() as f64);
    let mean = indices.iter().fold(F::of(0.0), |s, &i| s + x[i]) / count;
    let variance = indices.iter().fold(F::of(0.0), |s, &i| s + (x[i] - mean) * (x[i] - mean)) / count;
    (mean, F::of(1.0) / (variance + F::of(f64::from(eps))).sqrt(), indices)
}

/// Value before the activation, from the normalised one.
fn modulated<F: Real>(parameters: &Parameters<F>, channels: usize, n: usize, c: usize, normal: F) -> F {
    let v = normal * parameters.gamma[c] + parameters.beta[c];
    parameters
        .film
        .map_or(v, |(scale, shift)| v * (F::of(1.0) + scale[n * channels + c]) + shift[n * channels + c])
}

fn sigmoid<F: Real>(v: F) -> F {
    F::of(1.0) / (F::of(1.0) + (-v).exp())
}

/// Output and statistics.
pub(super) fn forward<F: Real>(
    shape: &GroupNormShape,
    x: &[F],
    parameters: &Parameters<F>,
    silu: bool,
) -> (Vec<F>, Vec<F>) {
    let (mut out, mut stats) = (vec![F::of(f64::NAN); x.len()], Vec::new());
    for n in 0..shape.batch {
        for g in 0..shape.groups {
            let (mean, rstd, indices) = group(shape, x, n, g);
            stats.extend([mean, rstd]);
            for i in indices {
                let v = modulated(parameters, shape.channels, n, i % shape.channels, (x[i] - mean) * rstd);
                out[i] = if silu { v * sigmoid(v) } else { v };
            }
        }
    }
    (out, stats)
}

/// All gradients by the chain rule.
pub(super) fn backward<F: Real>(
    shape: &GroupNormShape,
    x: &[F],
    parameters: &Parameters<F>,
    silu: bool,
    grad_out: &[F],
) -> Gradients<F> {
    let (zero, one, channels) = (F::of(0.0), F::of(1.0), shape.channels);
    let per_image = vec![zero; shape.batch * channels];
    let mut grads = Gradients {
        x: vec![zero; x.len()],
        gamma: vec![zero; channels],
        beta: vec![zero; channels],
        scale: per_image.clone(),
        shift: per_image,
    };
    for n in 0..shape.batch {
        for g in 0..shape.groups {
            let (mean, rstd, indices) = group(shape, x, n, g);
            let count = F::of(indices.len() as f64);
            // Gradient in the normalised value of each element, and its two means.
            let mut normal_grads = Vec::new();
            let (mut mean_grad, mut mean_product) = (zero, zero);
            for &i in &indices {
                let c = i % channels;
                let normal = (x[i] - mean) * rstd;
                let v = modulated(parameters, channels, n, c, normal);
                let slope = sigmoid(v) * (one + v * (one - sigmoid(v)));
                let dv = if silu { grad_out[i] * slope } else { grad_out[i] };
                let gain = parameters.film.map_or(one, |(scale, _)| one + scale[n * channels + c]);
                grads.shift[n * channels + c] += dv;
                grads.scale[n * channels + c] += dv * (normal * parameters.gamma[c] + parameters.beta[c]);
                grads.gamma[c] += dv * gain * normal;
                grads.beta[c] += dv * gain;
                let dn = dv * gain * parameters.gamma[c];
                mean_grad += dn / count;
                mean_product += dn * normal / count;
                normal_grads.push(dn);
            }
            for (&i, dn) in indices.iter().zip(normal_grads) {
                grads.x[i] = rstd * (dn - mean_grad - (x[i] - mean) * rstd * mean_product);
            }
        }
    }
    grads
}
