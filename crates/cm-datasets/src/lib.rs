//! Images by index, and the order in which training sees them.
//!
//! A [`Dataset`] is a list of images with optional labels. [`Digits`] is shipped inside the program;
//! [`GaussianMixtureDataset`] and [`SwissRoll`] are generated from a seed, so every data set here is always
//! available. [`Subset`] wraps a data set; [`Loader`] turns one into an endless stream of batches that is a pure
//! function of a seed and the position, so that a resumed run needs no state.
//!
//! Deliberately absent: networks, training, noise, downloads. This crate knows `cm-image`, and `cm-diffusion` for
//! the analytic mixture: there data, exact denoiser and exact metric are one object.

mod dataset;
mod digits;
mod gaussian_mixture;
mod loader;
mod swiss_roll;
mod transform;

pub use dataset::{Dataset, DatasetConfig, DatasetError, Split, sigma_data};
pub use digits::{Digits, DigitsConfig};
pub use gaussian_mixture::{GaussianMixtureConfig, GaussianMixtureDataset};
pub use loader::Loader;
pub use swiss_roll::{SwissRoll, SwissRollConfig};
pub use transform::{Subset, flip_horizontally};
