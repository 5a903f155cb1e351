//! GPUs of several processes that sum values without their hosts: NCCL brings all values to each, and our own kernel adds
//! them as a balanced binary tree over the ranks. So the sum has the bits of one process that adds its parts so, whatever
//! their number, and however NCCL sends them.

use crate::buffer::Buffer;
use crate::element::Element;
use crate::error::GpuError;
use crate::gpu::Gpu;
use crate::libraries;
use crate::source::{ELEMENTWISE, Variant};
use cudarc::driver::sys::{self, CUresult, CUstream};
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const NAME: &str = "NCCL";
/// `ncclFloat32`.
const SINGLE_PRECISION: c_int = 7;
/// Processes at most, as many as the kernel adds.
const MOST: usize = 64;
/// Values that are brought together at once: what all ranks have of them lies on each GPU for a moment.
const VALUES: usize = 16 << 20;

/// What the first process makes and all others are told: where they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Invitation(pub [u8; 128]);

/// Between two looks whether all have come.
const PAUSE: Duration = Duration::from_micros(50);

type Raw = *mut c_void;
type Join = unsafe extern "C" fn(*mut Raw, c_int, Invitation, c_int) -> c_int;
type AllGather = unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, Raw, CUstream) -> c_int;

/// The library's functions. cudarc's bindings look for other names of its file than those that NVIDIA gives it.
#[derive(Debug)]
struct Nccl {
    library: Library,
}

impl Nccl {
    fn open() -> Result<Self, GpuError> {
        Ok(Self { library: libraries::opened(NAME)? })
    }

    /// # Safety
    /// `F` is the type of the function of this name.
    unsafe fn function<F: Copy>(&self, name: &str) -> Result<F, GpuError> {
        // SAFETY: the caller's.
        unsafe { self.library.get::<F>(name) }.map(|function| *function).map_err(|error| GpuError::Library {
            library: NAME,
            doing: format!("looking for {name}"),
            answer: error.to_string(),
        })
    }

    fn check(&self, status: c_int, doing: &str) -> Result<(), GpuError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the function is documented to take a status and to return a text that stays.
        let words = unsafe {
            let words = self.function::<unsafe extern "C" fn(c_int) -> *const c_char>("ncclGetErrorString");
            words.map(|words| CStr::from_ptr(words(status)).to_string_lossy().into_owned())
        };
        let answer = format!("{} ({status})", words.unwrap_or_default());
        Err(GpuError::Library { library: NAME, doing: doing.to_owned(), answer })
    }
}

impl Invitation {
    /// A place to meet at, made by the first process.
    ///
    /// # Errors
    /// [`GpuError::Library`] if NCCL is not there, or cannot make one.
    pub fn new() -> Result<Self, GpuError> {
        let nccl = Nccl::open()?;
        let mut invitation = Self([0; 128]);
        // SAFETY: the function is documented to write 128 bytes and to return a status.
        let status = unsafe {
            nccl.function::<unsafe extern "C" fn(*mut Invitation) -> c_int>("ncclGetUniqueId")?(
                &raw mut invitation,
            )
        };
        nccl.check(status, "making a place to meet")?;
        Ok(invitation)
    }
}

/// This process's GPU among those of others.
#[derive(Debug)]
pub struct Together {
    nccl: Nccl,
    all_gather: AllGather,
    /// Null once it was given up.
    raw: AtomicPtr<c_void>,
    gpu: Gpu,
    size: usize,
}

// SAFETY: a communicator may be used from any thread, by one at a time; calls of all of them are made in one order, which is
// the callers' affair.
unsafe impl Send for Together {}
// SAFETY: as above.
unsafe impl Sync for Together {}

impl Together {
    /// That the library is there with all that is needed of it.
    ///
    /// # Errors
    /// [`GpuError::Library`].
    pub fn is_possible() -> Result<(), GpuError> {
        let nccl = Nccl::open()?;
        // SAFETY: the types are those that NCCL documents; nothing is called.
        unsafe {
            nccl.function::<Join>("ncclCommInitRank")?;
            nccl.function::<AllGather>("ncclAllGather")?;
            nccl.function::<unsafe extern "C" fn(Raw) -> c_int>("ncclCommAbort")?;
        }
        Ok(())
    }

