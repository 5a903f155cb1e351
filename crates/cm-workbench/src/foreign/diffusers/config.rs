//! The configurations of `UNet2DModel` and `CMStochasticIterativeScheduler`, field by field, and ADM's from and to them.

use cm_image::ImageShape;
use cm_network::{AdmConfig, HeadsConfig};
use cm_study::WeightsCard;
use serde::{Deserialize, Serialize};

/// Groups of a norm, of which ADM has no other number.
const GROUPS: usize = 32;
/// The factor of a quarter of the noise level's logarithm, which the scheduler works in.
const EMBEDDING_SCALE: f32 = 1000.0;

/// A resolution of the way down. Blocks of other kinds are unknown here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DownBlock {
    #[serde(rename = "DownBlock2D")]
    Plain,
    #[serde(rename = "ResnetDownsampleBlock2D")]
    Resnet,
    #[serde(rename = "AttnDownBlock2D")]
    Attention,
}

/// A resolution of the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum UpBlock {
    #[serde(rename = "UpBlock2D")]
    Plain,
    #[serde(rename = "ResnetUpsampleBlock2D")]
    Resnet,
    #[serde(rename = "AttnUpBlock2D")]
    Attention,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MidBlock {
    UNetMidBlock2D,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimeEmbedding {
    Positional,
}

/// How a resolution with attention changes to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    Conv,
    Resnet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Activation {
    Silu,
    Swish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimeShift {
    Default,
    ScaleShift,
}

/// `UNet2DModel`, with its own defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UnetConfig {
    pub(crate) sample_size: Option<usize>,
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) center_input_sample: bool,
    pub(crate) time_embedding_type: TimeEmbedding,
    pub(crate) time_embedding_dim: Option<usize>,
    pub(crate) freq_shift: f64,
    pub(crate) flip_sin_to_cos: bool,
    pub(crate) down_block_types: Vec<DownBlock>,
    pub(crate) mid_block_type: Option<MidBlock>,
    pub(crate) up_block_types: Vec<UpBlock>,
    pub(crate) block_out_channels: Vec<usize>,
    pub(crate) layers_per_block: usize,
    pub(crate) mid_block_scale_factor: f64,
    pub(crate) downsample_padding: usize,
    pub(crate) downsample_type: Change,
    pub(crate) upsample_type: Change,
    pub(crate) dropout: f32,
    pub(crate) act_fn: Activation,
    pub(crate) attention_head_dim: Option<usize>,
    pub(crate) norm_num_groups: usize,
    pub(crate) attn_norm_num_groups: Option<usize>,
    pub(crate) norm_eps: f64,
    pub(crate) resnet_time_scale_shift: TimeShift,
    pub(crate) add_attention: bool,
    pub(crate) class_embed_type: Option<String>,
    pub(crate) num_class_embeds: Option<usize>,
    pub(crate) num_train_timesteps: Option<usize>,
}

impl Default for UnetConfig {
    fn default() -> Self {
        let (down, up) = (DownBlock::Attention, UpBlock::Attention);
        // All of diffusers, models/unets/unet_2d.py.
        Self {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: TimeEmbedding::Positional,
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: vec![DownBlock::Plain, down, down, down],
            mid_block_type: Some(MidBlock::UNetMidBlock2D),
            up_block_types: vec![up, up, up, UpBlock::Plain],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: Change::Conv,
            upsample_type: Change::Conv,
            dropout: 0.0,
            act_fn: Activation::Silu,
            attention_head_dim: Some(8),
            norm_num_groups: GROUPS,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: TimeShift::Default,
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
        }
    }
}

/// `CMStochasticIterativeScheduler`, with its own defaults, which are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SchedulerConfig {
    pub(crate) num_train_timesteps: usize,
    pub(crate) sigma_min: f32,
    pub(crate) sigma_max: f32,
    pub(crate) sigma_data: f32,
    pub(crate) s_noise: f32,
    pub(crate) rho: f32,
    pub(crate) clip_denoised: bool,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        // All of diffusers, schedulers/scheduling_consistency_models.py.
        Self {
            num_train_timesteps: 40,
            sigma_min: 0.002,
            sigma_max: 80.0,
            sigma_data: 0.5,
            s_noise: 1.0,
            rho: 7.0,
            clip_denoised: true,
        }
    }
}

