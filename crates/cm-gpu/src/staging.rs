//! Page-locked memory of the host, through which values go to a GPU.
//!
//! From memory that can be paged out, a copy first waits for all work of its stream (CUDA's driver API, "API synchronization
//! behavior"). From page-locked memory it is done in its turn, and the host goes on at once, to what comes next: the
//! noise of the other images, the launches of the step. A piece of that memory is used again when its copy is done.

use crate::error::{Doing, GpuError};
use cudarc::driver::sys::{self, CUdeviceptr, CUevent, CUstream};
use cudarc::driver::{DriverError, result};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Bytes of a piece.
const PIECE: usize = 4 << 20;
/// Pieces at most: the batches of a step, twice.
const MOST_PIECES: usize = 16;
/// Fewer bytes the driver takes along at once, wherever they are.
const LEAST: usize = 64 << 10;

/// A piece of page-locked memory, and the event behind its last copy.
#[derive(Debug)]
struct Piece {
    memory: *mut u8,
    copied: CUevent,
}

// SAFETY: the memory is this value's own, and the driver's handles may be used from any thread.
unsafe impl Send for Piece {}

impl Piece {
    /// `None` if the system has no memory to lock: then copies wait, as they do without.
    fn new() -> Option<Self> {
        // SAFETY: the memory is written before it is read.
        let memory = unsafe { result::malloc_host(PIECE, 0) }.ok()?.cast::<u8>();
        match result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING) {
            Ok(copied) => Some(Self { memory, copied }),
            Err(_) => {
                // SAFETY: nobody has the memory. What fails here has failed before.
                let _ = unsafe { result::free_host(memory.cast()) };
                None
            }
        }
    }

    fn is_free(&self) -> bool {
        // SAFETY: the event is this value's own.
        let answer = unsafe { sys::cuEventQuery(self.copied) };
        answer == sys::CUresult::CUDA_SUCCESS
    }

    fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: as above.
        unsafe { sys::cuEventSynchronize(self.copied) }.result()
    }

    /// Copies bytes that fit to the GPU's memory. No copy from this piece is on its way.
    fn send(&self, to: CUdeviceptr, bytes: &[u8], stream: CUstream) -> Result<(), DriverError> {
        assert!(bytes.len() <= PIECE, "{} bytes in a piece", bytes.len());
        // SAFETY: the memory is this value's own and has room for so many bytes; it is not written again before the event
        // behind the copy has come.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory, bytes.len());
            let bytes = std::slice::from_raw_parts(self.memory, bytes.len());
            result::memcpy_htod_async(to, bytes, stream)?;
            result::event::record(self.copied, stream)
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // What fails here has failed before: there is nobody to tell.
        let _ = self.wait();
        // SAFETY: both are this value's own, and no copy is on its way.
        unsafe {
            let _ = result::event::destroy(self.copied);
            let _ = result::free_host(self.memory.cast());
        }
    }
}

/// The pieces of an engine, the one used longest ago first.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    pieces: Mutex<VecDeque<Piece>>,
}

impl Staging {
    /// Copies bytes to the GPU's memory behind all that was asked of the stream; they may be changed when this returns. The
    /// context must be current, and no launch may wait to be handed over.
    pub(crate) fn send(&self, to: CUdeviceptr, bytes: &[u8], stream: CUstream) -> Result<(), GpuError> {
        let doing = || format!("copying {} bytes to the GPU", bytes.len());
        let at_once = |to, bytes: &[u8]| {
            // SAFETY: the memory has room for so many bytes. The driver has copied them when it returns: they are in
            // memory that is not page-locked.
            unsafe { result::memcpy_htod_async(to, bytes, stream) }
        };
        if bytes.len() <= LEAST {
            return at_once(to, bytes).doing(doing);
        }
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, part) in bytes.chunks(PIECE).enumerate() {
            let to = to + (number * PIECE) as CUdeviceptr;
            let made = match pieces.front() {
                Some(piece) if piece.is_free() => None,
                Some(_) | None if pieces.len() < MOST_PIECES => Piece::new(),
                Some(_) | None => None,
            };
            let sent = match made.or_else(|| pieces.pop_front()) {
                Some(piece) => {
                    let sent = piece.wait().and_then(|()| piece.send(to, part, stream));
                    pieces.push_back(piece);
                    sent
                }
                None => at_once(to, part),
            };
            sent.doing(doing)?;
        }
        Ok(())
    }

    /// Gives all back to the system.
    pub(crate) fn clear(&self) {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
