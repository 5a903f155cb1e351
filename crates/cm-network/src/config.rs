//! Which network, as data.

use crate::Preset;
use cm_image::ImageShape;
use serde::{Deserialize, Serialize};

/// The architectures there are. A [`Preset`] may stand for one in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub enum NetworkConfig {
    /// U-Net in the manner of DDPM++ and NCSN++, for images.
    UNet(UNetConfig),
    /// U-Net of ADM, for images.
    Adm(AdmConfig),
    /// Residual multi-layer perceptron, for vectors.
    Mlp(MlpConfig),
}

/// What may be written: an architecture, or the name of a preset, which is replaced by what it stands for at once.
#[derive(Deserialize)]
#[serde(rename = "NetworkConfig", deny_unknown_fields)]
enum Written {
    UNet(UNetConfig),
    Adm(AdmConfig),
    Mlp(MlpConfig),
    NcsnppCifar10,
    DdpmppCifar10,
    AdmImagenet64,
    AdmLsun256,
}

impl From<Written> for NetworkConfig {
    fn from(written: Written) -> Self {
        match written {
            Written::UNet(config) => Self::UNet(config),
            Written::Adm(config) => Self::Adm(config),
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
    /// [`MOST_CHANNELS`].
    pub channels: usize,
    /// Factor of `channels` at each resolution, widest first; each further one halves height and width.
    pub multipliers: Vec<usize>,
    /// Residual blocks at each resolution on the way down, at most [`MOST_BLOCKS`] in all; one more on the way up.
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
    /// How blocks change the resolution.
    pub resampling: ResamplingConfig,
    /// Whether the reduced input joins the way down at every resolution (NCSN++'s residual input pyramid).
    pub input_pyramid: bool,
    /// Whether training keeps only the inputs of blocks, and computes the rest again on its way back: less memory for a
    /// third more time. Gradients are the same up to the order of sums.
    pub recompute: bool,
}

/// Channels of a resolution, and values of a hidden layer, at most: 64 times as many as the widest published network has
/// (ADM, 1024). A single 3x3 convolution between two such would take 144 GiB.
pub const MOST_CHANNELS: usize = 1 << 16;
/// Blocks on the way down in all, and of a perceptron, at most: ten times as many as the deepest published network has.
pub const MOST_BLOCKS: usize = 256;
/// Weights of a network at most, 256 GiB of them: training holds five times as much.
pub const MOST_PARAMETERS: usize = 1 << 36;

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
            recompute: false,                        // ours: memory is seldom short
        }
    }
}

/// How a block halves and doubles height and width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResamplingConfig {
    /// Means of 2x2 pixels; each pixel four times.
    #[default] // Karras et al. 2022, Table 7, DDPM++: no FIR filter
    Plain,
    /// The filter (1, 3, 3, 1) in both directions (Song et al. 2021).
    Fir,
}

/// The U-Net of ADM (Dhariwal and Nichol 2021), as Song et al. 2023 use it for ImageNet and LSUN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmConfig {
    /// Channels of the widest resolution, before multiplication; a multiple of 32. No resolution has more than
    /// [`MOST_CHANNELS`].
    pub channels: usize,
    /// Factor of `channels` at each resolution, widest first; each further one halves height and width.
    pub multipliers: Vec<usize>,
    /// Residual blocks at each resolution on the way down, at most [`MOST_BLOCKS`] in all; one more on the way up.
    pub blocks: usize,
    /// Heights (in pixels) of the resolutions that have self-attention, on both ways. The middle always has.
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
            recompute: false,                 // as UNetConfig
        }
    }
}

/// How many attention heads there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeadsConfig {
    /// So many, at every resolution.
    Count(usize),
    /// One for so many channels.
    Channels(usize),
}

impl HeadsConfig {
    /// The heads of `channels`; `None` if they cannot be shared out.
    pub(crate) fn of(self, channels: usize) -> Option<usize> {
        let heads = match self {
            Self::Count(heads) => heads,
            Self::Channels(each) => channels.checked_div(each).filter(|heads| heads * each == channels)?,
        };
        (heads > 0 && channels.is_multiple_of(heads)).then_some(heads)
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
    /// Sines and cosines for each channel of the network, 1 or 2.
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
    /// Values of a hidden layer, a multiple of 4, at most [`MOST_CHANNELS`].
    pub width: usize,
    /// Residual blocks, 1 to [`MOST_BLOCKS`].
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

    /// The factors of a U-Net's resolutions, which must fit the images, and its blocks.
    pub(crate) fn resolutions(
        &mut self,
        channels: usize,
        multipliers: &[usize],
        blocks: usize,
        shape: ImageShape,
    ) {
        let some = !multipliers.is_empty() && multipliers.iter().all(|&m| m > 0);
        self.unless(some, "multipliers", multipliers, "at least one factor, each at least 1");
        let widest = multipliers.iter().max().map_or(0, |&m| channels.saturating_mul(m));
        let narrow = channels > MOST_CHANNELS || widest <= MOST_CHANNELS;
        let allowed = format!("at most {MOST_CHANNELS} channels at a resolution ({channels} x factor)");
        self.unless(narrow, "multipliers", multipliers, allowed);
        let in_all = blocks.saturating_mul(multipliers.len());
        let allowed = format!("at least 1, and at most {MOST_BLOCKS} at all resolutions together");
        self.unless(blocks > 0 && in_all <= MOST_BLOCKS, "blocks", blocks, allowed);
        let halvings = multipliers.len().saturating_sub(1);
        let divides = |extent: usize| halvings < 32 && extent.is_multiple_of(1 << halvings);
        self.unless(
            divides(shape.height) && divides(shape.width),
            "multipliers",
            multipliers,
            format!("images of {shape} can be halved no more than their height and width divide by 2"),
        );
    }

    /// # Errors
    /// If anything was noted.
    pub(crate) fn none(self) -> Result<(), NetworkConfigError> {
        if self.0.is_empty() { Ok(()) } else { Err(NetworkConfigError(self.0)) }
    }
}

impl NetworkConfig {
    /// The same function of weights and images, without what only training knows: dropout and recomputation.
    pub fn without_training(&self) -> Self {
        match self {
            Self::UNet(config) => Self::UNet(UNetConfig { dropout: 0.0, recompute: false, ..config.clone() }),
            Self::Adm(config) => Self::Adm(AdmConfig { dropout: 0.0, recompute: false, ..config.clone() }),
            Self::Mlp(config) => Self::Mlp(MlpConfig { dropout: 0.0, ..config.clone() }),
        }
    }

    /// The same network, with [recomputation](UNetConfig::recompute) in training or without it; perceptrons have none.
    pub fn recomputed(self, recompute: bool) -> Self {
        match self {
            Self::UNet(config) => Self::UNet(UNetConfig { recompute, ..config }),
            Self::Adm(config) => Self::Adm(AdmConfig { recompute, ..config }),
            Self::Mlp(config) => Self::Mlp(config),
        }
    }
}

impl EmbeddingConfig {
    pub(crate) fn check(self, problems: &mut Problems) {
        let (scale, width) = match self {
            Self::Positional(ScaleConfig { scale }) => (scale, 1),
            Self::Fourier(FourierConfig { scale, width }) => (scale, width),
        };
        let holds = scale > 0.0 && scale.is_finite();
        problems.unless(holds, "embedding.scale", scale, "a finite number above 0");
        problems.unless((1..=2).contains(&width), "embedding.width", width, "1 or 2");
    }
}
