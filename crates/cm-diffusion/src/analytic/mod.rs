//! Densities whose denoiser and probability flow are known: the test bench of solvers, samplers and metrics, and a
//! teacher that needs no training.
//!
//! * [`GaussianMixture`]: exact density, score, denoiser, samples, and flow endpoints.
//! * [`ExactConsistency`]: the consistency function of a mixture.
//! * [`Empirical`]: the exact denoiser of a finite training set.
//! * [`MixtureConfig`]: standard layouts.
//!
//! All sums are in `f64`; results are rounded once when they enter an image batch.

mod dormand_prince;
mod empirical;
mod flow;
mod gaussian_mixture;
mod layout;

pub use empirical::Empirical;
pub use flow::{ExactConsistency, FlowError};
pub use gaussian_mixture::{GaussianMixture, MixtureError};
pub use layout::MixtureConfig;

/// Replaces logarithms of weights by the weights, normalised to a sum of 1; returns the logarithm of their sum.
/// Minus infinity stands for weight 0; at least one entry must be finite.
fn normalise_logs(logs: &mut [f64]) -> f64 {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for log in logs.iter_mut() {
        *log = libm::exp(*log - largest);
        sum += *log;
    }
    logs.iter_mut().for_each(|weight| *weight /= sum);
    largest + libm::log(sum)
}

/// |a - b|^2.
fn squared_distance(a: impl IntoIterator<Item = f64>, b: impl IntoIterator<Item = f64>) -> f64 {
    a.into_iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests;
