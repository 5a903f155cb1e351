//! Which network, as data.

use crate::Preset;
use crate::block_config::{HeadsConfig, ResamplingConfig};
use crate::edm2_config::Edm2Config;
use crate::limits::MOST_WIDTH;
use crate::problem::Problems;
use serde::{Deserialize, Serialize};

// What is as ever is not written: plans and files of before stay the same text.
fn is_false(value: &bool) -> bool {
    !*value
}

fn is_one(value: &usize) -> bool {
    *value == 1
}

fn is_four(value: &usize) -> bool {
    *value == 4
}

/// The architectures there are. A [`Preset`] may stand for one in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub enum NetworkConfig {
    /// U-Net in the manner of DDPM++ and NCSN++, for images.
    UNet(UNetConfig),
    /// U-Net of ADM, for images.
    Adm(AdmConfig),
    /// U-Net of EDM2, for images.
    Edm2(Edm2Config),
    /// Residual multi-layer perceptron, for vectors.
    Mlp(MlpConfig),
}

/// What may be written: an architecture, or the name of a preset, which is replaced by what it stands for at once.
#[derive(Deserialize)]
#[serde(rename = "NetworkConfig", deny_unknown_fields)]
enum Written {
    UNet(UNetConfig),
    Adm(AdmConfig),
    Edm2(Edm2Config),
    Mlp(MlpConfig),
    /// `UNet` with the settings of NCSN++ for CIFAR-10 (Karras et al. 2022, Table 7).
    NcsnppCifar10,
    /// `UNet` with the settings of DDPM++ for CIFAR-10, which are its defaults (Karras et al. 2022, Table 7).
    DdpmppCifar10,
    /// `Adm` with the settings for ImageNet 64x64, which are its defaults (Song et al. 2023).
    AdmImagenet64,
    /// `Adm` with the settings for LSUN 256x256 (Song et al. 2023).
    AdmLsun256,
}

impl From<Written> for NetworkConfig {
    fn from(written: Written) -> Self {
        match written {
            Written::UNet(config) => Self::UNet(config),
            Written::Adm(config) => Self::Adm(config),
            Written::Edm2(config) => Self::Edm2(config),
            Written::Mlp(config) => Self::Mlp(config),
            Written::NcsnppCifar10 => Preset::NcsnppCifar10.config(),
            Written::DdpmppCifar10 => Preset::DdpmppCifar10.config(),
            Written::AdmImagenet64 => Preset::AdmImagenet64.config(),
            Written::AdmLsun256 => Preset::AdmLsun256.config(),
        }
    }
}

impl Preset {
    /// The configuration it stands for.
    pub fn config(self) -> NetworkConfig {
        match self {
            Self::NcsnppCifar10 => NetworkConfig::UNet(UNetConfig {
                embedding: EmbeddingConfig::Fourier(FourierConfig::default()),
                resampling: ResamplingConfig::Fir,
                input_pyramid: true,
                ..UNetConfig::default()
            }),
            Self::DdpmppCifar10 => NetworkConfig::UNet(UNetConfig::default()),
            Self::AdmImagenet64 => NetworkConfig::Adm(AdmConfig::default()),
            Self::AdmLsun256 => NetworkConfig::Adm(AdmConfig {
                channels: 256,
                multipliers: vec![1, 1, 2, 2, 4, 4],
                blocks: 2,
                scale_shift: false,
                ..AdmConfig::default()
            }),
        }
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self::UNet(UNetConfig::default()) // the paper's networks are U-Nets
    }
}

/// DDPM++ and NCSN++ of Song et al. 2021 as Karras et al. 2022 use them (their Table 7). The defaults are DDPM++.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels of the widest resolution, before multiplication; a multiple of 4. No resolution has more than
    /// [`MOST_CHANNELS`](crate::MOST_CHANNELS).
    pub channels: usize,
    /// Factor of `channels` at each resolution, widest first, each at least 1; each further one halves height and width.
    pub multipliers: Vec<usize>,
    /// Residual blocks at each resolution on the way down, at most [`MOST_BLOCKS`](crate::MOST_BLOCKS) in all; one more on the way up.
    pub blocks: usize,
    /// Heights of the resolutions that have self-attention, in pixels, any; one that no resolution has does nothing.
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
    /// How blocks change the resolution.
    pub resampling: ResamplingConfig,
    /// Whether the reduced input joins the way down at every resolution (NCSN++'s residual input pyramid).
    pub input_pyramid: bool,
    /// Whether the input, halved, is projected and added at every resolution of the way down, instead (Karras et al.
    /// 2022, SongUNet: encoder_type "skip").
    #[serde(skip_serializing_if = "is_false")]
    pub input_skip: bool,
    /// Whether every resolution of the way up adds to the doubled output of the one below, instead of the widest alone
    /// giving it (SongUNet: decoder_type "skip").
    #[serde(skip_serializing_if = "is_false")]
    pub output_skip: bool,
    /// Values of the embedded noise level for each of `channels`, 1 to [`MOST_WIDTH`](crate::MOST_WIDTH).
    #[serde(skip_serializing_if = "is_four")]
    pub embedding_multiplier: usize,
    /// Whether training keeps only the inputs of blocks, and computes the rest again on its way back: less memory for a
    /// third more time. Gradients are the same up to the order of sums.
    pub recompute: bool,
}

