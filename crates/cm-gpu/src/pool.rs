//! Max and average pooling over square windows, and the mean over a whole image.

use crate::launch::Launch;
use crate::source::{POOL, Variant};
use crate::{Buffer, Element, Gpu, GpuError};

/// Sizes of a pooling of \[batch, height, width, channels\] images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Images.
    pub batch: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Side of the window.
    pub kernel: usize,
    /// Step between windows, at least 1.
    pub stride: usize,
    /// Border added on every side; at most half the window.
    pub padding: usize,
    /// Whether a last window that hangs over the far border is taken as well (`ceil_mode` in PyTorch), unless it
    /// would begin beyond the image.
    pub round_up: bool,
}

impl PoolShape {
    /// Rows of the output.
    pub fn out_height(&self) -> usize {
        self.windows(self.height)
    }

    /// Columns of the output.
    pub fn out_width(&self) -> usize {
        self.windows(self.width)
    }

    fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    fn output_len(&self) -> usize {
        self.batch * self.out_height() * self.out_width() * self.channels
    }

    fn windows(&self, size: usize) -> usize {
        let Some(room) = (size + 2 * self.padding).checked_sub(self.kernel) else { return 0 };
        let whole = room / self.stride + 1;
        let hanging = self.round_up && !room.is_multiple_of(self.stride);
        whole + usize::from(hanging && whole * self.stride < size + self.padding)
    }

    fn check(&self, input: usize, output: usize) {
        assert!(self.kernel > 0 && self.stride > 0, "window and stride of a pooling are at least 1");
        assert!(2 * self.padding <= self.kernel, "padding {} is above half the window", self.padding);
        assert_eq!(input, self.input_len(), "input of pooling {self:?}");
        assert_eq!(output, self.output_len(), "output of pooling {self:?}");
    }

    /// All sizes but the batch, as the kernels take them.
    fn arguments<'a>(&self, launch: Launch<'a>) -> Launch<'a> {
        let launch = launch.int(self.height).int(self.width).int(self.out_height()).int(self.out_width());
        launch.int(self.channels).int(self.kernel).int(self.stride).int(self.padding)
    }
}

impl Gpu {
    /// The largest value of each window, and the pixels y * width + x where they are, the first of equals.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn max_pool(&self, shape: &PoolShape, x: &Buffer) -> Result<(Buffer, Buffer), GpuError> {
        let len = shape.output_len();
        shape.check(x.len(), len);
        let (mut out, mut winners) = (self.unwritten(x.element(), len)?, self.unwritten(Element::U32, len)?);
        let launch = self.launch(&POOL, Variant::of(x.element()), "max_pool")?.read(x);
        shape.arguments(launch.write(&mut out).write(&mut winners).long(len)).over(len)?;
        Ok((out, winners))
    }

    /// The gradient of [`Gpu::max_pool`] from its winners.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn max_pool_backward(
        &self,
        shape: &PoolShape,
        winners: &Buffer,
        grad_out: &Buffer,
    ) -> Result<Buffer, GpuError> {
        let len = shape.input_len();
        shape.check(len, grad_out.len());
        assert_eq!(winners.len(), grad_out.len(), "one winner for each output");
        let mut grad_x = self.unwritten(grad_out.element(), len)?;
        let launch = self.launch(&POOL, Variant::of(grad_out.element()), "max_pool_backward")?;
        shape.arguments(launch.read(winners).read(grad_out).write(&mut grad_x).long(len)).over(len)?;
        Ok(grad_x)
    }

    /// The mean of each window: padding is counted as zeros (PyTorch's default), or left out if `inside` (TensorFlow's
    /// way).
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit, or windows hang over the border and are not `inside`.
    pub fn average_pool(&self, shape: &PoolShape, inside: bool, x: &Buffer) -> Result<Buffer, GpuError> {
        let len = shape.output_len();
        shape.check(x.len(), len);
        assert!(inside || !shape.round_up, "what is beyond the padding has no mean");
        let mut out = self.unwritten(x.element(), len)?;
        let launch = self.launch(&POOL, Variant::of(x.element()), "average_pool")?.read(x).write(&mut out);
        shape.arguments(launch.long(len)).int(usize::from(inside)).over(len)?;
        Ok(out)
    }

    /// The gradient of [`Gpu::average_pool`] with padding counted as zeros.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit, or windows hang over the border.
    pub fn average_pool_backward(&self, shape: &PoolShape, grad_out: &Buffer) -> Result<Buffer, GpuError> {
        let len = shape.input_len();
        shape.check(len, grad_out.len());
        assert!(!shape.round_up, "what is beyond the padding has no mean");
        let mut grad_x = self.unwritten(grad_out.element(), len)?;
        let launch = self.launch(&POOL, Variant::of(grad_out.element()), "average_pool_backward")?;
        shape.arguments(launch.read(grad_out).write(&mut grad_x).long(len)).over(len)?;
        Ok(grad_x)
    }

    /// The mean over the pixels: \[batch, pixels, channels\] to \[batch, channels\].
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn global_average(
        &self,
        batch: usize,
        pixels: usize,
        channels: usize,
        x: &Buffer,
    ) -> Result<Buffer, GpuError> {
        assert_eq!(x.len(), batch * pixels * channels, "input is [{batch}, {pixels}, {channels}]");
        let mut out = self.unwritten(x.element(), batch * channels)?;
        let launch = self.launch(&POOL, Variant::of(x.element()), "global_average")?.read(x).write(&mut out);
        launch.int(pixels).int(channels).grid([channels.div_ceil(32), batch, 1], 0)?;
        Ok(out)
    }

    /// The gradient of [`Gpu::global_average`].
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn global_average_backward(
        &self,
        batch: usize,
        pixels: usize,
        channels: usize,
        grad_out: &Buffer,
    ) -> Result<Buffer, GpuError> {
        assert_eq!(grad_out.len(), batch * channels, "gradient of the output is [{batch}, {channels}]");
        let len = batch * pixels * channels;
        let mut grad_x = self.unwritten(grad_out.element(), len)?;
        let launch = self.launch(&POOL, Variant::of(grad_out.element()), "global_average_backward")?;
        launch.read(grad_out).write(&mut grad_x).long(len).int(pixels).int(channels).over(len)?;
        Ok(grad_x)
    }
}
