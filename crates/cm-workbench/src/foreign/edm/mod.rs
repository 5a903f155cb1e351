//! The networks of Karras et al. under their own names: SongUNet and DhariwalUNet (2022), and EDM2's (2024).

mod edm2;
mod filters;
mod infer;
mod names;
#[cfg(test)]
mod tests;
mod wrapper;

pub(super) use edm2::{infer as infer_edm2, naming as naming_edm2};
pub(crate) use filters::check_filters;
pub(super) use infer::{given, infer};
pub(super) use names::naming;
