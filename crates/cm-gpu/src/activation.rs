//! Element-wise non-linearities: SiLU and ReLU, with their derivatives.

use crate::source::{ACTIVATION, Variant};
use crate::{Buffer, Gpu, GpuError};

impl Gpu {
    /// x / (1 + e^-x), in the type of `x`.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn silu(&self, x: &Buffer) -> Result<Buffer, GpuError> {
        self.mapped("silu", x)
    }

    /// `grad_out` x the derivative of SiLU at `x`.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If lengths or types differ.
    pub fn silu_backward(&self, x: &Buffer, grad_out: &Buffer) -> Result<Buffer, GpuError> {
        self.mapped_backward("silu_backward", x, grad_out)
    }

    /// max(x, 0). NaN stays NaN.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn relu(&self, x: &Buffer) -> Result<Buffer, GpuError> {
        self.mapped("relu", x)
    }

    /// `grad_out` where `x` > 0, else 0.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If lengths or types differ.
    pub fn relu_backward(&self, x: &Buffer, grad_out: &Buffer) -> Result<Buffer, GpuError> {
        self.mapped_backward("relu_backward", x, grad_out)
    }

    fn mapped(&self, name: &str, x: &Buffer) -> Result<Buffer, GpuError> {
        let mut out = self.unwritten(x.element(), x.len())?;
        let launch = self.launch(&ACTIVATION, Variant::of(x.element()), name)?;
        launch.read(x).write(&mut out).long(x.len()).over(x.len().div_ceil(4))?;
        Ok(out)
    }

    fn mapped_backward(&self, name: &str, x: &Buffer, grad_out: &Buffer) -> Result<Buffer, GpuError> {
        assert_eq!(x.len(), grad_out.len(), "input and gradient differ in length");
        let mut grad_x = self.unwritten(x.element(), x.len())?;
        let launch = self.launch(&ACTIVATION, Variant::of(x.element()), name)?;
        launch.read(x).read(grad_out).write(&mut grad_x).long(x.len()).over(x.len().div_ceil(4))?;
        Ok(grad_x)
    }
}