impl Default for UNetConfig {
    fn default() -> Self {
        Self {
            channels: 128,                           // Karras et al. 2022, Table 7, CIFAR-10
            multipliers: vec![2, 2, 2],              // Karras et al. 2022, Table 7, CIFAR-10
            blocks: 4,                               // Karras et al. 2022, Table 7, CIFAR-10
            attention: vec![16],                     // Karras et al. 2022, Table 7, CIFAR-10
            heads: 1,                                // Karras et al. 2022, Table 7, CIFAR-10
            dropout: 0.0,                            // Song et al. 2023, Table 3 (their EDM teacher had 0.13)
            embedding: EmbeddingConfig::default(),   // beside that type
            film: false,                             // Karras et al. 2022, Table 7: DDPM++ shifts
            resampling: ResamplingConfig::default(), // beside that type
            input_pyramid: false,                    // Karras et al. 2022, Table 7: NCSN++ only
            input_skip: false,                       // Karras et al. 2022, Table 7: neither
            output_skip: false,                      // Karras et al. 2022, Table 7: neither
            embedding_multiplier: 4,                 // Song et al. 2021, as all networks here
            recompute: false,                        // ours: memory is seldom short
        }
    }
}

/// The U-Net of ADM (Dhariwal and Nichol 2021), as Song et al. 2023 use it for ImageNet and LSUN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmConfig {
    /// Channels of the widest resolution, before multiplication; a multiple of 32, and of 4 with `small_groups`. No
    /// resolution has more than [`MOST_CHANNELS`](crate::MOST_CHANNELS).
    pub channels: usize,
    /// Factor of `channels` at each resolution, widest first, each at least 1; each further one halves height and width.
    pub multipliers: Vec<usize>,
    /// Residual blocks at each resolution on the way down, at most [`MOST_BLOCKS`](crate::MOST_BLOCKS) in all; one more on the way up.
    pub blocks: usize,
    /// Heights of the resolutions that have self-attention on both ways, in pixels, any; one that no resolution has does
    /// nothing. The middle always has it.
    pub attention: Vec<usize>,
    /// Attention heads.
    pub heads: HeadsConfig,
    /// Share of values dropped inside residual blocks while training, in [0, 1).
    pub dropout: f32,
    /// Factor of c_noise before the sines and cosines, > 0.
    pub embedding_scale: f32,
    /// Whether the noise level scales and shifts behind the second normalisation of a block, instead of shifting
    /// before it.
    pub scale_shift: bool,
    /// Whether resolutions change inside residual blocks, instead of by a convolution of stride 2 and by one behind
    /// repeated pixels.
    pub resample_in_blocks: bool,
    /// Whether a norm of fewer than 128 channels has groups of at least 4 channels, instead of 32 groups (Karras et al.
    /// 2022, DhariwalUNet).
    #[serde(skip_serializing_if = "is_false")]
    pub small_groups: bool,
    /// As [`UNetConfig::embedding_multiplier`].
    #[serde(skip_serializing_if = "is_four")]
    pub embedding_multiplier: usize,
    /// As [`UNetConfig::recompute`].
    pub recompute: bool,
}

