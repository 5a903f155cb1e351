//! The network of Karras et al. 2024 as data.

use crate::block_config::{HeadsConfig, ResamplingConfig};
use serde::{Deserialize, Serialize};

/// The U-Net of Karras et al. 2024 (EDM2, configuration G), which preserves magnitudes. Its weights are those that act:
/// normalised, and with the factors of its activations and sums in them. So a file's weights are normalised once, when
/// they are imported, and training here does not force them to be so again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edm2Config {
    /// Channels of the widest resolution, before multiplication; a multiple of 4.
    pub channels: usize,
    /// Factor of `channels` at each resolution, widest first, each at least 1; each further one halves height and width.
    pub multipliers: Vec<usize>,
    /// Residual blocks at each resolution on the way down, at most [`MOST_BLOCKS`](crate::MOST_BLOCKS) in all; one more on
    /// the way up.
    pub blocks: usize,
    /// Heights of the resolutions that have self-attention on both ways, in pixels, any; one that no resolution has does
    /// nothing. The middle has it as well.
    pub attention: Vec<usize>,
    /// Attention heads.
    pub heads: HeadsConfig,
    /// Share of values dropped inside residual blocks while training, in [0, 1).
    pub dropout: f32,
    /// Cosines of the noise level, 1 to [`MOST_CHANNELS`](crate::MOST_CHANNELS).
    pub waves: usize,
    /// Values of the embedding, 1 to [`MOST_CHANNELS`](crate::MOST_CHANNELS).
    pub embedding: usize,
    /// How blocks change the resolution.
    pub resampling: ResamplingConfig,
    /// Weight of the class in the embedding, in [0, 1).
    pub label_balance: f32,
    /// Weight of a residual branch, in [0, 1).
    pub residual_balance: f32,
    /// Weight of attention, in [0, 1).
    pub attention_balance: f32,
    /// Weight of what is kept from the way down beside what comes from below, in (0, 1).
    pub concat_balance: f32,
    /// Largest value behind a block, > 0.
    pub clamp: f32,
    /// As [`UNetConfig::recompute`](crate::UNetConfig::recompute).
    pub recompute: bool,
}

impl Default for Edm2Config {
    fn default() -> Self {
        Self {
            channels: 192,                           // Karras et al. 2024, Table 6, EDM2-S
            multipliers: vec![1, 2, 3, 4],           // Karras et al. 2024, Table 6
            blocks: 3,                               // Karras et al. 2024, Table 6
            attention: vec![16, 8],                  // Karras et al. 2024, Table 6
            heads: HeadsConfig::Whole(64),           // Karras et al. 2024, Appendix B
            dropout: 0.0,                            // Karras et al. 2024, Table 6, EDM2-S
            waves: 192,                              // Karras et al. 2024, Figure 21: as many as channels
            embedding: 768,                          // Karras et al. 2024, Figure 21: the most channels
            resampling: ResamplingConfig::default(), // Karras et al. 2024, Figure 21
            label_balance: 0.5,                      // Karras et al. 2024, Appendix B
            residual_balance: 0.3,                   // Karras et al. 2024, Appendix B
            attention_balance: 0.3,                  // Karras et al. 2024, Appendix B
            concat_balance: 0.5,                     // Karras et al. 2024, Appendix B
            clamp: 256.0,                            // the original code
            recompute: false,                        // ours: memory is seldom short
        }
    }
}
