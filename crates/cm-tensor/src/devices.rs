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

/// What launchers tell each process of its number on its machine: Open MPI, MPICH and Intel MPI.
#[cfg(feature = "cuda")]
const LOCAL_RANKS: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"];

/// Why there is no GPU to work on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// The variable is set to something else than a GPU of this machine.
    #[error("{GPU_VARIABLE} is `{given}`; {}", allowed(*found))]
    Choice {
        /// What it is set to.
        given: String,
        /// The GPUs of this machine.
        found: usize,
    },
    /// The driver found none.
    #[error("this program computes on a GPU, and the driver found none")]
    None,
    /// The driver did not answer.
    #[error("this program computes on a GPU, and no driver answers: {0}")]
    Driver(String),
}

fn allowed(found: usize) -> String {
    match found {
        1 => "allowed is 0, the only GPU here".to_owned(),
        found => format!("allowed are the numbers of the GPUs here, 0 to {}", found - 1),
    }
}

/// Which of `found` GPUs is meant by what the variable is set to. Without it the processes of one machine take turns.
#[cfg(any(test, feature = "cuda"))]
fn choice(given: Option<&str>, local_rank: usize, found: usize) -> Result<usize, GpuError> {
    let Some(given) = given.filter(|_| found > 0) else {
        return local_rank.checked_rem(found).ok_or(GpuError::None);
    };
    let number = given.parse().ok().filter(|&number| number < found);
    number.ok_or_else(|| GpuError::Choice { given: given.to_owned(), found })
}

/// The GPU of this process: that of [`GPU_VARIABLE`]; where it is not set, one for each process that MPI started on this
/// machine, or the first.
///
/// # Errors
/// [`GpuError`] if there is none, or the variable names none.
#[cfg(feature = "cuda")]
pub fn chosen_gpu() -> Result<usize, GpuError> {
    let count =
        cudarc::driver::CudaDevice::count().map_err(|error| GpuError::Driver(format!("{error:?}")))?;
    let local_rank = LOCAL_RANKS.iter().find_map(|name| std::env::var(name).ok()?.parse().ok()).unwrap_or(0);
    let given = std::env::var_os(GPU_VARIABLE).map(|given| given.to_string_lossy().into_owned());
    choice(given.as_deref(), local_rank, usize::try_from(count).unwrap_or(0))
}

/// Whether what this program computes on is there: always, unless it was built for GPUs.
///
/// # Errors
/// [`GpuError`] if not.
pub fn check_accelerator() -> Result<(), GpuError> {
    #[cfg(feature = "cuda")]
    {
        let ordinal = chosen_gpu()?;
        dfdx::tensor::Cuda::try_build(ordinal, 0).map_err(|error| GpuError::Driver(format!("{error:?}")))?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_chooses_and_processes_take_turns() {
        assert_eq!(choice(None, 0, 2), Ok(0));
        assert_eq!([0, 1, 2, 3].map(|rank| choice(None, rank, 2).unwrap()), [0, 1, 0, 1]);
        // A machine whose scheduler shows each process its own GPU only.
        assert_eq!(choice(None, 5, 1), Ok(0));
        assert_eq!(choice(Some("1"), 0, 2), Ok(1));
        assert_eq!(choice(None, 0, 0), Err(GpuError::None));
        assert_eq!(choice(Some("0"), 0, 0), Err(GpuError::None));
        for given in ["2", "-1", "first", ""] {
            let error = choice(Some(given), 0, 2).unwrap_err().to_string();
            let expected = format!("CM_GPU is `{given}`; allowed are the numbers of the GPUs here, 0 to 1");
            assert_eq!(error, expected);
        }
        assert_eq!(
            choice(Some("1"), 0, 1).unwrap_err().to_string(),
            "CM_GPU is `1`; allowed is 0, the only GPU here"
        );
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn the_processor_is_always_there_and_the_default_build_has_no_cuda() {
        assert_eq!(cuda(), Cuda::NotCompiledIn);
        assert_eq!(check_accelerator(), Ok(()));
    }
}
