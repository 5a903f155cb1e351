//! Images by index, and the order in which training sees them.
//!
//! A [`Dataset`] is a list of images with optional labels. [`Digits`] is shipped inside the program;
//! [`GaussianMixtureDataset`] and [`SwissRoll`] are generated from a seed, so these are always available. Images that
//! people have are read where they lie ([`SourceConfig`]: CIFAR-10, downsampled ImageNet, folders, EDM's ZIP files,
//! MNIST and its like, NumPy archives), or once turned into the [`prepared`] form, from which any number of them is
//! streamed. [`Subset`] wraps a data set; [`Loader`] turns one into an endless stream of batches that is a pure
//! function of a seed and the position, so that a resumed run needs no state; [`Prefetch`] reads batches while the
//! one before is trained on.
//!
//! Deliberately absent: networks, training, noise, downloads. This crate knows `cm-image`, `cm-import` for
//! pickles, `cm-jpeg`, `cm-host` for whole and sealed files, and `cm-diffusion` for the analytic mixture: there data, exact denoiser and exact metric are one object.

mod config;
mod dataset;
mod digits;
mod gaussian_mixture;
mod loader;
mod order;
mod outline;
mod pixel_table;
mod prefetch;
pub mod prepared;
mod source;
mod summary;
mod swiss_roll;
mod transform;

pub use config::DatasetConfig;
pub use dataset::{Dataset, DatasetError, Split, sigma_data};
pub use digits::{Digits, DigitsConfig};
pub use gaussian_mixture::{GaussianMixtureConfig, GaussianMixtureDataset, MOST_POINTS};
pub use loader::Loader;
pub use outline::{Expectation, Outline};
pub use prefetch::Prefetch;
pub use prepared::{Prepared, PreparedConfig};
pub use source::{About, Format, LabelRule, Orientation, SourceConfig, is_image, read_image};
pub use summary::Summary;
pub use swiss_roll::{SwissRoll, SwissRollConfig};
pub use transform::{Subset, flip_horizontally};
