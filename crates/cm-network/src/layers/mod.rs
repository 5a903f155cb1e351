//! The pieces networks are made of. A layer knows which arrays of a set of weights are its own.

mod adm_block;
mod attention;
mod conv2d;
mod embedding;
mod group_norm;
mod linear;
mod residual_block;
mod residual_branch;

pub(crate) use adm_block::AdmBlock;
pub(crate) use attention::SelfAttention;
pub(crate) use conv2d::{Conv2d, Epilogue};
pub(crate) use embedding::{Embedding, Manner, one_hot, told_changes};
pub(crate) use group_norm::{GroupNorm, Grouping};
pub(crate) use linear::Linear;
pub(crate) use residual_block::{BlockContext, ResidualBlock};
pub(crate) use residual_branch::{BranchContext, Resample, ResidualBranch};
