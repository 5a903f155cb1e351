//! Arithmetic on whole buffers: sums, scalings, scalings by image, joined and split channels, conversions.

use crate::source::{ELEMENTWISE, Variant};
use crate::{Buffer, Element, Gpu, GpuError};

/// That two buffers are as long as each other.
#[track_caller]
fn same_length(a: &Buffer, b: &Buffer) {
    assert_eq!(a.len(), b.len(), "buffers of different lengths");
}

impl Gpu {
    /// `scale` (a + b).
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If lengths or types differ.
    pub fn add(&self, a: &Buffer, b: &Buffer, scale: f32) -> Result<Buffer, GpuError> {
        same_length(a, b);
        let mut out = self.unwritten(a.element(), a.len())?;
        let launch = self.launch(&ELEMENTWISE, Variant::of(a.element()), "add")?;
        launch.read(a).read(b).write(&mut out).long(a.len()).float(scale).over(a.len().div_ceil(4))?;
        Ok(out)
    }

    /// `scale` a.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn scaled(&self, a: &Buffer, scale: f32) -> Result<Buffer, GpuError> {
        let mut out = self.unwritten(a.element(), a.len())?;
        let launch = self.launch(&ELEMENTWISE, Variant::of(a.element()), "scaled")?;
        launch.read(a).write(&mut out).long(a.len()).float(scale).over(a.len().div_ceil(4))?;
        Ok(out)
    }

    /// a b, element by element.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If lengths or types differ.
    pub fn multiply(&self, a: &Buffer, b: &Buffer) -> Result<Buffer, GpuError> {
        same_length(a, b);
        let mut out = self.unwritten(a.element(), a.len())?;
        let launch = self.launch(&ELEMENTWISE, Variant::of(a.element()), "product")?;
        launch.read(a).read(b).write(&mut out).long(a.len()).over(a.len().div_ceil(4))?;
        Ok(out)
    }

    /// acc += x.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If lengths or types differ, or `acc` is shared.
    pub fn add_assign(&self, acc: &mut Buffer, x: &Buffer) -> Result<(), GpuError> {
        same_length(acc, x);
        let launch = self.launch(&ELEMENTWISE, Variant::of(x.element()), "add_assign")?;
        launch.write(acc).read(x).long(x.len()).over(x.len().div_ceil(4))
    }

    /// acc += `weight` (x - acc).
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If lengths or types differ, or `acc` is shared.
    pub fn interpolate(&self, acc: &mut Buffer, x: &Buffer, weight: f32) -> Result<(), GpuError> {
        same_length(acc, x);
        let launch = self.launch(&ELEMENTWISE, Variant::of(x.element()), "interpolate")?;
        launch.write(acc).read(x).long(x.len()).float(weight).over(x.len().div_ceil(4))
    }

    /// a\[i\] x\[i, j\] + b\[i\] y\[i, j\]: `a` and `b` hold a factor for each row, in single precision. Without `other`,
    /// a\[i\] x\[i, j\].
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn rows_scale_add(
        &self,
        a: &Buffer,
        x: &Buffer,
        other: Option<(&Buffer, &Buffer)>,
    ) -> Result<Buffer, GpuError> {
        let rows = a.len();
        assert!(if rows == 0 { x.is_empty() } else { x.len().is_multiple_of(rows) }, "{rows} whole rows");
        if let Some((b, y)) = other {
            same_length(a, b);
            same_length(x, y);
        }
        let mut out = self.unwritten(x.element(), x.len())?;
        let row = x.len().checked_div(rows).unwrap_or(0).max(1);
        let launch = self.launch(&ELEMENTWISE, Variant::of(x.element()), "rows_scale_add")?.read(a).read(x);
        let launch = launch.read_if(other.map(|(b, _)| b)).read_if(other.map(|(_, y)| y));
        launch.write(&mut out).long(x.len()).long(row).over(x.len())?;
        Ok(out)
    }

    /// The channels of `a`, then those of `b`, for each of `pixels` pixels.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a buffer does not hold whole pixels, or types differ.
    pub fn concat_channels(&self, pixels: usize, a: &Buffer, b: &Buffer) -> Result<Buffer, GpuError> {
        let channels = |x: &Buffer| {
            assert!(x.len().is_multiple_of(pixels.max(1)), "whole pixels");
            x.len() / pixels.max(1)
        };
        let (channels_a, channels_b) = (channels(a), channels(b));
        let len = a.len() + b.len();
        let mut out = self.unwritten(a.element(), len)?;
        let launch = self.launch(&ELEMENTWISE, Variant::of(a.element()), "concat_channels")?;
        let launch = launch.read(a).read(b).write(&mut out).long(len);
        launch.int(channels_a).int(channels_b).over(len)?;
        Ok(out)
    }

    /// The `count` channels from `first` on of pixels of `channels`.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If there are not so many, or the buffer does not hold whole pixels.
    pub fn slice_channels(
        &self,
        joined: &Buffer,
        channels: usize,
        first: usize,
        count: usize,
    ) -> Result<Buffer, GpuError> {
        assert!(first + count <= channels && joined.len().is_multiple_of(channels.max(1)), "whole pixels");
        let len = joined.len() / channels.max(1) * count;
        let mut out = self.unwritten(joined.element(), len)?;
        let launch = self.launch(&ELEMENTWISE, Variant::of(joined.element()), "slice_channels")?;
        let launch = launch.read(joined).write(&mut out).long(len);
        launch.int(channels).int(first).int(count).over(len)?;
        Ok(out)
    }

    /// `scale` x + `shift`, channel by channel; images of one channel become images of as many as there are factors.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn affine_channels(
        &self,
        inputs: usize,
        x: &Buffer,
        scale: &Buffer,
        shift: &Buffer,
    ) -> Result<Buffer, GpuError> {
        same_length(scale, shift);
        let channels = scale.len();
        let fits = (inputs == 1 || inputs == channels) && inputs > 0 && x.len().is_multiple_of(inputs);
        assert!(fits, "{inputs} channels to {channels}");
        let len = x.len() / inputs * channels;
        let mut out = self.unwritten(x.element(), len)?;
        let launch = self.launch(&ELEMENTWISE, Variant::of(x.element()), "affine_channels")?;
        let launch = launch.read(x).read(scale).read(shift).write(&mut out);
        launch.long(len).int(inputs).int(channels).over(len)?;
        Ok(out)
    }

    /// The gradient of [`Gpu::affine_channels`] by `x`.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn affine_channels_backward(
        &self,
        inputs: usize,
        scale: &Buffer,
        grad_out: &Buffer,
    ) -> Result<Buffer, GpuError> {
        let channels = scale.len();
        assert!(channels > 0 && grad_out.len().is_multiple_of(channels), "whole pixels");
        assert!(inputs == 1 || inputs == channels, "{inputs} channels to {channels}");
        let len = grad_out.len() / channels * inputs;
        let mut grad_x = self.unwritten(grad_out.element(), len)?;
        let launch =
            self.launch(&ELEMENTWISE, Variant::of(grad_out.element()), "affine_channels_backward")?;
        let launch = launch.read(grad_out).read(scale).write(&mut grad_x);
        launch.long(len).int(inputs).int(channels).over(len)?;
        Ok(grad_x)
    }

    /// The same values in another type: shared if it is theirs already, rounded to nearest if it is narrower.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If one of the types is no float.
    pub fn converted(&self, x: &Buffer, element: Element) -> Result<Buffer, GpuError> {
        let (name, variant) = match (x.element(), element) {
            (from, to) if from == to => return Ok(x.clone()),
            (Element::F32, to) => ("narrowed", Variant::of(to)),
            (from, Element::F32) => ("widened", Variant::of(from)),
            (from, to) => panic!("{from:?} is not converted to {to:?}"),
        };
        let mut out = self.unwritten(element, x.len())?;
        let launch = self.launch(&ELEMENTWISE, variant, name)?;
        launch.read(x).write(&mut out).long(x.len()).over(x.len().div_ceil(4))?;
        Ok(out)
    }
}
