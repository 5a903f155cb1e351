//! The networks of the paper by name; what they stand for is said beside [`NetworkConfig`](crate::NetworkConfig).

use crate::Conditions;
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
}
