//! The device of this process.

use crate::collective::group;
use crate::device::Device;
use cm_gpu::conv2d::Precision;
use cm_gpu::{Choosing, Gpu, GpuError, Options, libraries};
use std::fmt;
use std::fs;
use std::str::FromStr;
use std::sync::{OnceLock, PoisonError, RwLock};

pub use cm_gpu::libraries::Found;
pub use cm_gpu::{Device as GpuDescription, devices as gpus};

/// The environment variable that says where networks are computed where no argument does: a [`Place`]. Processes that a
/// program starts inherit it.
pub const DEVICE_VARIABLE: &str = "CM_DEVICE";

/// The environment variable that says who computes convolutions and matrix products on a GPU: `ours`; `timed` or `timed:N`,
/// whoever is fastest at those of 2^28 or N operations and more; or the file of a [table](products_table).
pub const PRODUCTS_VARIABLE: &str = "CM_PRODUCTS";

/// What launchers tell each process of its number on its machine: Open MPI, MPICH and Intel MPI.
const LOCAL_RANKS: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"];

/// Why networks cannot be computed where they are wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The variable is set to something else than a device.
    #[error("{DEVICE_VARIABLE} is `{0}`; {ALLOWED}")]
    Choice(String),
    /// There is no such GPU, or it cannot be used.
    #[error("{by} is `{wanted}`, and {error}")]
    Gpu {
        /// What asks for it: the argument or the variable.
        by: &'static str,
        /// Where networks are to be computed.
        wanted: Place,
        /// Why not.
        error: GpuError,
    },
    /// Products cannot be computed as the variable says.
    #[error("{PRODUCTS_VARIABLE} is `{wanted}`: {reason}")]
    Products {
        /// What it says.
        wanted: String,
        /// Why not.
        reason: String,
    },
    /// The CPU has single precision only.
    #[error(
        "precision {0} is for GPUs, and networks are computed on the CPU here (--device cuda takes a GPU)"
    )]
    Precision(&'static str),
    /// What is asked for is done on GPUs only.
    #[error("this is for GPUs, and networks are computed on the CPU here (--device cuda takes a GPU)")]
    Cpu,
    /// Operations have tangent rules on the CPU only.
    #[error(
        "derivatives in forward mode are worked out on the CPU only, and networks are computed on a GPU here (--device cpu takes the CPU)"
    )]
    Tangents,
}

const ALLOWED: &str = "allowed are cpu, cuda and cuda:N, N the number of a GPU from 0";

/// Where networks are to be computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// `cpu`.
    #[default]
    Cpu,
    /// `cuda:N`, the GPU of this number; `cuda`, the first, or the one whose turn it is: processes that a launcher starts on
    /// one machine take its GPUs in turns.
    Cuda(Option<usize>),
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(None)),
            numbered => {
                let number = numbered.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                number.map(|number| Self::Cuda(Some(number))).ok_or(ALLOWED)
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(None) => write!(f, "cuda"),
            Self::Cuda(Some(number)) => write!(f, "cuda:{number}"),
        }
    }
}

/// Who computes convolutions and matrix products on a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Products {
    /// `ours`, or nothing; `timed`, whoever is fastest, or `timed:N`, that for products of at least N operations.
    By(Choosing),
    /// By the table in the file of this name, one that [`products_table`] was written to.
    Table(String),
}

impl Products {
    /// What the variable's text asks for.
    fn asked(text: Option<&str>) -> Self {
        match text {
            None | Some("" | "ours") => Self::By(Choosing::Ours),
            Some("timed") => Self::By(Choosing::TIMED),
            Some(text) => match text.strip_prefix("timed:").map(str::parse) {
                Some(Ok(least_operations)) => Self::By(Choosing::Timed { least_operations }),
                Some(Err(_)) | None => Self::Table(text.to_owned()),
            },
        }
    }

