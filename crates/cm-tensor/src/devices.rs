//! Which devices there are.

/// What is known of NVIDIA GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cuda {
    /// This program was built without the feature `cuda`.
    NotCompiledIn,
    /// The driver did not answer; its reason.
    Unavailable(String),
    /// What the driver found, by number.
    Found(Vec<Gpu>),
}

/// One GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    /// Streaming multiprocessors.
    pub multiprocessors: i32,
    /// Bytes of its memory that are free.
    pub free: usize,
    /// Bytes of its memory.
    pub total: usize,
}

/// The environment variable that chooses the GPU, by its number from 0.
pub const GPU_VARIABLE: &str = "CM_GPU";

/// The GPU to use: that of [`GPU_VARIABLE`], or 0 where it is not set.
///
/// # Panics
/// If it is set to something else than a number.
pub fn chosen_gpu() -> usize {
    std::env::var(GPU_VARIABLE).map_or(0, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{GPU_VARIABLE} is {value}, but must be a GPU's number, from 0"))
    })
}

/// The GPUs of this machine.
#[cfg(not(feature = "cuda"))]
pub fn cuda() -> Cuda {
    Cuda::NotCompiledIn
}

/// The GPUs of this machine. To be asked for its memory, each is opened.
#[cfg(feature = "cuda")]
pub fn cuda() -> Cuda {
    match found() {
        Ok(gpus) => Cuda::Found(gpus),
        Err(error) => Cuda::Unavailable(format!("{error:?}")),
    }
}

#[cfg(feature = "cuda")]
fn found() -> Result<Vec<Gpu>, cudarc::driver::DriverError> {
    use cudarc::driver::sys::CUdevice_attribute as Attribute;
    use cudarc::driver::{CudaDevice, result};
    let open = |ordinal: i32| {
        let device = CudaDevice::new(ordinal.unsigned_abs() as usize)?;
        // Opened last, it is the one that this thread asks about.
        let (free, total) = result::mem_get_info()?;
        let major = device.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = device.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let multiprocessors = device.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        Ok(Gpu { capability: (major, minor), multiprocessors, free, total })
    };
    (0..CudaDevice::count()?).map(open).collect()
}
