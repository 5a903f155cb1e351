//! What of NVIDIA's there is: nothing.

use crate::error::GpuError;

pub use crate::description::{Device, Found};

pub(super) fn no_driver() -> GpuError {
    GpuError::NoDriver { looked_for: vec!["nothing, since this platform has none".to_owned()] }
}

/// Looks for no library.
pub fn search() -> Vec<Found> {
    Vec::new()
}

/// The GPUs of this machine.
///
/// # Errors
/// [`GpuError::NoDriver`].
pub fn devices() -> Result<Vec<Device>, GpuError> {
    Err(no_driver())
}
