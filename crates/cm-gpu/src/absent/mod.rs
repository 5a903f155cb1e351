//! Where there is no driver to look for: a GPU, its buffers and its launches as types without values.
//!
//! Operations are written with them and compile as everywhere; the compiler sees that they are never called, and leaves
//! them out of the program.

pub(crate) mod launch;
pub mod libraries;

use crate::description::{Choosing, Device, MemoryUse};
use crate::element::{Element, Scalar};
use crate::error::GpuError;
use std::convert::Infallible;

/// How a GPU would be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Its number, from 0.
    pub device: usize,
    /// Whether memory of dropped buffers is kept for others.
    pub reuse: bool,
    /// Whether a buffer that is not written yet holds NaN.
    pub poison: bool,
    /// Who would compute convolutions and matrix products.
    pub products: Choosing,
}

/// A GPU, of which there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu(Infallible);

/// Values on a GPU.
#[derive(Clone, Debug)]
pub struct Buffer(Infallible);

impl Buffer {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self.0 {}
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        match self.0 {}
    }

    /// What the values are.
    pub fn element(&self) -> Element {
        match self.0 {}
    }

    pub(crate) fn address(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn address_to_write(&mut self) -> u64 {
        match self.0 {}
    }
}

impl Gpu {
    /// Opens no GPU.
    ///
    /// # Errors
    /// [`GpuError::NoDriver`].
    pub fn open(_options: &Options) -> Result<Self, GpuError> {
        Err(libraries::no_driver())
    }

    /// What the driver says of it.
    pub fn device(&self) -> &Device {
        match self.0 {}
    }

    /// Gives the driver all launches that wait.
    ///
    /// # Errors
    /// None: it is never called, here and below.
    pub fn submit(&self) -> Result<(), GpuError> {
        match self.0 {}
    }

    /// How much memory is taken.
    pub fn memory(&self) -> MemoryUse {
        match self.0 {}
    }

    /// A buffer with unspecified values.
    ///
    /// # Errors
    /// None.
    pub fn unwritten(&self, _element: Element, _len: usize) -> Result<Buffer, GpuError> {
        match self.0 {}
    }

    /// A buffer of zeros.
    ///
    /// # Errors
    /// None.
    pub fn zeros(&self, _element: Element, _len: usize) -> Result<Buffer, GpuError> {
        match self.0 {}
    }

    /// The values of the host on the GPU.
    ///
    /// # Errors
    /// None.
    pub fn upload<T: Scalar>(&self, _values: &[T]) -> Result<Buffer, GpuError> {
        match self.0 {}
    }

    /// The values of a buffer.
    ///
    /// # Errors
    /// None.
    pub fn download<T: Scalar>(&self, _buffer: &Buffer) -> Result<Vec<T>, GpuError> {
        match self.0 {}
    }

    /// Gives a buffer memory of its own.
    ///
    /// # Errors
    /// None.
    pub fn make_unshared(&self, _buffer: &mut Buffer) -> Result<(), GpuError> {
        match self.0 {}
    }

    /// Which products were timed.
    pub fn products_table(&self) -> Option<String> {
        match self.0 {}
    }

    /// Products by a table.
    ///
    /// # Errors
    /// None.
    pub fn fix_products(&self, _text: &str) -> Result<(), GpuError> {
        match self.0 {}
    }

    /// Who computes products.
    pub fn products_described(&self) -> Option<String> {
        match self.0 {}
    }

    pub(crate) fn table<T: Scalar>(
        &self,
        _name: String,
        _make: impl FnOnce() -> Vec<T>,
    ) -> Result<Buffer, GpuError> {
        match self.0 {}
    }

    pub(crate) fn list(
        &self,
        _what: &'static str,
        _list: Vec<u64>,
        _make: impl FnOnce(&[u64]) -> Result<[Buffer; 2], GpuError>,
    ) -> Result<[Buffer; 2], GpuError> {
        match self.0 {}
    }
}

/// A place to meet at, of which there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invitation(pub [u8; 128]);

impl Invitation {
    /// None is made.
    ///
    /// # Errors
    /// [`GpuError::NoDriver`].
    pub fn new() -> Result<Self, GpuError> {
        Err(libraries::no_driver())
    }
}

/// A GPU among others, of which there is none.
#[derive(Debug)]
pub struct Together(Infallible);

impl Together {
    /// It is not.
    ///
    /// # Errors
    /// [`GpuError::NoDriver`].
    pub fn is_possible() -> Result<(), GpuError> {
        Err(libraries::no_driver())
    }

    /// Joins nobody.
    ///
    /// # Errors
    /// None: there is no GPU to call it with.
    pub fn join(gpu: &Gpu, _: Invitation, _rank: usize, _size: usize) -> Result<Self, GpuError> {
        match gpu.0 {}
    }

    /// The GPU that has joined.
    pub fn gpu(&self) -> &Gpu {
        match self.0 {}
    }

    /// The sum over all processes.
    ///
    /// # Errors
    /// None.
    pub fn sum(&self, _values: &Buffer) -> Result<Buffer, GpuError> {
        match self.0 {}
    }

    /// Waits for sums.
    ///
    /// # Errors
    /// None.
    pub fn settle(&self, _patience: std::time::Duration) -> Result<(), GpuError> {
        match self.0 {}
    }
}
