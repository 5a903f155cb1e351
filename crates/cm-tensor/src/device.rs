//! A GPU and how products are computed on it: where a pass has its tensors, if not on the host.
//!
//! What values are there: products (convolutions, affine maps, attention) take theirs in the type of their [`Precision`]
//! and give it; other operations keep the type of their inputs, single precision where two differ. What comes from the
//! host is in single precision, and so are parameters, their gradients, statistics and losses.

use cm_gpu::{Buffer, Element, Gpu, GpuError};
use std::cell::Cell;
use std::panic::{UnwindSafe, catch_unwind, resume_unwind};

pub use cm_gpu::conv2d::Precision;

/// A GPU, and how products are computed on it. Cloning shares the GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    gpu: Gpu,
    precision: Precision,
}

/// What a device could not do. An operation returns a tensor and no error, so this unwinds to [`caught`].
struct Fault(GpuError);

/// What `work` returns, or the first thing that a device could not do in it; what `work` held is dropped then.
///
/// # Errors
/// [`GpuError`] of an operation, a copy or an update.
pub fn caught<T>(work: impl FnOnce() -> T + UnwindSafe) -> Result<T, GpuError> {
    catch_unwind(work).map_err(|payload| match payload.downcast::<Fault>() {
        Ok(fault) => fault.0,
        Err(other) => resume_unwind(other),
    })
}

/// What a device did; what it could not do goes to [`caught`].
pub fn done<T>(result: Result<T, GpuError>) -> T {
    result.unwrap_or_else(|error| resume_unwind(Box::new(Fault(error))))
}

thread_local! {
    static CROSSED: Cell<usize> = const { Cell::new(0) };
}

/// How many values of tensors and gradients this thread has moved to or from devices so far. What operations take along
/// for themselves is not among them: factors of images, small tables, keys of dropout.
pub fn crossed() -> usize {
    CROSSED.get()
}

impl Device {
    /// A GPU on which products are computed in `precision`.
    pub fn new(gpu: Gpu, precision: Precision) -> Self {
        Self { gpu, precision }
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// How products are computed.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Values of the host on the device, in single precision.
    pub fn uploaded(&self, values: &[f32]) -> Buffer {
        CROSSED.set(CROSSED.get() + values.len());
        done(self.gpu.upload(values))
    }

    /// Values of the device on the host.
    pub fn downloaded(&self, values: &Buffer) -> Vec<f32> {
        CROSSED.set(CROSSED.get() + values.len());
        done(self.gpu.converted(values, Element::F32).and_then(|values| self.gpu.download(&values)))
    }

    /// a + b, in single precision if one of them is.
    pub fn sum(&self, a: &Buffer, b: &Buffer) -> Buffer {
        done(self.alike(a, b).and_then(|[a, b]| self.gpu.add(&a, &b, 1.0)))
    }

    /// As a product takes it.
    pub(crate) fn factor(&self, x: &Buffer) -> Result<Buffer, GpuError> {
        self.gpu.converted(x, self.precision.element())
    }

    /// In single precision.
    pub(crate) fn single(&self, x: &Buffer) -> Result<Buffer, GpuError> {
        self.gpu.converted(x, Element::F32)
    }

    /// Both as they are, or in single precision if they differ.
    pub(crate) fn alike(&self, a: &Buffer, b: &Buffer) -> Result<[Buffer; 2], GpuError> {
        if a.element() == b.element() {
            return Ok([a.clone(), b.clone()]);
        }
        Ok([self.single(a)?, self.single(b)?])
    }

    /// `scale` x.
    pub(crate) fn scaled(&self, x: &Buffer, scale: f32) -> Result<Buffer, GpuError> {
        if scale == 1.0 { Ok(x.clone()) } else { self.gpu.scaled(x, scale) }
    }
}