impl UnetConfig {
    /// The network, its images and its classes; an error names the field, its value and what is allowed.
    pub(crate) fn adm(&self) -> Result<(AdmConfig, ImageShape, Option<usize>), String> {
        let must = |holds: bool, field: &str, given: &dyn std::fmt::Debug, allowed: &str| match holds {
            true => Ok(()),
            false => Err(format!("`{field}` is {given:?}, and the networks here have {allowed}")),
        };
        must(!self.center_input_sample, "center_input_sample", &self.center_input_sample, "false")?;
        must(self.freq_shift == 0.0, "freq_shift", &self.freq_shift, "0")?;
        must(self.flip_sin_to_cos, "flip_sin_to_cos", &self.flip_sin_to_cos, "true")?;
        must(self.mid_block_type.is_some(), "mid_block_type", &self.mid_block_type, "UNetMidBlock2D")?;
        must(
            self.mid_block_scale_factor == 1.0,
            "mid_block_scale_factor",
            &self.mid_block_scale_factor,
            "1",
        )?;
        must(self.downsample_padding == 1, "downsample_padding", &self.downsample_padding, "1")?;
        must(self.norm_num_groups == GROUPS, "norm_num_groups", &self.norm_num_groups, "32")?;
        must((self.norm_eps - 1e-5).abs() < 1e-9, "norm_eps", &self.norm_eps, "1e-5")?;
        must(self.add_attention, "add_attention", &self.add_attention, "true")?;
        must(self.class_embed_type.is_none(), "class_embed_type", &self.class_embed_type, "null")?;
        must(
            self.in_channels == self.out_channels,
            "out_channels",
            &self.out_channels,
            "as many as in_channels",
        )?;
        let scale_shift = match self.resnet_time_scale_shift {
            TimeShift::Default => false,
            TimeShift::ScaleShift => true,
        };
        // Without a number there is no norm in the middle's attention where the shift also scales.
        let normed =
            self.attn_norm_num_groups == Some(GROUPS) || self.attn_norm_num_groups.is_none() && !scale_shift;
        must(normed, "attn_norm_num_groups", &self.attn_norm_num_groups, "32")?;
        let size = self.sample_size.ok_or("`sample_size` is null, and the size of the images is needed")?;
        let (Some(&channels), levels) = (self.block_out_channels.first(), self.block_out_channels.len())
        else {
            return Err("`block_out_channels` is empty".to_owned());
        };
        let whole =
            channels > 0 && self.block_out_channels.iter().all(|width| width.is_multiple_of(channels));
        must(whole, "block_out_channels", &self.block_out_channels, "multiples of the first")?;
        let (down, up) = (&self.down_block_types, &self.up_block_types);
        must(down.len() == levels, "down_block_types", down, "as many as block_out_channels")?;
        must(up.len() == levels, "up_block_types", up, "as many as block_out_channels")?;
        let attends: Vec<bool> = down.iter().map(|block| *block == DownBlock::Attention).collect();
        let up_attends: Vec<bool> = up.iter().rev().map(|block| *block == UpBlock::Attention).collect();
        must(
            attends == up_attends,
            "up_block_types",
            up,
            "attention at the resolutions of down_block_types",
        )?;
        let embedding = self.time_embedding_dim.unwrap_or(4 * channels);
        must(
            embedding.is_multiple_of(channels),
            "time_embedding_dim",
            &embedding,
            "a multiple of the first of block_out_channels",
        )?;
        let config = AdmConfig {
            channels,
            multipliers: self.block_out_channels.iter().map(|width| width / channels).collect(),
            blocks: self.layers_per_block,
            attention: (0..levels).filter(|&level| attends[level]).map(|level| size >> level).collect(),
            heads: self.attention_head_dim.map_or(HeadsConfig::Count(1), HeadsConfig::Channels),
            dropout: self.dropout,
            embedding_scale: EMBEDDING_SCALE,
            scale_shift,
            resample_in_blocks: self.resamples_in_blocks()?,
            small_groups: false,
            embedding_multiplier: embedding / channels,
            recompute: false,
        };
        Ok((config, ImageShape::new(size, size, self.in_channels), self.num_class_embeds))
    }

