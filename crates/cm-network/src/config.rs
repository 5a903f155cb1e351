//! Which network, as data.

use serde::{Deserialize, Serialize};

/// The architectures there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum NetworkConfig {
    /// DDPM++-style U-Net, for images.
    UNet(UNetConfig),
    /// Residual multi-layer perceptron, for vectors.
    Mlp(MlpConfig),
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self::UNet(UNetConfig::default()) // the paper's networks are U-Nets
    }
}

/// DDPM++ of Song et al. 2021 as Karras et al. 2022 use it (their Table 7, "DDPM++").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels of the widest resolution, before multiplication; a multiple of 4.
    pub channels: usize,
    /// Factor of `channels` at each resolution, widest first; each further one halves height and width.
    pub multipliers: Vec<usize>,
    /// Residual blocks at each resolution on the way down; one more on the way up.
    pub blocks: usize,
    /// Heights (in pixels) of the resolutions that have self-attention.
    pub attention: Vec<usize>,
    /// Attention heads; divides the channels wherever there is attention.
    pub heads: usize,
    /// Share of values dropped inside residual blocks while training, in [0, 1).
    pub dropout: f32,
    /// How a noise level enters.
    pub embedding: EmbeddingConfig,
    /// Whether it scales and shifts behind the second normalisation of a block (ADM's scale-shift norm), instead of
    /// shifting before it.
    pub film: bool,
}

impl Default for UNetConfig {
    fn default() -> Self {
        Self {
            channels: 128,                         // Karras et al. 2022, Table 7, CIFAR-10
            multipliers: vec![2, 2, 2],            // Karras et al. 2022, Table 7, CIFAR-10
            blocks: 4,                             // Karras et al. 2022, Table 7, CIFAR-10
            attention: vec![16],                   // Karras et al. 2022, Table 7, CIFAR-10
            heads: 1,                              // Karras et al. 2022, Table 7, CIFAR-10
            dropout: 0.0,                          // Song et al. 2023, Table 3 (their EDM teacher had 0.13)
            embedding: EmbeddingConfig::default(), // beside that type
            film: false,                           // Karras et al. 2022, Table 7: DDPM++ shifts
        }
    }
}

/// How the number c_noise becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum EmbeddingConfig {
    /// Sines and cosines of `scale` x c_noise at frequencies falling geometrically from 1 to 1/10,000.
    Positional(ScaleConfig),
    /// Sines and cosines of 2 pi w c_noise with fixed w ~ N(0, `scale`^2).
    Fourier(ScaleConfig),
}

impl Default for EmbeddingConfig {
    fn default() -> Self {
        Self::Positional(ScaleConfig::default()) // Karras et al. 2022, Table 7, DDPM++
    }
}

/// The scale of an embedding's input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaleConfig {
    /// Factor before the sines and cosines, > 0. The released ImageNet and LSUN weights use 1000.
    pub scale: f32,
}

impl Default for ScaleConfig {
    fn default() -> Self {
        Self {
            scale: 1.0, // Karras et al. 2022: c_noise enters as it is
        }
    }
}

/// A residual multi-layer perceptron whose every block sees the noise level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Values of a hidden layer, a multiple of 4.
    pub width: usize,
    /// Residual blocks, at least 1.
    pub blocks: usize,
    /// Share of values dropped inside blocks while training, in [0, 1).
    pub dropout: f32,
    /// How a noise level enters.
    pub embedding: EmbeddingConfig,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            width: 128,                            // our choice: 2-d mixtures, see experiments/gmm2.ron
            blocks: 3,                             // our choice, as above
            dropout: 0.0,                          // as UNetConfig
            embedding: EmbeddingConfig::default(), // beside that type
        }
    }
}

/// Why a network cannot be built: every number that is out of its range or does not fit the images, at least one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct NetworkConfigError(pub Vec<NetworkProblem>);

/// A number that is out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {given}: {allowed}")]
pub struct NetworkProblem {
    /// Path of the field inside the configuration.
    pub field: &'static str,
    /// The value given.
    pub given: String,
    /// What is allowed.
    pub allowed: String,
}

/// Collects what is wrong with a configuration.
#[derive(Default)]
pub(crate) struct Problems(Vec<NetworkProblem>);

impl Problems {
    /// Notes a problem unless the condition holds.
    pub(crate) fn unless(
        &mut self,
        holds: bool,
        field: &'static str,
        given: impl std::fmt::Debug,
        allowed: impl Into<String>,
    ) {
        if !holds {
            self.0.push(NetworkProblem { field, given: format!("{given:?}"), allowed: allowed.into() });
        }
    }

    /// # Errors
    /// If anything was noted.
    pub(crate) fn none(self) -> Result<(), NetworkConfigError> {
        if self.0.is_empty() { Ok(()) } else { Err(NetworkConfigError(self.0)) }
    }
}

impl EmbeddingConfig {
    pub(crate) fn check(self, problems: &mut Problems) {
        let (Self::Positional(ScaleConfig { scale }) | Self::Fourier(ScaleConfig { scale })) = self;
        let holds = scale > 0.0 && scale.is_finite();
        problems.unless(holds, "embedding.scale", scale, "a finite number above 0");
    }
}
