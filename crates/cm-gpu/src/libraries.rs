//! What of NVIDIA's there is on this machine: the driver with its GPUs, and the libraries that can help.

use crate::error::{Doing, GpuError};
use cudarc::driver::{result, sys};
use libloading::Library;
use std::ffi::c_int;
use sys::CUdevice_attribute as Attribute;

pub use crate::description::{Device, Found};

/// What NVIDIA's libraries are for, and what they are called.
const LIBRARIES: [(&str, &str, &[&str], Version); 5] = [
    ("driver", "cuda", &[".so", ".so.1"], Version::Argument("cuDriverGetVersion", 1000, 10)),
    ("NVRTC", "nvrtc", &[".so", ".so.13", ".so.12"], Version::Pair("nvrtcVersion")),
    ("cuBLASLt", "cublasLt", &[".so", ".so.13", ".so.12"], Version::Result("cublasLtGetVersion")),
    ("cuDNN", "cudnn", &[".so", ".so.9"], Version::Result("cudnnGetVersion")),
    ("NCCL", "nccl", &[".so", ".so.2"], Version::Argument("ncclGetVersion", 10_000, 100)),
];

/// How a library tells its version.
enum Version {
    /// Writes major x first + minor x second + patch where its argument points.
    Argument(&'static str, c_int, c_int),
    /// Writes major and minor.
    Pair(&'static str),
    /// Returns a number, major x 10000 + minor x 100 + patch.
    Result(&'static str),
}

impl Version {
    /// What `library` says.
    fn of(&self, library: &Library) -> Option<String> {
        match *self {
            Self::Argument(name, first, second) => {
                let mut version: c_int = 0;
                // SAFETY: the function is documented to take a pointer to one int and to return a status.
                let status = unsafe {
                    let ask = library.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(name).ok()?;
                    ask(&raw mut version)
                };
                let (major, rest) = (version / first, version % first);
                (status == 0).then(|| format!("{major}.{}", rest / second))
            }
            Self::Pair(name) => {
                let (mut major, mut minor): (c_int, c_int) = (0, 0);
                // SAFETY: the function is documented to take pointers to two ints and to return a status.
                let status = unsafe {
                    let ask =
                        library.get::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(name).ok()?;
                    ask(&raw mut major, &raw mut minor)
                };
                (status == 0).then(|| format!("{major}.{minor}"))
            }
            Self::Result(name) => {
                // SAFETY: the function is documented to take nothing and to return a size.
                let version = unsafe { library.get::<unsafe extern "C" fn() -> usize>(name).ok()?() };
                Some(format!("{}.{}", version / 10_000, version / 100 % 100))
            }
        }
    }
}

/// The names of a library's file.
fn names(stem: &str, endings: &[&str]) -> Vec<String> {
    endings.iter().map(|ending| format!("lib{stem}{ending}")).collect()
}

fn look_for(stem: &str, endings: &[&str]) -> Option<(String, Library)> {
    names(stem, endings).into_iter().find_map(|name| {
        // SAFETY: NVIDIA's libraries run nothing of consequence when they are loaded.
        let library = unsafe { Library::new(&name) }.ok()?;
        Some((name, library))
    })
}

/// Looks for the driver, NVRTC, cuBLASLt, cuDNN and NCCL, in this order.
pub fn search() -> Vec<Found> {
    LIBRARIES
        .iter()
        .map(|(what, stem, endings, version)| Found {
            what,
            looked_for: names(stem, endings),
            found: look_for(stem, endings).map(|(name, library)| (name, version.of(&library))),
        })
        .collect()
}

fn there(what: &str) -> Result<(), Vec<String>> {
    let (_, stem, endings, _) =
        LIBRARIES.iter().find(|(name, ..)| *name == what).expect("the name of a library");
    look_for(stem, endings).map(drop).ok_or_else(|| names(stem, endings))
}

/// That there is a driver; everything else asks this first, since cudarc panics where there is none.
pub(crate) fn need_driver() -> Result<(), GpuError> {
    there("driver").map_err(|looked_for| GpuError::NoDriver { looked_for })
}

/// That there is a compiler for kernels.
pub(crate) fn need_compiler() -> Result<(), GpuError> {
    there("NVRTC").map_err(|looked_for| GpuError::NoCompiler { looked_for })
}

/// One of the libraries that can help; if it is not there, what it was looked for under.
pub(crate) fn opened(library: &'static str) -> Result<Library, GpuError> {
    let (_, stem, endings, _) =
        LIBRARIES.iter().find(|(name, ..)| *name == library).expect("the name of a library");
    look_for(stem, endings).map(|(_, opened)| opened).ok_or_else(|| GpuError::Library {
        library,
        doing: "looking for it".to_owned(),
        answer: format!("not found: looked for {}", names(stem, endings).join(", ")),
    })
}

/// That there is one of the libraries that can help.
pub(crate) fn need(library: &'static str) -> Result<(), GpuError> {
    opened(library).map(drop)
}

/// The GPUs of this machine.
///
/// # Errors
/// [`GpuError::NoDriver`], or what the driver answered.
pub fn devices() -> Result<Vec<Device>, GpuError> {
    need_driver()?;
    result::init().doing(|| "the driver's start".to_owned())?;
    let count = result::device::get_count().doing(|| "counting GPUs".to_owned())?;
    (0..count).map(describe).collect()
}

fn describe(number: c_int) -> Result<Device, GpuError> {
    let describing = || format!("describing GPU {number}");
    let device = result::device::get(number).doing(describing)?;
    // SAFETY: the device is one of the driver's.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) }.doing(describing);
    let known = |value: i32| u32::try_from(value).unwrap_or(0);
    Ok(Device {
        number: usize::try_from(number).unwrap_or(0),
        name: result::device::get_name(device).doing(describing)?,
        capability: (
            known(attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?),
            known(attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?),
        ),
        multiprocessors: known(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?),
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }.doing(describing)?,
        shared_memory: known(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?)
            as usize,
    })
}
