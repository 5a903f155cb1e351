//! Values in the memory of a GPU.

use crate::arena::Piece;
use crate::error::{Doing, GpuError};
use crate::gpu::Gpu;
use cudarc_dynamic::driver::result;
use cudarc_dynamic::driver::sys::CUdeviceptr;
use std::sync::Arc;

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// Single precision.
    F32,
    /// The upper half of single precision.
    Bf16,
    /// Whole numbers.
    U32,
    /// Addresses.
    U64,
}

impl Element {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::Bf16 => 2,
            Self::U64 => 8,
        }
    }
}

/// A type of the host that a buffer's values can have.
pub trait Scalar: Copy + Default + private::Sealed {
    /// What it is on the GPU.
    const ELEMENT: Element;
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

impl Scalar for f32 {
    const ELEMENT: Element = Element::F32;
}

/// The bits of a bf16.
impl Scalar for u16 {
    const ELEMENT: Element = Element::Bf16;
}

impl Scalar for u32 {
    const ELEMENT: Element = Element::U32;
}

impl Scalar for u64 {
    const ELEMENT: Element = Element::U64;
}

/// Values on a GPU. Cloning shares them; a buffer that is shared cannot be written to.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// None for a buffer without values.
    piece: Option<Arc<Piece>>,
    len: usize,
    element: Element,
}

impl Buffer {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the values are.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Where the values lie; 0 for none.
    pub(crate) fn address(&self) -> CUdeviceptr {
        self.piece.as_ref().map_or(0, |piece| piece.address)
    }

    /// Where they may be written.
    ///
    /// # Panics
    /// If the buffer is shared.
    pub(crate) fn address_to_write(&mut self) -> CUdeviceptr {
        let unshared = self.piece.as_mut().map(|piece| Arc::get_mut(piece).is_some());
        assert_ne!(unshared, Some(false), "a buffer that others hold as well is not to be written to");
        self.address()
    }
}

impl Gpu {
    /// A buffer with unspecified values, to be written before they are read.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`].
    pub fn unwritten(&self, element: Element, len: usize) -> Result<Buffer, GpuError> {
        let piece = if len == 0 { None } else { Some(Arc::new(self.arena().take(len * element.size())?)) };
        Ok(Buffer { piece, len, element })
    }

    /// A buffer of zeros.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`], or what the driver answered.
    pub fn zeros(&self, element: Element, len: usize) -> Result<Buffer, GpuError> {
        let mut buffer = self.unwritten(element, len)?;
        if len > 0 {
            let context = self.context();
            context.enter()?;
            // SAFETY: the memory is this buffer's, and it has so many bytes.
            unsafe {
                result::memset_d8_async(buffer.address_to_write(), 0, len * element.size(), context.stream)
            }
            .doing(|| format!("filling {len} values with zeros"))?;
        }
        Ok(buffer)
    }

    /// The values of the host on the GPU.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`], or what the driver answered.
    pub fn upload<T: Scalar>(&self, values: &[T]) -> Result<Buffer, GpuError> {
        let mut buffer = self.unwritten(T::ELEMENT, values.len())?;
        self.overwrite(&mut buffer, values)?;
        Ok(buffer)
    }

    /// Writes the values of the host over those of a buffer.
    ///
    /// # Errors
    /// What the driver answered.
    ///
    /// # Panics
    /// If the buffer holds another number or another kind of values, or is shared.
    pub fn overwrite<T: Scalar>(&self, buffer: &mut Buffer, values: &[T]) -> Result<(), GpuError> {
        assert_eq!((buffer.len, buffer.element), (values.len(), T::ELEMENT), "values do not fit the buffer");
        if values.is_empty() {
            return Ok(());
        }
        let context = self.context();
        context.enter()?;
        // SAFETY: the memory holds as many values of this type. The driver has copied the values when it returns: they
        // are in memory that is not page-locked.
        unsafe { result::memcpy_htod_async(buffer.address_to_write(), values, context.stream) }
            .doing(|| format!("copying {} values to the GPU", values.len()))
    }

    /// The values of a buffer; waits for all that writes them.
    ///
    /// # Errors
    /// What the driver answered, also about kernels launched before.
    ///
    /// # Panics
    /// If the buffer holds another kind of values.
    pub fn download<T: Scalar>(&self, buffer: &Buffer) -> Result<Vec<T>, GpuError> {
        assert_eq!(buffer.element, T::ELEMENT, "values of another kind are wanted");
        let mut values = vec![T::default(); buffer.len];
        if !values.is_empty() {
            let context = self.context();
            context.enter()?;
            // SAFETY: the memory holds as many values of this type, and the wait below ends the copy before the vector
            // is seen.
            unsafe { result::memcpy_dtoh_async(&mut values, buffer.address(), context.stream) }
                .doing(|| format!("copying {} values from the GPU", buffer.len))?;
        }
        self.wait()?;
        Ok(values)
    }

    /// A copy with memory of its own.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`], or what the driver answered.
    pub fn copied(&self, buffer: &Buffer) -> Result<Buffer, GpuError> {
        let mut copy = self.unwritten(buffer.element, buffer.len)?;
        if !buffer.is_empty() {
            let context = self.context();
            context.enter()?;
            let (to, from, bytes) =
                (copy.address_to_write(), buffer.address(), buffer.len * buffer.element.size());
            // SAFETY: both pieces of memory have so many bytes and are not the same.
            unsafe { result::memcpy_dtod_async(to, from, bytes, context.stream) }
                .doing(|| format!("copying {bytes} bytes on the GPU"))?;
        }
        Ok(copy)
    }
}
