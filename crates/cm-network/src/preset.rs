//! The networks of the paper, number for number.

use crate::{
    AdmConfig, Conditions, EmbeddingConfig, FourierConfig, NetworkConfig, ResamplingConfig, UNetConfig,
};
use cm_image::ImageShape;

/// A network of Song et al. 2023.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// NCSN++ for CIFAR-10: of the paper's consistency models there.
    NcsnppCifar10,
    /// DDPM++ for CIFAR-10.
    DdpmppCifar10,
    /// ADM for ImageNet at 64x64, told 1,000 classes.
    AdmImagenet64,
    /// ADM for LSUN at 256x256.
    AdmLsun256,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::NcsnppCifar10, Self::DdpmppCifar10, Self::AdmImagenet64, Self::AdmLsun256];

    /// The name people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::NcsnppCifar10 => "ncsnpp-cifar10",
            Self::DdpmppCifar10 => "ddpmpp-cifar10",
            Self::AdmImagenet64 => "adm-imagenet64",
            Self::AdmLsun256 => "adm-lsun256",
        }
    }

    /// The images it works on.
    pub fn shape(self) -> ImageShape {
        match self {
            Self::NcsnppCifar10 | Self::DdpmppCifar10 => ImageShape::new(32, 32, 3),
            Self::AdmImagenet64 => ImageShape::new(64, 64, 3),
            Self::AdmLsun256 => ImageShape::new(256, 256, 3),
        }
    }

    /// What it is told.
    pub fn conditions(self) -> Conditions {
        let classes = match self {
            Self::AdmImagenet64 => Some(1000),
            Self::NcsnppCifar10 | Self::DdpmppCifar10 | Self::AdmLsun256 => None,
        };
        Conditions { classes, ..Conditions::default() }
    }

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