impl Default for AdmConfig {
    fn default() -> Self {
        Self {
            channels: 192,                    // Song et al. 2023, ImageNet 64x64
            multipliers: vec![1, 2, 3, 4],    // Song et al. 2023, ImageNet 64x64
            blocks: 3,                        // Song et al. 2023, ImageNet 64x64
            attention: vec![32, 16, 8],       // Song et al. 2023, ImageNet 64x64
            heads: HeadsConfig::Channels(64), // Song et al. 2023, ImageNet 64x64
            dropout: 0.0,                     // Song et al. 2023, Table 3 (their EDM teacher had 0.1)
            embedding_scale: 1000.0,          // the released weights: 1000 x 0.25 ln sigma
            scale_shift: true,                // Song et al. 2023, ImageNet 64x64
            resample_in_blocks: true,         // Song et al. 2023, ImageNet 64x64
            small_groups: false,              // Dhariwal and Nichol 2021: 32 groups
            embedding_multiplier: 4,          // Dhariwal and Nichol 2021, Section 3
            recompute: false,                 // ours: memory is seldom short
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
    Fourier(FourierConfig),
}

impl Default for EmbeddingConfig {
    fn default() -> Self {
        Self::Positional(ScaleConfig::default()) // Karras et al. 2022, Table 7, DDPM++
    }
}

/// Random frequencies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FourierConfig {
    /// Standard deviation of the frequencies, > 0.
    pub scale: f32,
    /// Sines and cosines for each channel of the network, 1 to [`MOST_WIDTH`](crate::MOST_WIDTH).
    pub width: usize,
}

impl Default for FourierConfig {
    fn default() -> Self {
        Self {
            scale: 16.0, // Song et al. 2021, NCSN++
            width: 2,    // Karras et al. 2022, Table 7, NCSN++
        }
    }
}

/// The scale of an embedding's input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaleConfig {
    /// Factor before the sines and cosines, > 0. The released ImageNet and LSUN weights use 1000.
    pub scale: f32,
    /// Sines and cosines for each channel of the network, 1 to [`MOST_WIDTH`](crate::MOST_WIDTH).
    #[serde(skip_serializing_if = "is_one")]
    pub width: usize,
}

impl Default for ScaleConfig {
    fn default() -> Self {
        Self {
            scale: 1.0, // Karras et al. 2022: c_noise enters as it is
            width: 1,   // Karras et al. 2022, Table 7, DDPM++
        }
    }
}

/// A residual multi-layer perceptron whose every block sees the noise level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Values of a hidden layer, a multiple of 4, at most [`MOST_CHANNELS`](crate::MOST_CHANNELS).
    pub width: usize,
    /// Residual blocks, 1 to [`MOST_BLOCKS`](crate::MOST_BLOCKS).
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
            dropout: 0.0,                          // ours: such networks are small
            embedding: EmbeddingConfig::default(), // beside that type
        }
    }
}

impl NetworkConfig {
    /// The same function of weights and images, without what only training knows: dropout and recomputation.
    pub fn without_training(&self) -> Self {
        match self {
            Self::UNet(config) => Self::UNet(UNetConfig { dropout: 0.0, recompute: false, ..config.clone() }),
            Self::Adm(config) => Self::Adm(AdmConfig { dropout: 0.0, recompute: false, ..config.clone() }),
            Self::Edm2(config) => Self::Edm2(Edm2Config { dropout: 0.0, recompute: false, ..config.clone() }),
            Self::Mlp(config) => Self::Mlp(MlpConfig { dropout: 0.0, ..config.clone() }),
        }
    }

    /// The same network with another share of values dropped in training, checked where it is built.
    pub fn with_dropout(self, dropout: f32) -> Self {
        match self {
            Self::UNet(config) => Self::UNet(UNetConfig { dropout, ..config }),
            Self::Adm(config) => Self::Adm(AdmConfig { dropout, ..config }),
            Self::Edm2(config) => Self::Edm2(Edm2Config { dropout, ..config }),
            Self::Mlp(config) => Self::Mlp(MlpConfig { dropout, ..config }),
        }
    }

    /// The same network, with [recomputation](UNetConfig::recompute) in training or without it; perceptrons have none.
    pub fn recomputed(self, recompute: bool) -> Self {
        match self {
            Self::UNet(config) => Self::UNet(UNetConfig { recompute, ..config }),
            Self::Adm(config) => Self::Adm(AdmConfig { recompute, ..config }),
            Self::Edm2(config) => Self::Edm2(Edm2Config { recompute, ..config }),
            Self::Mlp(config) => Self::Mlp(config),
        }
    }
}

impl EmbeddingConfig {
    pub(crate) fn check(self, problems: &mut Problems) {
        let (scale, width) = match self {
            Self::Positional(ScaleConfig { scale, width }) => (scale, width),
            Self::Fourier(FourierConfig { scale, width }) => (scale, width),
        };
        let holds = scale > 0.0 && scale.is_finite();
        problems.unless(holds, "embedding.scale", scale, "a finite number above 0");
        problems.unless(
            (1..=MOST_WIDTH).contains(&width),
            "embedding.width",
            width,
            format!("1 to {MOST_WIDTH}"),
        );
    }
}
