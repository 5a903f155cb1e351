//! Fixed networks whose activations serve as features: for distances and for metrics. How they are trained is not
//! this crate's business; those of other programs come as [`NamedArrays`], from files where there are files.

mod arrays;
mod classifier;
#[cfg(not(target_arch = "wasm32"))]
mod file;
mod inception;
mod lpips;
mod lpips_options;
mod lpips_trunk;
#[cfg(test)]
mod tests;

pub use arrays::{ArraysError, NamedArrays};
pub use classifier::{Classifier, ClassifierOutput};
#[cfg(not(target_arch = "wasm32"))]
pub use file::{FeatureFileError, FeatureFileReason, load_inception, load_lpips};
pub use inception::{INCEPTION_SIDE, Inception, InceptionOutput};
pub use lpips::{Lpips, LpipsError};
pub use lpips_options::{LpipsOptions, LpipsPooling, LpipsResize, LpipsTrunk, LpipsVersion};
