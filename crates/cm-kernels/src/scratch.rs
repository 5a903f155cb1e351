//! Working memory that each thread keeps from call to call.

use std::cell::RefCell;

/// One cache line of floats: scratch starts on a line's border.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

const LINE: usize = 16;

thread_local! {
    /// Buffers not in use. More than one because a thread that waits for its pieces may run another's in between.
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `len` floats of unspecified content (NaN in debug builds), at the start of a cache line.
/// Allocates only when this thread never had that many floats at once before.
pub(crate) fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let lines = len.div_ceil(LINE);
    if buffer.len() < lines {
        buffer = vec![Line([0.0; LINE]); lines];
    }
    // SAFETY: a line is 16 floats without padding, and the buffer has at least `lines` of them.
    let floats = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<f32>(), lines * LINE) };
    if cfg!(debug_assertions) {
        floats.fill(f32::NAN);
    }
    let result = work(&mut floats[..len]);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}
