//! Group normalisation with its affine map, optional FiLM modulation and optional SiLU in one kernel; its gradient and
//! its tangent.
//!
//! y = act(((x - mean_g) rstd_g gamma_c + beta_c) (1 + scale_{n,c}) + shift_{n,c}), where mean and variance are over
//! the pixels and channels of group g of one image, rstd = 1 / sqrt(variance + eps), and act is SiLU or nothing.
//! The modulation is the "scale-shift norm" of ADM (Dhariwal and Nichol 2021).
//!
//! One image is one unit of work: it is read once for the statistics and once more, from the cache if it fits, for
//! the output. A batch of one large image is therefore not spread over threads.

mod fused;
mod lanes;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use crate::dispatch::{Isa, isa};
use crate::elementwise::{for_each_range, items_per_piece};
use crate::threads::SharedMut;

/// Sizes of the normalised tensor \[batch, pixels, channels\] and how its channels are grouped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormShape {
    /// Images.
    pub batch: usize,
    /// Height times width.
    pub pixels: usize,
    /// Channels, a multiple of `groups`.
    pub channels: usize,
    /// Groups of consecutive channels.
    pub groups: usize,
    /// Added to the variance; above 0.
    pub eps: f32,
}

impl GroupNormShape {
    /// Elements of the input and of the output.
    pub fn len(&self) -> usize {
        self.batch * self.pixels * self.channels
    }

    /// Whether there is nothing to normalise.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements of the statistics: mean and reciprocal standard deviation of each group of each image.
    pub fn stats_len(&self) -> usize {
        self.batch * self.groups * 2
    }

    /// Elements of one image.
    fn image(&self) -> usize {
        self.pixels * self.channels
    }
}

/// Per-image modulation of the normalised channels; both parts are \[batch, channels\].
#[derive(Clone, Copy, Debug)]
pub struct Film<'a> {
    /// Multiplies by 1 + scale.
    pub scale: &'a [f32],
    /// Is added afterwards.
    pub shift: &'a [f32],
}

/// What is applied to the normalised values before the activation.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// Gain, \[channels\].
    pub gamma: &'a [f32],
    /// Offset, \[channels\].
    pub beta: &'a [f32],
    /// Modulation per image, if any.
    pub film: Option<Film<'a>>,
}

/// Where [`backward`] writes; everything is overwritten.
#[derive(Debug)]
pub struct Grads<'a> {
    /// Gradient in x, \[batch, pixels, channels\].
    pub grad_x: &'a mut [f32],
    /// Gradient in gamma, \[channels\].
    pub grad_gamma: &'a mut [f32],
    /// Gradient in beta, \[channels\].
    pub grad_beta: &'a mut [f32],
    /// Gradients in the modulation's scale and shift, \[batch, channels\] each, if wanted.
    pub film: Option<(&'a mut [f32], &'a mut [f32])>,
}

/// Along what the inputs of [`tangent`] change; what is absent stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Along<'a> {
    /// \[batch, pixels, channels\].
    pub x: Option<&'a [f32]>,
    /// \[channels\].
    pub gamma: Option<&'a [f32]>,
    /// \[channels\].
    pub beta: Option<&'a [f32]>,
    /// \[batch, channels\]; only with a modulation.
    pub scale: Option<&'a [f32]>,
    /// \[batch, channels\]; only with a modulation.
    pub shift: Option<&'a [f32]>,
}

fn check(shape: &GroupNormShape, x: &[f32], affine: &Affine, stats: &[f32]) {
    let GroupNormShape { batch, pixels, channels, groups, .. } = *shape;
    assert!(
        groups > 0 && channels.is_multiple_of(groups),
        "{channels} channels do not make {groups} equal groups"
    );
    assert_eq!(x.len(), shape.len(), "input is [{batch}, {pixels}, {channels}]");
    assert!(
        affine.gamma.len() == channels && affine.beta.len() == channels,
        "gamma and beta are [{channels}]"
    );
    assert_eq!(stats.len(), shape.stats_len(), "statistics are [{batch}, {groups}, 2]");
    if let Some(film) = affine.film {
        let wanted = batch * channels;
        assert!(
            film.scale.len() == wanted && film.shift.len() == wanted,
            "scale and shift are [{batch}, {channels}]"
        );
    }
}

/// Writes the output and `stats` = (mean, reciprocal standard deviation) of each group, \[batch, groups, 2\].
///
/// # Panics
/// If a size does not fit or `groups` does not divide `channels`.
pub fn forward(
    shape: &GroupNormShape,
    x: &[f32],
    affine: Affine,
    silu: bool,
    out: &mut [f32],
    stats: &mut [f32],
) {
    forward_on(isa(), shape, x, affine, silu, out, stats);
}

fn forward_on(
    isa: Isa,
    shape: &GroupNormShape,
    x: &[f32],
    affine: Affine,
    silu: bool,
    out: &mut [f32],
    stats: &mut [f32],
) {
    check(shape, x, &affine, stats);
    assert_eq!(out.len(), x.len(), "output length differs from the input's");
    let image = shape.image();
    if image == 0 {
        // Groups of no elements: the statistics are those of nothing.
        stats.fill(0.0);
        return;
    }
    let (out, stats) = (SharedMut::new(out), SharedMut::new(stats));
    for_each_range(shape.batch, items_per_piece(image), |first, count| {
        let mut work = fused::Work::new(shape);
        for n in first..first + count {
            // SAFETY: each image is visited once.
            let (out, stats) =
                unsafe { (out.slice(n * image, image), stats.slice(n * shape.groups * 2, shape.groups * 2)) };
            work.forward(isa, shape, &x[n * image..(n + 1) * image], &affine, n, silu, out, stats);
        }
    });
}

