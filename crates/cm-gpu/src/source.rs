//! The kernels' sources, and how often each is compiled.

use crate::element::Element;

/// The file that every file of kernels includes.
pub const HEADER: (&str, &str) = ("device.h", include_str!("../kernels/device.h"));

/// For which kind of values a file is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Values in single precision, products by fused multiplication and addition.
    F32,
    /// Values in single precision, products by tensor cores in tf32.
    Tf32,
    /// Values in bf16, products by tensor cores in it, sums in single precision.
    Bf16,
}

impl Variant {
    /// The variant for values of a kind.
    ///
    /// # Panics
    /// If no kernel computes with them.
    pub fn of(element: Element) -> Self {
        match element {
            Element::F32 => Self::F32,
            Element::Bf16 => Self::Bf16,
            Element::U32 | Element::U64 => panic!("no kernel computes with whole numbers"),
        }
    }

    /// What stands behind the names of its kernels.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }

    /// The macro that the compiler is given.
    pub fn define(self) -> &'static str {
        match self {
            Self::F32 => "STORAGE_F32",
            Self::Tf32 => "PRODUCT_TF32",
            Self::Bf16 => "STORAGE_BF16",
        }
    }

    /// What its values are.
    pub fn element(self) -> Element {
        match self {
            Self::F32 | Self::Tf32 => Element::F32,
            Self::Bf16 => Element::Bf16,
        }
    }
}

/// A file of kernels.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The file's name.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
    /// What it is compiled for.
    pub variants: &'static [Variant],
}

macro_rules! sources {
    ($($(#[$doc:meta])* $name:ident, $file:literal, $variants:expr;)*) => {
        $($(#[$doc])* pub const $name: Source =
            Source { file: $file, text: include_str!(concat!("../kernels/", $file)), variants: $variants };)*

        /// All files of kernels.
        pub const ALL: &[Source] = &[$($name),*];
    };
}

const STORED: &[Variant] = &[Variant::F32, Variant::Bf16];

sources! {
    /// Non-linearities.
    ACTIVATION, "activation.cu", STORED;
    /// Self-attention.
    ATTENTION, "attention.cu", &[Variant::F32, Variant::Tf32, Variant::Bf16];
    /// Convolutions and matrix products.
    CONV2D, "conv2d.cu", &[Variant::F32, Variant::Tf32, Variant::Bf16];
    /// Distances between images.
    DISTANCE, "distance.cu", STORED;
    /// Dropout by a key.
    DROPOUT, "dropout.cu", STORED;
    /// Sums, scalings, conversions.
    ELEMENTWISE, "elementwise.cu", STORED;
    /// Group normalisation.
    GROUP_NORM, "group_norm.cu", STORED;
    /// Magnitudes of pixels.
    MAGNITUDE, "magnitude.cu", STORED;
    /// Pooling.
    POOL, "pool.cu", STORED;
    /// Resampling.
    RESAMPLE, "resample.cu", STORED;
    /// A classifier's loss.
    SOFTMAX, "softmax.cu", STORED;
    /// The optimiser's step.
    UPDATE, "update.cu", &[Variant::F32];
}