    fn open(self, device: usize) -> Result<Result<Gpu, GpuError>, DeviceError> {
        let refused = |wanted: String, reason: String| Err(DeviceError::Products { wanted, reason });
        match self {
            Self::By(Choosing::Timed { .. }) if group().size() > 1 => refused(
                "timed".to_owned(),
                "each of several processes would choose for itself; let one alone write a table, and name its file"
                    .to_owned(),
            ),
            Self::By(products) => Ok(Gpu::open(&Options { device, products, ..Options::default() })),
            Self::Table(file) => {
                let text = match fs::read_to_string(&file) {
                    Ok(text) => text,
                    Err(error) => {
                        let allowed = "allowed are ours, timed, timed:N and the name of a file with a table";
                        return refused(file, format!("no such file can be read ({error}); {allowed}"));
                    }
                };
                let opened = Gpu::open(&Options { device, ..Options::default() });
                match opened.as_ref().map(|gpu| gpu.fix_products(&text)) {
                    Ok(Err(error)) => refused(file, error.to_string()),
                    Ok(Ok(())) | Err(_) => Ok(opened),
                }
            }
        }
    }
}

static GPU: OnceLock<Gpu> = OnceLock::new();
static PRECISION: RwLock<Precision> = RwLock::new(Precision::F32);

/// Opens the device that is asked for by argument, or else by [`DEVICE_VARIABLE`], for as long as this process lives:
/// passes are computed there from now on. Where a process computes is a matter of how it was started.
///
/// # Errors
/// [`DeviceError`] if the variable names none, or a GPU is asked for without which something is missing: its driver, its
/// kernels' compiler.
pub fn open(asked: Option<Place>) -> Result<(), DeviceError> {
    let (by, wanted) = match (asked, std::env::var_os(DEVICE_VARIABLE)) {
        (Some(place), _) => ("--device", place),
        (None, Some(text)) => {
            let text = text.to_string_lossy();
            (DEVICE_VARIABLE, text.parse().map_err(|_| DeviceError::Choice(text.into_owned()))?)
        }
        (None, None) => return Ok(()),
    };
    let Place::Cuda(number) = wanted else { return Ok(()) };
    let rank = LOCAL_RANKS.iter().find_map(|name| std::env::var(name).ok()?.parse::<usize>().ok());
    let products = std::env::var_os(PRODUCTS_VARIABLE).map(|text| text.to_string_lossy().into_owned());
    let failed = |error| DeviceError::Gpu { by, wanted, error };
    let found = gpus().map_err(failed)?.len();
    let device = number.unwrap_or_else(|| rank.unwrap_or(0).checked_rem(found).unwrap_or(0));
    let gpu = Products::asked(products.as_deref()).open(device)?.and_then(tried).map_err(failed)?;
    // A second call finds the GPU of the first.
    GPU.get_or_init(|| gpu);
    Ok(())
}

/// The GPU, if kernels can be run there: what is missing for them shows before anything is written.
fn tried(gpu: Gpu) -> Result<Gpu, GpuError> {
    let one = gpu.upload(&[1.0_f32])?;
    gpu.download::<f32>(&gpu.scaled(&one, 1.0)?)?;
    Ok(gpu)
}

/// Whether products can be computed so in this process.
///
/// # Errors
/// [`DeviceError::Precision`] for anything but single precision on the CPU.
pub fn check_precision(precision: Precision) -> Result<(), DeviceError> {
    match precision {
        Precision::F32 => Ok(()),
        _ if GPU.get().is_some() => Ok(()),
        Precision::Tf32 => Err(DeviceError::Precision("Tf32")),
        Precision::Bf16 => Err(DeviceError::Precision("Bf16")),
    }
}

/// Whether passes [with tangents](crate::Graph::with_tangents) can be computed in this process.
///
/// # Errors
/// [`DeviceError::Tangents`] on a GPU.
pub fn check_tangents() -> Result<(), DeviceError> {
    if GPU.get().is_some() { Err(DeviceError::Tangents) } else { Ok(()) }
}

/// How products are computed in passes that begin from now on, which is a matter of the run that this process works on.
///
/// # Errors
/// As [`check_precision`].
pub fn set_precision(precision: Precision) -> Result<(), DeviceError> {
    check_precision(precision)?;
    *PRECISION.write().unwrap_or_else(PoisonError::into_inner) = precision;
    Ok(())
}

