//! A descriptor of cuDNN's backend interface: attributes are put into it, it is finished, and attributes are asked of it.

use crate::error::GpuError;
use cudarc::cudnn::sys;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;

pub(super) use sys::cudnnBackendAttributeName_t as Name;
pub(super) use sys::cudnnBackendAttributeType_t as Type;
pub(super) use sys::cudnnBackendDescriptorType_t as Kind;

/// The library's words for what went wrong last in this thread.
fn last_words() -> String {
    let mut text = [0_u8; 512];
    // SAFETY: there is room for so many bytes, and the library ends them by a zero.
    unsafe { sys::cudnnGetLastErrorString(text.as_mut_ptr().cast::<c_char>(), text.len()) };
    let text = CStr::from_bytes_until_nul(&text).unwrap_or_default();
    text.to_string_lossy().trim().replace(['\n', ','], " ")
}

pub(super) fn check(status: sys::cudnnStatus_t, doing: impl FnOnce() -> String) -> Result<(), GpuError> {
    match status {
        sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS => Ok(()),
        other => {
            let (doing, answer) = (doing(), format!("{other:?} {}", last_words()));
            Err(GpuError::Library { library: super::NAME, doing, answer: answer.trim().to_owned() })
        }
    }
}

/// One descriptor; it is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Descriptor(sys::cudnnBackendDescriptor_t);

// SAFETY: descriptors may be used from any thread, by one at a time; those that are shared are finished and only read.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor is this value's own.
        let _ = unsafe { sys::cudnnBackendDestroyDescriptor(self.0) };
    }
}

impl Descriptor {
    /// An empty one. The library must be there.
    pub(super) fn new(kind: Kind) -> Result<Self, GpuError> {
        let mut raw = null_mut();
        // SAFETY: the library is there, and the descriptor is written to.
        let status = unsafe { sys::cudnnBackendCreateDescriptor(kind, &raw mut raw) };
        check(status, || format!("making a {kind:?}"))?;
        Ok(Self(raw))
    }

    pub(super) fn raw(&self) -> sys::cudnnBackendDescriptor_t {
        self.0
    }

    /// # Safety
    /// `values` points to `count` values of the type.
    unsafe fn put(
        &self,
        name: Name,
        kind: Type,
        count: usize,
        values: *const c_void,
    ) -> Result<(), GpuError> {
        // SAFETY: the caller's.
        let status = unsafe { sys::cudnnBackendSetAttribute(self.0, name, kind, count as i64, values) };
        check(status, || format!("putting {name:?}"))
    }

    pub(super) fn integers(&self, name: Name, values: &[i64]) -> Result<(), GpuError> {
        // SAFETY: these are so many 64-bit numbers.
        unsafe { self.put(name, Type::CUDNN_TYPE_INT64, values.len(), values.as_ptr().cast()) }
    }

    pub(super) fn float(&self, name: Name, value: f32) -> Result<(), GpuError> {
        // SAFETY: this is one number in single precision.
        unsafe { self.put(name, Type::CUDNN_TYPE_FLOAT, 1, (&raw const value).cast()) }
    }

    /// A value of one of the library's lists of names, each of which is a 32-bit number.
    pub(super) fn named(&self, name: Name, kind: Type, value: u32) -> Result<(), GpuError> {
        // SAFETY: this is one 32-bit number.
        unsafe { self.put(name, kind, 1, (&raw const value).cast()) }
    }

    pub(super) fn descriptors(&self, name: Name, values: &[&Self]) -> Result<(), GpuError> {
        let raw: Vec<_> = values.iter().map(|value| value.0).collect();
        // SAFETY: these are so many descriptors.
        unsafe { self.put(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, raw.len(), raw.as_ptr().cast()) }
    }

    pub(super) fn handle(&self, name: Name, value: sys::cudnnHandle_t) -> Result<(), GpuError> {
        // SAFETY: this is one handle.
        unsafe { self.put(name, Type::CUDNN_TYPE_HANDLE, 1, (&raw const value).cast()) }
    }

    pub(super) fn addresses(&self, name: Name, values: &[u64]) -> Result<(), GpuError> {
        // SAFETY: these are so many addresses, which have 64 bits.
        unsafe { self.put(name, Type::CUDNN_TYPE_VOID_PTR, values.len(), values.as_ptr().cast()) }
    }

    /// A text with the zero that ends it.
    pub(super) fn text(&self, name: Name, value: &CStr) -> Result<(), GpuError> {
        let bytes = value.to_bytes_with_nul();
        // SAFETY: these are so many bytes.
        unsafe { self.put(name, Type::CUDNN_TYPE_CHAR, bytes.len(), bytes.as_ptr().cast()) }
    }

    /// The same, whole and not to be changed any more.
    pub(super) fn finished(self, what: impl FnOnce() -> String) -> Result<Self, GpuError> {
        // SAFETY: the descriptor is this value's own.
        check(unsafe { sys::cudnnBackendFinalize(self.0) }, what)?;
        Ok(self)
    }

    /// # Safety
    /// `values` points to room for `most` values of the type, or for descriptors to that many of the kind.
    unsafe fn ask(
        &self,
        name: Name,
        kind: Type,
        most: usize,
        values: *mut c_void,
    ) -> Result<usize, GpuError> {
        let mut count = 0;
        // SAFETY: the caller's; the count is written to.
        let status =
            unsafe { sys::cudnnBackendGetAttribute(self.0, name, kind, most as i64, &raw mut count, values) };
        check(status, || format!("asking for {name:?}"))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    pub(super) fn integer(&self, name: Name) -> Result<i64, GpuError> {
        let mut value = 0_i64;
        // SAFETY: there is room for one 64-bit number.
        unsafe { self.ask(name, Type::CUDNN_TYPE_INT64, 1, (&raw mut value).cast()) }?;
        Ok(value)
    }

    /// A value of one of the library's lists of names.
    pub(super) fn name(&self, name: Name, kind: Type) -> Result<u32, GpuError> {
        let mut value = 0_u32;
        // SAFETY: there is room for one 32-bit number.
        unsafe { self.ask(name, kind, 1, (&raw mut value).cast()) }?;
        Ok(value)
    }

    /// Values of one of the library's lists of names, which a newer library may have more of.
    pub(super) fn names(&self, name: Name, kind: Type) -> Result<Vec<u32>, GpuError> {
        let mut values = [0_u32; 64];
        // SAFETY: there is room for so many 32-bit numbers.
        let count = unsafe { self.ask(name, kind, values.len(), values.as_mut_ptr().cast()) }?;
        Ok(values[..count.min(values.len())].to_vec())
    }

    /// Descriptors of a kind, at most so many.
    pub(super) fn parts(&self, name: Name, kind: Kind, most: usize) -> Result<Vec<Self>, GpuError> {
        let mut parts = (0..most).map(|_| Self::new(kind)).collect::<Result<Vec<_>, _>>()?;
        let mut raw: Vec<_> = parts.iter().map(|part| part.0).collect();
        // SAFETY: there are so many descriptors of this kind, which the library fills.
        let count =
            unsafe { self.ask(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, most, raw.as_mut_ptr().cast()) }?;
        parts.truncate(count);
        Ok(parts)
    }
}
