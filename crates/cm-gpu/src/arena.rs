//! Memory of a GPU, kept for the next buffer of its size.
//!
//! All work of an engine is done in one stream, in the order in which it was asked for. So what a dropped buffer leaves
//! can be given to the next at once: whatever still reads the old values stands in the stream before whatever writes
//! the new ones. After the first training step nothing is asked of the driver any more. Of pieces of one size that with
//! the lowest address goes first: so the same work finds its values at the same addresses each time.

use crate::description::MemoryUse;
use crate::error::{Doing, GpuError};
use crate::gathered::Gathered;
use crate::staging::Staging;
use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{result, sys};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct State {
    used: MemoryUse,
    /// Free pieces by their size.
    free: HashMap<usize, BTreeSet<CUdeviceptr>>,
    /// What went wrong where nobody could be told.
    fault: Option<GpuError>,
}

/// Where an engine's buffers come from.
#[derive(Debug)]
pub(crate) struct Arena {
    context: Context,
    reuse: bool,
    state: Mutex<State>,
}

/// A GPU's primary context and the engine's stream in it.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) gathered: Gathered,
    pub(crate) staging: Staging,
    pub(crate) device: sys::CUdevice,
    pub(crate) context: sys::CUcontext,
    pub(crate) stream: sys::CUstream,
}

// SAFETY: the driver's handles may be used from any thread, as long as the context is made current there first.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Makes the context current in this thread, which every call of the driver needs.
    pub(crate) fn enter(&self) -> Result<(), GpuError> {
        // SAFETY: the context lives as long as `self`.
        unsafe { result::ctx::set_current(self.context) }.doing(|| "entering the GPU's context".to_owned())
    }

    /// Makes the context current, for what is to come behind all launches so far.
    pub(crate) fn enter_behind(&self) -> Result<(), GpuError> {
        self.enter()?;
        self.gathered.hand_over(self.stream)
    }

    /// Waits until all work is done.
    pub(crate) fn wait(&self) -> Result<(), GpuError> {
        self.enter_behind()?;
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::synchronize(self.stream) }.doing(|| "waiting for the GPU".to_owned())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // What fails here has failed before: there is nobody to tell.
        let _ = self.wait();
        self.gathered.clear();
        self.staging.clear();
        // SAFETY: the stream and the reference to the context are this value's own, and nothing uses them any more.
        unsafe {
            let _ = result::stream::destroy(self.stream);
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

/// A piece of memory; it goes back to its arena when it is dropped.
#[derive(Debug)]
pub(crate) struct Piece {
    arena: Arc<Arena>,
    pub(crate) address: CUdeviceptr,
    wanted: usize,
}

/// Sizes are rounded up, so that pieces fit more often: to one of eight steps between powers of two.
fn rounded(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 16).max(512);
    bytes.next_multiple_of(step)
}

impl Arena {
    pub(crate) fn new(context: Context, reuse: bool) -> Self {
        Self { context, reuse, state: Mutex::default() }
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn used(&self) -> MemoryUse {
        self.state().used
    }

    /// Waits until all work is done.
    pub(crate) fn wait(&self) -> Result<(), GpuError> {
        self.context.wait()?;
        self.state().fault.take().map_or(Ok(()), Err)
    }

    /// The size of the driver's allocation for `bytes`.
    fn size(&self, bytes: usize) -> usize {
        if self.reuse { rounded(bytes) } else { bytes }
    }

    /// A piece of at least `bytes` bytes, which are not 0, with unspecified contents.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Result<Piece, GpuError> {
        let size = self.size(bytes);
        let kept = {
            let mut state = self.state();
            let kept = state.free.get_mut(&size).and_then(BTreeSet::pop_first);
            state.used.kept -= kept.map_or(0, |_| size);
            kept
        };
        let address = match kept {
            Some(address) => address,
            None => self.allocated(size)?,
        };
        let mut state = self.state();
        let used = &mut state.used;
        used.taken += if kept.is_none() { size } else { 0 };
        used.held += bytes;
        used.buffers += 1;
        used.peak = used.peak.max(used.held);
        Ok(Piece { arena: Arc::clone(self), address, wanted: bytes })
    }

    fn allocated(&self, size: usize) -> Result<CUdeviceptr, GpuError> {
        self.context.enter()?;
        // SAFETY: what is in the memory is never read before it is written.
        let allocate = || unsafe { result::malloc_sync(size) };
        let exhausted = |error: &sys::CUresult| *error == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        match allocate() {
            Err(error) if exhausted(&error.0) => {}
            other => return other.doing(|| format!("allocating {size} bytes")),
        }
        // What is kept may make room.
        self.release()?;
        match allocate() {
            Err(error) if exhausted(&error.0) => {
                let (free, total) = result::mem_get_info().unwrap_or((0, 0));
                let MemoryUse { held, buffers, .. } = self.used();
                Err(GpuError::OutOfMemory { wanted: size, held, buffers, free, total })
            }
            other => other.doing(|| format!("allocating {size} bytes")),
        }
    }

    /// Gives what is kept back to the driver.
    pub(crate) fn release(&self) -> Result<(), GpuError> {
        let free = {
            let mut state = self.state();
            state.used.taken -= state.used.kept;
            state.used.kept = 0;
            std::mem::take(&mut state.free)
        };
        if free.is_empty() {
            return Ok(());
        }
        self.context.wait()?;
        for address in free.into_values().flatten() {
            // SAFETY: the address came from the driver, and no buffer has it.
            unsafe { result::free_sync(address) }.doing(|| "giving memory back".to_owned())?;
        }
        Ok(())
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // What fails here has failed before: there is nobody to tell.
        let _ = self.release();
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let size = self.arena.size(self.wanted);
        let mut state = self.arena.state();
        state.used.held -= self.wanted;
        state.used.buffers -= 1;
        if self.arena.reuse {
            state.used.kept += size;
            state.free.entry(size).or_default().insert(self.address);
            return;
        }
        state.used.taken -= size;
        drop(state);
        // Without a stream's order to rely on, the driver is told only when no work is left.
        let waited = self.arena.context.wait();
        // SAFETY: the address came from the driver, and this was its only buffer.
        let freed = unsafe { result::free_sync(self.address) }.doing(|| "giving memory back".to_owned());
        if let Err(fault) = waited.and(freed) {
            self.arena.state().fault.get_or_insert(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_by_an_eighth_at_most() {
        for bytes in [1, 511, 512, 513, 4096, 5000, 1 << 20, (1 << 20) + 1, 3_000_001, (1 << 33) + 7] {
            let size = rounded(bytes);
            assert!(size >= bytes && size - bytes <= (bytes / 8).max(512), "{bytes}: {size}");
            assert_eq!(rounded(size), size, "what fits once fits again");
        }
    }
}