    /// Joins `size` processes that were told the same; returns when all have come.
    ///
    /// # Errors
    /// [`GpuError::Library`], as if two of them have the same GPU.
    ///
    /// # Panics
    /// If `size` is no power of two or above 64, or there is no such rank.
    pub fn join(gpu: &Gpu, invitation: Invitation, rank: usize, size: usize) -> Result<Self, GpuError> {
        assert!(size.is_power_of_two() && size <= MOST && rank < size, "rank {rank} of {size}");
        let nccl = Nccl::open()?;
        gpu.context().enter_behind()?;
        let mut raw = null_mut();
        // SAFETY: the types are those that NCCL documents; the communicator is written to.
        let (status, all_gather) = unsafe {
            let all_gather = nccl.function::<AllGather>("ncclAllGather")?;
            let join = nccl.function::<Join>("ncclCommInitRank")?;
            (join(&raw mut raw, size as c_int, invitation, rank as c_int), all_gather)
        };
        nccl.check(status, "joining the others")?;
        Ok(Self { nccl, all_gather, raw: AtomicPtr::new(raw), gpu: gpu.clone(), size })
    }

    /// The GPU that has joined.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Each value's sum over all processes, the same bits on each. All call it for as many values, in the same order; a
    /// process that has died does not, for which [`settle`](Self::settle) looks.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If the values are not in single precision, or others were given up.
    pub fn sum(&self, values: &Buffer) -> Result<Buffer, GpuError> {
        assert_eq!(values.element(), Element::F32, "sums are in single precision");
        let mut out = self.gpu.unwritten(Element::F32, values.len())?;
        let (to, raw) = (out.address_to_write(), self.raw.load(Ordering::Relaxed));
        assert!(!raw.is_null(), "the others were given up");
        for first in (0..values.len()).step_by(VALUES) {
            let count = (values.len() - first).min(VALUES);
            let mut parts = self.gpu.unwritten(Element::F32, count * self.size)?;
            let context = self.gpu.context();
            context.enter_behind()?;
            let from = values.address() + 4 * first as u64;
            // SAFETY: there are so many values behind the first address, and room for those of all ranks behind the other;
            // all work is of one stream, so that memory is given away again only to what comes later.
            let status = unsafe {
                (self.all_gather)(
                    from as *const _,
                    parts.address_to_write() as *mut _,
                    count,
                    SINGLE_PRECISION,
                    raw,
                    context.stream,
                )
            };
            self.nccl.check(status, "bringing values together")?;
            context.gathered.called();
            let launch = self.gpu.launch(&ELEMENTWISE, Variant::F32, "balanced_sum")?.read(&parts);
            launch.write_at(to + 4 * first as u64, Element::F32).long(count).int(self.size).over(count)?;
        }
        Ok(out)
    }

    /// Waits until all sums so far are there. Without a process that has died they never are: after `patience` the others are
    /// given up, and what the sums hold is unspecified.
    ///
    /// # Errors
    /// [`GpuError::Library`] then, or what the driver answered.
    pub fn settle(&self, patience: Duration) -> Result<(), GpuError> {
        self.gpu.submit()?;
        let until = Instant::now() + patience;
        loop {
            // SAFETY: the stream is the engine's.
            match unsafe { sys::cuStreamQuery(self.gpu.context().stream) } {
                CUresult::CUDA_ERROR_NOT_READY if Instant::now() < until => thread::sleep(PAUSE),
                CUresult::CUDA_ERROR_NOT_READY => {
                    self.give_up("ncclCommAbort")?;
                    let answer = format!("not all came within {} seconds", patience.as_secs_f64());
                    let doing = "waiting for the others".to_owned();
                    return Err(GpuError::Library { library: NAME, doing, answer });
                }
                // Whatever else there is to say, the wait says it.
                _ => return self.gpu.wait(),
            }
        }
    }

    /// Leaves the others, by a function that takes a communicator.
    fn give_up(&self, how: &str) -> Result<(), GpuError> {
        let raw = self.raw.swap(null_mut(), Ordering::Relaxed);
        if raw.is_null() {
            return Ok(());
        }
        // SAFETY: both functions that do so are documented to take a communicator and to return a status; nobody else has
        // this one any more.
        let status = unsafe { self.nccl.function::<unsafe extern "C" fn(Raw) -> c_int>(how)?(raw) };
        self.nccl.check(status, "leaving the others")
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        // What fails here has failed before: there is nobody to tell.
        let _ = self.gpu.wait();
        let _ = self.give_up("ncclCommDestroy");
    }
}