/// Where passes are computed and how, in words: `cpu, F32`.
pub fn described() -> String {
    match current() {
        None => "cpu, F32".to_owned(),
        Some(device) => {
            let gpu = device.gpu().device();
            let products = device.gpu().products_described().map(|who| format!(", {who}"));
            let products = products.unwrap_or_default();
            format!("cuda:{} {}, {:?}{products}", gpu.number, gpu.name, device.precision())
        }
    }
}

/// Where passes are computed unless they are told otherwise; `None` for the CPU.
pub fn current() -> Option<Device> {
    let precision = || *PRECISION.read().unwrap_or_else(PoisonError::into_inner);
    GPU.get().map(|gpu| Device::new(gpu.clone(), precision()))
}

/// The GPU of this process.
///
/// # Errors
/// [`DeviceError::Cpu`] if it has none.
pub fn need_gpu() -> Result<Device, DeviceError> {
    current().ok_or(DeviceError::Cpu)
}

/// The GPU of this process, opened once more: there, what is not written yet holds NaN.
///
/// # Errors
/// [`DeviceError`] if this process has no GPU, or it cannot be opened again.
pub fn poisoned() -> Result<Device, DeviceError> {
    let device = need_gpu()?.gpu().device().number;
    let wanted = Place::Cuda(Some(device));
    let gpu = Gpu::open(&Options { device, poison: true, ..Options::default() })
        .map_err(|error| DeviceError::Gpu { by: "--device", wanted, error })?;
    Ok(Device::new(gpu, Precision::F32))
}

/// Which products this process has timed or was given, and who computes each, as the text of a table; `None` if none, and
/// on the CPU.
pub fn products_table() -> Option<String> {
    GPU.get()?.products_table()
}

/// From now on products that a table names are computed as it says. Returns why not if it is of another card or of other
/// libraries; on the CPU, and where several processes work together, nothing is done.
///
/// # Errors
/// What is wrong with a text that is no table.
pub fn fix_products(table: &str) -> Result<Option<String>, String> {
    match GPU.get().filter(|_| group().size() == 1).map(|gpu| gpu.fix_products(table)) {
        None | Some(Ok(())) => Ok(None),
        Some(Err(error @ GpuError::OtherTable { .. })) => Ok(Some(error.to_string())),
        Some(Err(error)) => Err(error.to_string()),
    }
}

/// What of NVIDIA's was looked for on this machine: the driver, and the libraries that can help.
pub fn libraries() -> Vec<Found> {
    libraries::search()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_or_refused() {
        for (text, place) in
            [("cpu", Place::Cpu), ("cuda", Place::Cuda(None)), ("cuda:3", Place::Cuda(Some(3)))]
        {
            assert_eq!((text.parse(), place.to_string().as_str()), (Ok(place), text));
        }
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:first", "CUDA"] {
            assert_eq!(wrong.parse::<Place>(), Err(ALLOWED), "{wrong}");
        }
        let error = DeviceError::Choice("gpu".to_owned()).to_string();
        assert_eq!(
            error,
            "CM_DEVICE is `gpu`; allowed are cpu, cuda and cuda:N, N the number of a GPU from 0"
        );
    }

    #[test]
    fn who_computes_products_is_named_or_a_file() {
        let timed = |least_operations| Products::By(Choosing::Timed { least_operations });
        for (text, products) in [
            (None, Products::By(Choosing::Ours)),
            (Some("ours"), Products::By(Choosing::Ours)),
            (Some("timed"), timed(1 << 28)),
            (Some("timed:0"), timed(0)),
            (Some("timed:few"), Products::Table("timed:few".to_owned())),
            (Some("products.csv"), Products::Table("products.csv".to_owned())),
        ] {
            assert_eq!(Products::asked(text), products, "{text:?}");
        }
        assert_eq!((products_table(), fix_products("any text")), (None, Ok(None)), "on the CPU");
    }

    #[test]
    fn the_cpu_has_single_precision_only() {
        assert_eq!((current(), described()), (None, "cpu, F32".to_owned()));
        assert_eq!(set_precision(Precision::F32), Ok(()));
        let error = set_precision(Precision::Bf16).unwrap_err().to_string();
        assert!(error.starts_with("precision Bf16 is for GPUs"), "{error}");
    }
}