    /// Whether resolutions change inside residual blocks, in the same manner everywhere.
    fn resamples_in_blocks(&self) -> Result<bool, String> {
        let in_blocks = |change: Change| match change {
            Change::Conv => false,
            Change::Resnet => true,
        };
        let down = self.down_block_types.iter().take(self.down_block_types.len().saturating_sub(1));
        let down = down.map(|block| match block {
            DownBlock::Plain => false,
            DownBlock::Resnet => true,
            DownBlock::Attention => in_blocks(self.downsample_type),
        });
        let up = self.up_block_types.iter().take(self.up_block_types.len().saturating_sub(1));
        let up = up.map(|block| match block {
            UpBlock::Plain => false,
            UpBlock::Resnet => true,
            UpBlock::Attention => in_blocks(self.upsample_type),
        });
        let all: Vec<bool> = down.chain(up).collect();
        let first = all.first().copied().unwrap_or(true);
        match all.iter().all(|&other| other == first) {
            true => Ok(first),
            false => Err("`downsample_type`, `upsample_type` and the blocks' types change resolutions in blocks and by \
                          convolutions, and the networks here do it in one manner"
                .to_owned()),
        }
    }

    /// The configuration of a network; an error says what of it `UNet2DModel` has not.
    pub(crate) fn of(adm: &AdmConfig, card: &WeightsCard) -> Result<Self, String> {
        let AdmConfig { channels, multipliers, blocks, attention, embedding_multiplier, .. } = adm;
        let WeightsCard { height, width, channels: image_channels, classes, .. } = *card;
        if height != width {
            return Err(format!("its images are {height}x{width}, and the pipeline's are square"));
        }
        if adm.embedding_scale != EMBEDDING_SCALE {
            let scale = adm.embedding_scale;
            return Err(format!("its embedding_scale is {scale}, and the scheduler's is {EMBEDDING_SCALE}"));
        }
        if multipliers.first() != Some(&1) {
            return Err(format!("its multipliers {multipliers:?} do not begin with 1"));
        }
        // Norms of at least 128 channels have 32 groups in either manner.
        if adm.small_groups && (*channels < 4 * GROUPS || !channels.is_multiple_of(GROUPS)) {
            return Err("its norms have small_groups, and UNet2DModel's have 32".to_owned());
        }
        let attends: Vec<bool> =
            (0..multipliers.len()).map(|level| attention.contains(&(height >> level))).collect();
        // The middle attends at the last resolution.
        let last = multipliers.len() - 1;
        let widths =
            (0..=last).filter(|&level| attends[level] || level == last).map(|l| channels * multipliers[l]);
        let dims: Vec<Option<usize>> = widths.map(|width| head_dim(adm.heads, width)).collect();
        let Some(head_dim) = dims[0].filter(|_| dims.iter().all(|dim| *dim == dims[0])) else {
            return Err(format!("its heads {:?} have not as many channels at every resolution", adm.heads));
        };
        let down = |&attends: &bool| match (attends, adm.resample_in_blocks) {
            (true, _) => DownBlock::Attention,
            (false, true) => DownBlock::Resnet,
            (false, false) => DownBlock::Plain,
        };
        let up = |&attends: &bool| match (attends, adm.resample_in_blocks) {
            (true, _) => UpBlock::Attention,
            (false, true) => UpBlock::Resnet,
            (false, false) => UpBlock::Plain,
        };
        let change = if adm.resample_in_blocks { Change::Resnet } else { Change::Conv };
        Ok(Self {
            sample_size: Some(height),
            in_channels: image_channels,
            out_channels: image_channels,
            time_embedding_dim: Some(embedding_multiplier * channels),
            down_block_types: attends.iter().map(down).collect(),
            up_block_types: attends.iter().rev().map(up).collect(),
            block_out_channels: multipliers.iter().map(|multiplier| channels * multiplier).collect(),
            layers_per_block: *blocks,
            downsample_type: change,
            upsample_type: change,
            attention_head_dim: Some(head_dim),
            attn_norm_num_groups: Some(GROUPS),
            resnet_time_scale_shift: if adm.scale_shift { TimeShift::ScaleShift } else { TimeShift::Default },
            num_class_embeds: classes,
            ..Self::default()
        })
    }
}

/// The channels of each head where there are `width`.
fn head_dim(heads: HeadsConfig, width: usize) -> Option<usize> {
    match heads {
        HeadsConfig::Count(count) => width.checked_div(count),
        HeadsConfig::Channels(each) => Some(each),
        HeadsConfig::Whole(each) => {
            let count = width.checked_div(each).filter(|&count| count > 0)?;
            Some(width / count)
        }
    }
}

impl SchedulerConfig {
    /// The scheduler of a card's noise levels.
    pub(crate) fn of(card: &WeightsCard) -> Self {
        let WeightsCard { sigma_min, sigma_max, sigma_data, rho, .. } = *card;
        Self { sigma_min, sigma_max, sigma_data, rho, ..Self::default() }
    }
}
