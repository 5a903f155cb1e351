//! What the networks of Karras et al. 2022 and 2024 have besides.

use super::{tiny_adm, tiny_unet};
use crate::{AdmConfig, Edm2Config, EmbeddingConfig, HeadsConfig, NetworkConfig, ScaleConfig, UNetConfig};

/// What SongUNet can do besides (Karras et al. 2022).
pub(super) fn tiny_skips() -> NetworkConfig {
    let NetworkConfig::UNet(config) = tiny_unet() else { unreachable!("a U-Net") };
    NetworkConfig::UNet(UNetConfig {
        embedding: EmbeddingConfig::Positional(ScaleConfig { scale: 1.0, width: 3 }),
        embedding_multiplier: 2,
        input_skip: true,
        output_skip: true,
        ..config
    })
}

pub(super) fn tiny_plain_pyramid() -> NetworkConfig {
    let NetworkConfig::UNet(config) = tiny_unet() else { unreachable!("a U-Net") };
    NetworkConfig::UNet(UNetConfig { input_pyramid: true, ..config })
}

pub(super) fn tiny_dhariwal() -> NetworkConfig {
    let NetworkConfig::Adm(config) = tiny_adm() else { unreachable!("an ADM") };
    NetworkConfig::Adm(AdmConfig {
        channels: 8,
        multipliers: vec![2, 3],
        heads: HeadsConfig::Whole(16),
        small_groups: true,
        embedding_multiplier: 3,
        ..config
    })
}

pub(super) fn tiny_edm2() -> NetworkConfig {
    NetworkConfig::Edm2(Edm2Config {
        channels: 8,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        heads: HeadsConfig::Whole(8),
        waves: 8,
        embedding: 16,
        ..Edm2Config::default()
    })
}
