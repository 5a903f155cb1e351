//! Output buffers that are not zeroed first.
//!
//! Zeroing a buffer that is about to be overwritten costs as much memory traffic as writing it. In debug builds
//! the buffer is filled with NaN instead, so a kernel that fails to write all of its output is caught by any test.

/// A vector of `len` values produced by `write`, which must write every element.
pub fn written_by(len: usize, write: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut buffer = unwritten(len);
    write(&mut buffer);
    buffer
}

/// A vector of `len` unspecified values; the caller overwrites them all before reading any.
#[cfg(debug_assertions)]
pub fn unwritten(len: usize) -> Vec<f32> {
    vec![f32::NAN; len]
}

/// A vector of `len` unspecified values; the caller overwrites them all before reading any.
#[cfg(not(debug_assertions))]
#[expect(clippy::uninit_vec, reason = "the point of the function; debug builds check it with NaN")]
pub fn unwritten(len: usize) -> Vec<f32> {
    let mut buffer = Vec::with_capacity(len);
    // SAFETY: the capacity is `len`, every bit pattern is an f32, and the contract is that elements are written
    // before they are read; the debug build's NaN filling makes the test suite enforce it.
    unsafe { buffer.set_len(len) };
    buffer
}
