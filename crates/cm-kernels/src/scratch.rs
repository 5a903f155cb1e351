//! Working memory that each thread keeps from call to call.

use std::cell::RefCell;

/// One cache line of floats.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

/// Floats from the start of a cache line on, in whole lines.
#[derive(Clone, Default)]
pub(crate) struct Aligned(Vec<Line>);

impl Aligned {
    /// At least `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self(vec![Line([0.0; LINE]); len.div_ceil(LINE)])
    }

    pub(crate) fn floats(&self) -> &[f32] {
        // SAFETY: a line is 16 floats without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }

    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        // SAFETY: a line is 16 floats without padding.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE) }
    }
}

thread_local! {
    /// Buffers not in use. More than one because a thread that waits for its pieces may run another's in between.
    static FREE: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `len` floats of unspecified content (NaN in debug builds), at the start of a cache line.
/// Allocates only when this thread never had that many floats at once before.
pub(crate) fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.floats().len() < len {
        buffer = Aligned::zeros(len);
    }
    let floats = &mut buffer.floats_mut()[..len];
    if cfg!(debug_assertions) {
        floats.fill(f32::NAN);
    }
    let result = work(floats);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}
