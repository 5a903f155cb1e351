//! The differentiable operations, one concept a file. Arithmetic is in `cm-kernels`; here are shapes and gradients.
//!
//! Shapes that do not fit are a mistake in a network's code, not in anybody's input: operations panic on them.

mod activation;
mod attention;
mod channels;
mod combine;
mod conv2d;
mod cross_entropy;
#[cfg(test)]
mod device_tests;
mod distance;
mod dropout;
mod group_norm;
mod linear;
mod magnitude;
mod pool;
mod resample;
mod reshape;
#[cfg(test)]
mod tangent_tests;
#[cfg(test)]
mod tests;

pub use activation::{relu, silu};
pub use attention::attention;
pub use channels::affine_channels;
pub use combine::{add, blend, concat};
pub use conv2d::{Conv2d, conv2d};
pub use cross_entropy::cross_entropy;
pub use distance::{PairDistance, feature_distance, pair_distance, weighted_feature_distance};
pub use dropout::dropout;
pub use group_norm::group_norm;
pub use linear::linear;
pub use magnitude::{clamp, modulate, pixel_norm};
pub use pool::{average_pool, global_average, max_pool};
pub use resample::{average_down, bilinear, fir_down, fir_smooth, fir_up, nearest_up};
pub use reshape::{as_images, as_matrix};
