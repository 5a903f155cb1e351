//! Buffers made, filled, copied, and brought back.

use crate::buffer::Buffer;
use crate::element::{Element, Scalar};
use crate::error::{Doing, GpuError};
use crate::gpu::Gpu;
use cudarc::driver::result;
use std::sync::Arc;

impl Gpu {
    /// A buffer with unspecified values, to be written before they are read.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`].
    pub fn unwritten(&self, element: Element, len: usize) -> Result<Buffer, GpuError> {
        let piece = if len == 0 { None } else { Some(Arc::new(self.arena().take(len * element.size())?)) };
        let mut buffer = Buffer { piece, len, element };
        if self.poisons() {
            self.fill(&mut buffer, 0xff)?;
        }
        Ok(buffer)
    }

    /// A buffer of zeros.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`], or what the driver answered.
    pub fn zeros(&self, element: Element, len: usize) -> Result<Buffer, GpuError> {
        let mut buffer = self.unwritten(element, len)?;
        self.fill(&mut buffer, 0)?;
        Ok(buffer)
    }

    /// Writes `byte` over every byte of a buffer.
    pub(crate) fn fill(&self, buffer: &mut Buffer, byte: u8) -> Result<(), GpuError> {
        let bytes = buffer.len * buffer.element.size();
        if bytes > 0 {
            let context = self.context();
            context.enter_behind()?;
            // SAFETY: the memory is this buffer's, and it has so many bytes.
            unsafe { result::memset_d8_async(buffer.address_to_write(), byte, bytes, context.stream) }
                .doing(|| format!("filling {bytes} bytes"))?;
        }
        Ok(())
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
        context.enter_behind()?;
        self.to().add(values.len() * T::ELEMENT.size());
        // SAFETY: values of a `Scalar` are so many bytes, all of them written.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
        context.staging.send(buffer.address_to_write(), bytes, context.stream)
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
            context.enter_behind()?;
            self.from().add(buffer.len * T::ELEMENT.size());
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
            context.enter_behind()?;
            let (to, from, bytes) =
                (copy.address_to_write(), buffer.address(), buffer.len * buffer.element.size());
            // SAFETY: both pieces of memory have so many bytes and are not the same.
            unsafe { result::memcpy_dtod_async(to, from, bytes, context.stream) }
                .doing(|| format!("copying {bytes} bytes on the GPU"))?;
        }
        Ok(copy)
    }

    /// Gives a buffer memory of its own, with the same values, if others hold it as well: then it may be written to.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`], or what the driver answered.
    pub fn make_unshared(&self, buffer: &mut Buffer) -> Result<(), GpuError> {
        if buffer.piece.as_mut().is_some_and(|piece| Arc::get_mut(piece).is_none()) {
            *buffer = self.copied(buffer)?;
        }
        Ok(())
    }

    /// A table that was made before under this name, or is made now.
    pub(crate) fn table<T: Scalar>(
        &self,
        name: String,
        make: impl FnOnce() -> Vec<T>,
    ) -> Result<Buffer, GpuError> {
        let mut tables = self.tables();
        if let Some(table) = tables.get(&name) {
            return Ok(table.clone());
        }
        let table = self.upload(&make())?;
        tables.insert(name, table.clone());
        Ok(table)
    }
}
