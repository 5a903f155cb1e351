//! What networks that preserve magnitudes do to pixels (Karras et al. 2024).

use crate::source::{MAGNITUDE, Variant};
use crate::{Buffer, Element, Gpu, GpuError};

impl Gpu {
    /// Rows of `each` values over their root mean square and 1e-4 more, in the type of `x`, and what each row was divided
    /// by, in single precision.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If `x` is no whole rows.
    pub fn pixel_norm(&self, each: usize, x: &Buffer) -> Result<(Buffer, Buffer), GpuError> {
        assert!(each > 0 && x.len().is_multiple_of(each), "{} values in rows of {each}", x.len());
        let rows = x.len() / each;
        let mut out = self.unwritten(x.element(), x.len())?;
        let mut divisors = self.unwritten(Element::F32, rows)?;
        let launch = self.launch(&MAGNITUDE, Variant::of(x.element()), "pixel_norm")?;
        let launch = launch.read(x).write(&mut out).write(&mut divisors).int(rows).int(each);
        launch.grid([rows.div_ceil(4), 1, 1], 0)?;
        Ok((out, divisors))
    }

    /// The gradient of [`Gpu::pixel_norm`] by `x`.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit, or types differ.
    pub fn pixel_norm_backward(
        &self,
        x: &Buffer,
        divisors: &Buffer,
        grad_out: &Buffer,
    ) -> Result<Buffer, GpuError> {
        assert_eq!(x.len(), grad_out.len(), "input and gradient differ in length");
        let rows = divisors.len();
        let each = x.len().checked_div(rows).unwrap_or(1);
        assert_eq!(x.len(), rows * each, "{rows} whole rows");
        let mut grad_x = self.unwritten(x.element(), x.len())?;
        let launch = self.launch(&MAGNITUDE, Variant::of(x.element()), "pixel_norm_backward")?;
        let launch = launch.read(x).read(divisors).read(grad_out).write(&mut grad_x).int(rows).int(each);
        launch.grid([rows.div_ceil(4), 1, 1], 0)?;
        Ok(grad_x)
    }

    /// x (1 + factor), `factors` one for each image and channel in single precision, \[images, channels\].
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn modulate(&self, channels: usize, x: &Buffer, factors: &Buffer) -> Result<Buffer, GpuError> {
        let image = of_an_image(channels, x, factors.len());
        let mut out = self.unwritten(x.element(), x.len())?;
        let launch = self.launch(&MAGNITUDE, Variant::of(x.element()), "modulate")?;
        launch.read(x).read(factors).write(&mut out).long(x.len()).long(image).int(channels).over(x.len())?;
        Ok(out)
    }

    /// The gradient of [`Gpu::modulate`] by the `factors` of so many, in single precision. That by `x` is the gradient
    /// modulated.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit, or types differ.
    pub fn modulate_backward(
        &self,
        channels: usize,
        factors: usize,
        x: &Buffer,
        grad_out: &Buffer,
    ) -> Result<Buffer, GpuError> {
        assert_eq!(x.len(), grad_out.len(), "input and gradient differ in length");
        let image = of_an_image(channels, x, factors);
        let mut grad_factors = self.unwritten(Element::F32, factors)?;
        let launch = self.launch(&MAGNITUDE, Variant::of(x.element()), "modulate_backward")?;
        let launch = launch.read(x).read(grad_out).write(&mut grad_factors).long(factors).long(image);
        launch.int(channels).over(factors)?;
        Ok(grad_factors)
    }

    /// Values between -`limit` and `limit`. NaN stays NaN.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn clamp(&self, x: &Buffer, limit: f32) -> Result<Buffer, GpuError> {
        let mut out = self.unwritten(x.element(), x.len())?;
        let launch = self.launch(&MAGNITUDE, Variant::of(x.element()), "clamp")?;
        launch.read(x).write(&mut out).long(x.len()).float(limit).over(x.len().div_ceil(4))?;
        Ok(out)
    }

    /// `grad_out`, and 0 where `x` lies beyond `limit`.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If lengths or types differ.
    pub fn clamp_backward(&self, x: &Buffer, grad_out: &Buffer, limit: f32) -> Result<Buffer, GpuError> {
        assert_eq!(x.len(), grad_out.len(), "input and gradient differ in length");
        let mut grad_x = self.unwritten(x.element(), x.len())?;
        let launch = self.launch(&MAGNITUDE, Variant::of(x.element()), "clamp_backward")?;
        let launch = launch.read(x).read(grad_out).write(&mut grad_x).long(x.len()).float(limit);
        launch.over(x.len().div_ceil(4))?;
        Ok(grad_x)
    }
}

/// Values of each image, of which there is a factor for each channel.
fn of_an_image(channels: usize, x: &Buffer, factors: usize) -> usize {
    assert!(channels > 0 && factors.is_multiple_of(channels), "{factors} factors for {channels} channels");
    let image = x.len().checked_div(factors / channels).unwrap_or(0);
    assert!(image.is_multiple_of(channels), "whole pixels");
    assert_eq!(image * (factors / channels), x.len(), "factors for each image");
    image.max(1)
}
