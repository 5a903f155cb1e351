//! Group normalisation with its affine map, optional modulation by image and optional SiLU.

use crate::source::{GROUP_NORM, Variant};
use crate::{Buffer, Element, Gpu, GpuError};

/// Sizes of the normalised images, \[batch, pixels, channels\], and how their channels are grouped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormShape {
    /// Images.
    pub batch: usize,
    /// Height times width.
    pub pixels: usize,
    /// Channels, a multiple of `groups`.
    pub channels: usize,
    /// Groups of neighbouring channels.
    pub groups: usize,
    /// Added to the variance; above 0.
    pub eps: f32,
}

/// What is applied to the normalised values before the activation, in single precision.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// Gain, \[channels\].
    pub gamma: &'a Buffer,
    /// Offset, \[channels\].
    pub beta: &'a Buffer,
    /// Modulation by image, if any: 1 + scale and shift, \[batch, channels\] each.
    pub film: Option<(&'a Buffer, &'a Buffer)>,
}

/// Gradients of a group normalisation.
#[derive(Clone, Debug)]
pub struct GroupNormGrads {
    /// By x, if wanted.
    pub x: Option<Buffer>,
    /// By gamma.
    pub gamma: Buffer,
    /// By beta.
    pub beta: Buffer,
    /// By the modulation's scale and shift, if there is one.
    pub film: Option<(Buffer, Buffer)>,
}

impl GroupNormShape {
    fn len(&self) -> usize {
        self.batch * self.pixels * self.channels
    }

    fn check(&self, x: &Buffer, affine: &Affine<'_>) {
        let Self { batch, pixels, channels, groups, .. } = *self;
        assert!(
            groups > 0 && channels.is_multiple_of(groups),
            "{channels} channels do not make {groups} groups"
        );
        assert_eq!(x.len(), self.len(), "input is [{batch}, {pixels}, {channels}]");
        let one_each = affine.gamma.len() == channels && affine.beta.len() == channels;
        assert!(one_each, "gamma and beta are [{channels}]");
        if let Some((scale, shift)) = affine.film {
            let whole = scale.len() == batch * channels && shift.len() == batch * channels;
            assert!(whole, "scale and shift are [{batch}, {channels}]");
        }
    }
}

impl Gpu {
    /// The normalised images in the type of `x`, and the statistics for [`Gpu::group_norm_backward`]: mean and
    /// reciprocal standard deviation of each group, \[batch, groups, 2\].
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit or `groups` does not divide the channels.
    pub fn group_norm(
        &self,
        shape: &GroupNormShape,
        x: &Buffer,
        affine: Affine<'_>,
        silu: bool,
    ) -> Result<(Buffer, Buffer), GpuError> {
        shape.check(x, &affine);
        let &GroupNormShape { batch, pixels, channels, groups, eps } = shape;
        if x.is_empty() {
            // Groups of no elements: the statistics are those of nothing.
            return Ok((self.unwritten(x.element(), 0)?, self.zeros(Element::F32, batch * groups * 2)?));
        }
        let mut out = self.unwritten(x.element(), x.len())?;
        let mut stats = self.unwritten(Element::F32, batch * groups * 2)?;
        let launch = self.launch(&GROUP_NORM, Variant::of(x.element()), "group_norm")?.read(x);
        let launch = launch.read(affine.gamma).read(affine.beta);
        let launch = launch.read_if(affine.film.map(|film| film.0)).read_if(affine.film.map(|film| film.1));
        let launch = launch.write(&mut out).write(&mut stats).int(pixels).int(channels).int(groups);
        launch.float(eps).int(usize::from(silu)).grid([groups, batch, 1], 0)?;
        Ok((out, stats))
    }

    /// Gradients of [`Gpu::group_norm`] from its input and its statistics; that by x only if `wants_x`.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit or `groups` does not divide the channels.
    pub fn group_norm_backward(
        &self,
        shape: &GroupNormShape,
        x: &Buffer,
        affine: Affine<'_>,
        silu: bool,
        stats: &Buffer,
        grad_out: &Buffer,
        wants_x: bool,
    ) -> Result<GroupNormGrads, GpuError> {
        shape.check(x, &affine);
        let &GroupNormShape { batch, pixels, channels, groups, .. } = shape;
        assert_eq!(stats.len(), batch * groups * 2, "statistics are [{batch}, {groups}, 2]");
        assert_eq!(grad_out.len(), x.len(), "input and gradient differ in length");
        let (variant, single) = (Variant::of(x.element()), Element::F32);
        let (scale, shift) = (affine.film.map(|film| film.0), affine.film.map(|film| film.1));
        let begin = |name| {
            let launch =
                self.launch(&GROUP_NORM, variant, name)?.read(x).read(affine.gamma).read(affine.beta);
            Ok::<_, GpuError>(launch.read_if(scale).read_if(shift).read(stats).read(grad_out))
        };
        let sums = if x.is_empty() {
            self.zeros(single, batch * channels * 2)?
        } else {
            let mut sums = self.unwritten(single, batch * channels * 2)?;
            let launch = begin("group_norm_sums")?.write(&mut sums).int(pixels).int(channels).int(groups);
            launch.int(usize::from(silu)).grid([channels.div_ceil(32), batch, 1], 0)?;
            sums
        };
        let grad_x = if wants_x {
            let mut grad_x = self.unwritten(x.element(), x.len())?;
            let launch = begin("group_norm_backward")?.read(&sums).write(&mut grad_x);
            let launch = launch.int(pixels).int(channels).int(groups).int(usize::from(silu));
            launch.grid([groups, if x.is_empty() { 0 } else { batch }, 1], 0)?;
            Some(grad_x)
        } else {
            None
        };
        let (mut gamma, mut beta) = (self.unwritten(single, channels)?, self.unwritten(single, channels)?);
        let part = || self.unwritten(single, batch * channels);
        let mut film = if scale.is_some() { Some((part()?, part()?)) } else { None };
        let (by_scale, by_shift) = match &mut film {
            Some((scale, shift)) => (Some(scale), Some(shift)),
            None => (None, None),
        };
        let launch = self.launch(&GROUP_NORM, variant, "group_norm_parameters")?.read(&sums);
        let launch = launch.read(affine.gamma).read(affine.beta).read_if(scale);
        let launch = launch.write(&mut gamma).write(&mut beta).write_if(by_scale).write_if(by_shift);
        launch.int(batch).int(channels).over(channels)?;
        Ok(GroupNormGrads { x: grad_x, gamma, beta, film })
    }
}
