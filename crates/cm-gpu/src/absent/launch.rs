//! Launches of kernels.

use super::{Buffer, Gpu};
use crate::error::GpuError;
use crate::source::{Source, Variant};
use std::convert::Infallible;
use std::marker::PhantomData;

/// A kernel and what it has been given so far.
pub(crate) struct Launch<'a>(Infallible, PhantomData<&'a Gpu>);

impl Gpu {
    pub(crate) fn launch(
        &self,
        _source: &Source,
        _variant: Variant,
        _name: &str,
    ) -> Result<Launch<'_>, GpuError> {
        match self.0 {}
    }
}

impl Launch<'_> {
    pub(crate) fn read(self, _buffer: &Buffer) -> Self {
        match self.0 {}
    }

    pub(crate) fn read_if(self, _buffer: Option<&Buffer>) -> Self {
        match self.0 {}
    }

    pub(crate) fn write(self, _buffer: &mut Buffer) -> Self {
        match self.0 {}
    }

    pub(crate) fn write_if(self, _buffer: Option<&mut Buffer>) -> Self {
        match self.0 {}
    }

    pub(crate) fn int(self, _value: usize) -> Self {
        match self.0 {}
    }

    pub(crate) fn long(self, _value: usize) -> Self {
        match self.0 {}
    }

    pub(crate) fn float(self, _value: f32) -> Self {
        match self.0 {}
    }

    pub(crate) fn over(self, _work: usize) -> Result<(), GpuError> {
        match self.0 {}
    }

    pub(crate) fn grid(self, _blocks: [usize; 3], _shared_bytes: usize) -> Result<(), GpuError> {
        match self.0 {}
    }
}
