//! Weights under the names and in the layouts of the original programs.
//!
//! Every array of ours is made of pieces of theirs, side by side along the last axis: a kernel is one piece; queries, keys
//! and values may be three; a shift is half of one. So one table serves both directions; what is folded into weights when
//! they are read (EDM's labels, EDM2's magnitudes) has no way back. Deliberately absent: file
//! formats (`cm-import` reads them, `write.rs` writes them).

mod diffusers;
mod edm;
mod guess;
mod infer;
mod names;
mod naming;
mod own;
mod root;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use diffusers::{
    SCHEDULER, SchedulerConfig, UNET_CONFIG, UNET_WEIGHTS, UnetConfig, read as read_folder,
};
pub(crate) use edm::check_filters;
pub(crate) use guess::{Dialect, Guess, Hints};
pub(crate) use infer::infer;
pub(crate) use names::names;
pub(crate) use own::own_names;
pub(crate) use table::{Mismatches, load, targets};
pub(crate) use write::{CARD, Container, write};
