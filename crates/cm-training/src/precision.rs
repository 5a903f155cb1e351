//! How the products of networks are computed.

use cm_tensor::device;
use cm_tensor::devices::{self, DeviceError};
use serde::{Deserialize, Serialize};

/// How the products of networks (convolutions, affine maps, attention) are computed. Weights, moments, averages,
/// statistics, losses and the gradients of weights are in single precision whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// In single precision.
    #[default] // Song et al. 2023, Appendix C, names no precision; the CPU has only this
    F32,
    /// Of values rounded to ten bits of mantissa. On GPUs only.
    Tf32,
    /// Of values in bf16, which activations then are. On GPUs only.
    Bf16,
}

impl Precision {
    /// Its name in a study.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Tf32 => "Tf32",
            Self::Bf16 => "Bf16",
        }
    }

    fn of_products(self) -> device::Precision {
        match self {
            Self::F32 => device::Precision::F32,
            Self::Tf32 => device::Precision::Tf32,
            Self::Bf16 => device::Precision::Bf16,
        }
    }

    /// Whether this process can compute so.
    ///
    /// # Errors
    /// [`DeviceError::Precision`] for anything but single precision on the CPU.
    pub fn check(self) -> Result<(), DeviceError> {
        devices::check_precision(self.of_products())
    }

    /// Passes that begin from now on compute so.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn set(self) -> Result<(), DeviceError> {
        devices::set_precision(self.of_products())
    }
}