/// How the output of [`forward`] changes along some directions, from its input and its `stats`.
///
/// # Panics
/// If a size does not fit or `groups` does not divide `channels`.
pub fn tangent(
    shape: &GroupNormShape,
    x: &[f32],
    affine: Affine,
    silu: bool,
    stats: &[f32],
    along: Along,
    out: &mut [f32],
) {
    tangent_on(isa(), shape, x, affine, silu, stats, along, out);
}

fn tangent_on(
    isa: Isa,
    shape: &GroupNormShape,
    x: &[f32],
    affine: Affine,
    silu: bool,
    stats: &[f32],
    along: Along,
    out: &mut [f32],
) {
    check(shape, x, &affine, stats);
    assert_eq!(out.len(), x.len(), "output length differs from the input's");
    let fits = |part: Option<&[f32]>, len: usize| part.is_none_or(|part| part.len() == len);
    let per_image = affine.film.map_or(0, |film| film.scale.len());
    assert!(
        fits(along.x, x.len())
            && fits(along.gamma, shape.channels)
            && fits(along.beta, shape.channels)
            && fits(along.scale, per_image)
            && fits(along.shift, per_image),
        "directions are of the sizes of what changes along them"
    );
    let image = shape.image();
    // Rare: on a path all images move.
    let still = along.x.is_none().then(|| vec![0.0; x.len()]);
    let along_x = along.x.or(still.as_deref()).unwrap_or_default();
    let out = SharedMut::new(out);
    for_each_range(shape.batch, items_per_piece(image), |first, count| {
        let mut work = fused::Work::new(shape);
        for n in first..first + count {
            let range = n * image..(n + 1) * image;
            let stats = &stats[n * shape.groups * 2..(n + 1) * shape.groups * 2];
            let (x, along_x) = (&x[range.clone()], &along_x[range.clone()]);
            // SAFETY: each image is visited once.
            let out = unsafe { out.slice(range.start, image) };
            work.tangent(isa, shape, x, &affine, n, silu, stats, along_x, &along, out);
        }
    });
}

/// Gradients of [`forward`] from its input and its `stats`.
///
/// # Panics
/// If a size does not fit or `groups` does not divide `channels`.
pub fn backward(
    shape: &GroupNormShape,
    x: &[f32],
    affine: Affine,
    silu: bool,
    stats: &[f32],
    grad_out: &[f32],
    grads: Grads,
) {
    backward_on(isa(), shape, x, affine, silu, stats, grad_out, grads);
}

fn backward_on(
    isa: Isa,
    shape: &GroupNormShape,
    x: &[f32],
    affine: Affine,
    silu: bool,
    stats: &[f32],
    grad_out: &[f32],
    grads: Grads,
) {
    check(shape, x, &affine, stats);
    let (image, channels) = (shape.image(), shape.channels);
    assert!(
        grad_out.len() == x.len() && grads.grad_x.len() == x.len(),
        "gradient lengths differ from the input's"
    );
    assert!(
        grads.grad_gamma.len() == channels && grads.grad_beta.len() == channels,
        "gradients of gamma and beta are [{channels}]"
    );
    // Sums over the pixels of each image and channel: of the gradient before the activation, and of it times the
    // normalised input. Every parameter's gradient follows from them.
    let mut sums = vec![[0.0_f32; 2]; shape.batch * channels];
    if image > 0 {
        let (grad_x, shared_sums) = (SharedMut::new(grads.grad_x), SharedMut::new(&mut sums));
        for_each_range(shape.batch, items_per_piece(image), |first, count| {
            let mut work = fused::Work::new(shape);
            for n in first..first + count {
                let range = n * image..(n + 1) * image;
                // SAFETY: each image is visited once.
                let (grad_x, sums) =
                    unsafe { (grad_x.slice(range.start, image), shared_sums.slice(n * channels, channels)) };
                let stats = &stats[n * shape.groups * 2..(n + 1) * shape.groups * 2];
                work.backward(
                    isa,
                    shape,
                    &x[range.clone()],
                    &affine,
                    n,
                    silu,
                    stats,
                    &grad_out[range],
                    grad_x,
                    sums,
                );
            }
        });
    }
    for c in 0..channels {
        let (mut gamma, mut beta) = (0.0_f64, 0.0_f64);
        for n in 0..shape.batch {
            let gain = 1.0 + affine.film.map_or(0.0, |film| f64::from(film.scale[n * channels + c]));
            let [plain, times_x] = sums[n * channels + c];
            beta += gain * f64::from(plain);
            gamma += gain * f64::from(times_x);
        }
        grads.grad_gamma[c] = gamma as f32;
        grads.grad_beta[c] = beta as f32;
    }
    if let Some((scale, shift)) = grads.film {
        let wanted = sums.len();
        assert!(
            scale.len() == wanted && shift.len() == wanted,
            "gradients of scale and shift are [batch, channels]"
        );
        for (i, [plain, times_x]) in sums.into_iter().enumerate() {
            let c = i % channels;
            scale[i] = affine.gamma[c] * times_x + affine.beta[c] * plain;
            shift[i] = plain;
        }
    }
}
