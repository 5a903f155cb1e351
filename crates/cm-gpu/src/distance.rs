//! Distances between the two images of a pair, and their gradients by the first.

use crate::source::{DISTANCE, Variant};
use crate::{Buffer, Element, Gpu, GpuError};

/// A distance over the D values of an image, d = x - y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distance {
    /// Mean of |d|.
    L1,
    /// Root of the mean of d^2. Its gradient at d = 0 is taken as 0.
    L2,
    /// Mean of d^2.
    SquaredL2,
    /// Largest |d|. Its gradient is that of the first largest value alone; at d = 0 it is taken as 0.
    LInfinity,
    /// sqrt(sum of d^2 + c^2) - c.
    PseudoHuber {
        /// c, positive.
        c: f32,
    },
}

impl Distance {
    /// The kernels' number of it, and c.
    fn kind(self) -> (usize, f32) {
        match self {
            Self::L1 => (0, 0.0),
            Self::L2 => (1, 0.0),
            Self::SquaredL2 => (2, 0.0),
            Self::LInfinity => (3, 0.0),
            Self::PseudoHuber { c } => (4, c),
        }
    }
}

/// Values of an image, one of `rows` in `x` and `y`.
fn dim(rows: usize, x: &Buffer, y: &Buffer) -> usize {
    assert_eq!(x.len(), y.len(), "images of different sizes");
    assert!(if rows == 0 { x.is_empty() } else { x.len().is_multiple_of(rows) }, "{rows} whole images");
    x.len().checked_div(rows).unwrap_or(0)
}

/// Pixels of an image.
fn pixels(rows: usize, channels: usize, x: &Buffer, y: &Buffer) -> usize {
    let dim = dim(rows, x, y);
    assert!(channels > 0 && dim.is_multiple_of(channels), "whole pixels");
    dim / channels
}

impl Gpu {
    /// The distance of each of `rows` images of `x` to its partner in `y`, in single precision.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If the buffers do not hold `rows` images of one size.
    pub fn distance(&self, kind: Distance, rows: usize, x: &Buffer, y: &Buffer) -> Result<Buffer, GpuError> {
        let (dim, (kind, c)) = (dim(rows, x, y), kind.kind());
        let mut out = self.unwritten(Element::F32, rows)?;
        let launch = self.launch(&DISTANCE, Variant::of(x.element()), "distance")?.read(x).read(y);
        launch.write(&mut out).long(dim).int(kind).float(c).grid([rows, 1, 1], 0)?;
        Ok(out)
    }

    /// The gradient by `x` of the sum of `grad_out`\[i\] x distance\[i\].
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// As [`Gpu::distance`].
    pub fn distance_backward(
        &self,
        kind: Distance,
        x: &Buffer,
        y: &Buffer,
        grad_out: &Buffer,
    ) -> Result<Buffer, GpuError> {
        let rows = grad_out.len();
        let (dim, (kind, c)) = (dim(rows, x, y), kind.kind());
        let mut grad_x = self.unwritten(x.element(), x.len())?;
        let launch = self.launch(&DISTANCE, Variant::of(x.element()), "distance_backward")?.read(x).read(y);
        let launch = launch.read(grad_out).write(&mut grad_x).long(dim).int(kind).float(c);
        launch.grid([if dim == 0 { 0 } else { rows }, 1, 1], 0)?;
        Ok(grad_x)
    }

    /// LPIPS's distance of one layer (Zhang et al. 2018, Equation 1): features of each pixel brought to unit length,
    /// squared differences summed over channels with `weights` and averaged over pixels.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If the buffers do not hold `rows` images of one size with whole pixels.
    pub fn feature_distance(
        &self,
        rows: usize,
        weights: &Buffer,
        x: &Buffer,
        y: &Buffer,
    ) -> Result<Buffer, GpuError> {
        let channels = weights.len();
        let pixels = pixels(rows, channels, x, y);
        let mut out = self.unwritten(Element::F32, rows)?;
        let launch = self.launch(&DISTANCE, Variant::of(x.element()), "feature_distance")?.read(x).read(y);
        launch.read(weights).write(&mut out).int(pixels).int(channels).grid([rows, 1, 1], 0)?;
        Ok(out)
    }

    /// The gradient of [`Gpu::feature_distance`] by `x`.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// As [`Gpu::feature_distance`].
    pub fn feature_distance_backward(
        &self,
        weights: &Buffer,
        x: &Buffer,
        y: &Buffer,
        grad_out: &Buffer,
    ) -> Result<Buffer, GpuError> {
        let (rows, channels) = (grad_out.len(), weights.len());
        let pixels = pixels(rows, channels, x, y);
        let mut grad_x = self.unwritten(x.element(), x.len())?;
        let launch = self.launch(&DISTANCE, Variant::of(x.element()), "feature_distance_backward")?;
        let launch = launch.read(x).read(y).read(weights).read(grad_out).write(&mut grad_x);
        launch.int(pixels).int(channels).grid([rows, 1, 1], 0)?;
        Ok(grad_x)
    }
}
