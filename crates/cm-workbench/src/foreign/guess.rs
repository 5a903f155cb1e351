//! What a file says, and what had to be assumed.

use cm_image::ImageShape;
use cm_network::{Conditions, HeadsConfig, NetworkConfig, ResamplingConfig};
use cm_study::PreconditionConfig;
use std::collections::BTreeSet;

/// In which program's manner names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// PyTorch: names joined by dots, outputs first.
    Torch,
    /// Flax: names joined by slashes, outputs last.
    Flax,
    /// PyTorch, with the names of Karras et al. 2022 and 2024.
    Edm(EdmNames),
    /// PyTorch, with the names of diffusers.
    Diffusers,
}

/// What differs between files with those names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EdmNames {
    /// Outputs for each channel of the images; of two, the first half is the image (iDDPM's learned variances follow).
    pub(crate) outputs: usize,
}

/// What is known beside the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Hints {
    /// The network.
    pub(crate) network: Option<NetworkConfig>,
    /// Height of the images: a convolution does not know it.
    pub(crate) size: Option<usize>,
    /// What the names of the wanted weights begin with.
    pub(crate) prefix: Option<String>,
    /// Heads of attention.
    pub(crate) heads: Option<HeadsConfig>,
    /// How blocks change the resolution.
    pub(crate) resampling: Option<ResamplingConfig>,
}

/// A network that fits a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guess {
    pub(crate) network: NetworkConfig,
    pub(crate) shape: ImageShape,
    pub(crate) conditions: Conditions,
    pub(crate) dialect: Dialect,
    /// What all names begin with.
    pub(crate) prefix: String,
    pub(crate) told: Told,
}

/// What a file says besides its network.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// How the network's output is used.
    pub(crate) precondition: Option<PreconditionConfig>,
    pub(crate) sigma_data: Option<f32>,
    /// The range of noise levels it supports.
    pub(crate) sigma_min: Option<f32>,
    pub(crate) sigma_max: Option<f32>,
    /// The curvature of its noise levels.
    pub(crate) rho: Option<f32>,
    /// Names, without the prefix, that belong to the network and are not needed.
    pub(crate) ignored: BTreeSet<String>,
    /// For people: what was chosen, assumed or left out.
    pub(crate) notes: Vec<String>,
}
