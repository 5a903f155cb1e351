//! The networks of Karras et al. 2022 under their own names: SongUNet and DhariwalUNet.

mod filters;
mod infer;
mod names;
#[cfg(test)]
mod tests;
mod wrapper;

pub(crate) use filters::check_filters;
pub(super) use infer::{given, infer};
pub(super) use names::naming;
