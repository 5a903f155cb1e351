//! Two-dimensional convolution on NHWC images with HWIO weights: forward and the gradients of its parts.
//!
//! `x` is `[batch, height, width, in]`, `weight` is `[kernel, kernel, in, out]`, the output is
//! `[batch, out_height, out_width, out]`, all row-major. Padding is with zeros, the same on each side; kernels are
//! square; the stride is the same in both directions. Deliberately absent: dilation, groups, asymmetric padding.
//!
//! How a convolution is done is chosen by its sizes (see `Variant::of`); the choice never depends on the data or on
//! the number of threads.

mod epilogue;
mod im2col;
#[cfg(test)]
mod naive;
mod narrow;
#[cfg(test)]
mod tests;
mod weight;
mod winograd;

pub use self::epilogue::Epilogue;
pub(crate) use self::winograd::F4_PAIRS;
use self::winograd::{F2, F4};
use crate::dispatch::{Isa, isa};
use crate::scratch;
use crate::threads::for_each_piece;

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dShape {
    /// Number of images; may be 0.
    pub batch: usize,
    /// Height of the input in pixels.
    pub height: usize,
    /// Width of the input in pixels.
    pub width: usize,
    /// Channels of the input, at least 1.
    pub in_channels: usize,
    /// Channels of the output, at least 1.
    pub out_channels: usize,
    /// Side of the square kernel, at least 1.
    pub kernel: usize,
    /// Step between the inputs of neighbouring outputs, at least 1.
    pub stride: usize,
    /// Rows and columns of zeros on each side of the image.
    pub padding: usize,
}

impl Conv2dShape {
    /// Square images, stride 1, and the padding that keeps the size under an odd kernel.
    pub fn same(batch: usize, size: usize, in_channels: usize, out_channels: usize, kernel: usize) -> Self {
        let (height, width) = (size, size);
        Self { batch, height, width, in_channels, out_channels, kernel, stride: 1, padding: kernel / 2 }
    }

    /// Height of the output in pixels; 0 if the padded image is smaller than the kernel.
    pub fn out_height(&self) -> usize {
        self.out_size(self.height)
    }

    /// Width of the output in pixels; 0 if the padded image is smaller than the kernel.
    pub fn out_width(&self) -> usize {
        self.out_size(self.width)
    }

    /// Number of values of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.in_channels
    }

    /// Number of values of the weight.
    pub fn weight_len(&self) -> usize {
        self.kernel * self.kernel * self.in_channels * self.out_channels
    }

    /// Number of values of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_pixels() * self.out_channels
    }

    fn out_size(&self, size: usize) -> usize {
        (size + 2 * self.padding).checked_sub(self.kernel).map_or(0, |room| room / self.stride + 1)
    }

    /// Pixels of one output image.
    fn out_pixels(&self) -> usize {
        self.out_height() * self.out_width()
    }

    /// The convolution with exchanged channels and the weight turned by half a turn that is the gradient with respect
    /// to the input, if there is one.
    fn turned(&self) -> Option<Self> {
        let padding = (self.kernel - 1).checked_sub(self.padding).filter(|_| self.stride == 1)?;
        let (height, width) = (self.out_height(), self.out_width());
        let (in_channels, out_channels) = (self.out_channels, self.in_channels);
        let turned = Self { height, width, in_channels, out_channels, padding, ..*self };
        (turned.input_len() > 0 && turned.output_len() == self.input_len()).then_some(turned)
    }

    /// Panics unless kernel, stride and channels are at least 1.
    fn check(&self) {
        let least = self.kernel.min(self.stride).min(self.in_channels).min(self.out_channels);
        assert!(least >= 1, "kernel, stride and channels are at least 1: {self:?}");
    }
}

/// `out = scale * (conv(x, weight) + bias + image_bias + residual)`, see [`Epilogue`].
///
/// # Panics
/// If a slice does not have the size that `shape` demands.
pub fn forward(shape: &Conv2dShape, x: &[f32], weight: &[f32], epilogue: Epilogue, out: &mut [f32]) {
    check_sizes(shape, x.len(), weight.len(), out.len());
    epilogue.check(shape);
    forward_by(Variant::of(shape), isa(), shape, x, weight, &epilogue, out);
}

/// The gradient of the plain convolution (no epilogue) with respect to `x`.
///
/// # Panics
/// If a slice does not have the size that `shape` demands.
pub fn backward_data(shape: &Conv2dShape, weight: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
    check_sizes(shape, grad_x.len(), weight.len(), grad_out.len());
    let variant = shape.turned().map_or(Variant::Im2col, |turned| Variant::of(&turned));
    backward_data_by(variant, isa(), shape, weight, grad_out, grad_x);
}

/// The gradient of the plain convolution (no epilogue) with respect to the weight.
///
/// # Panics
/// If a slice does not have the size that `shape` demands.
pub fn backward_weight(shape: &Conv2dShape, x: &[f32], grad_out: &[f32], grad_weight: &mut [f32]) {
    check_sizes(shape, x.len(), grad_weight.len(), grad_out.len());
    backward_weight_by(Variant::of_gradient(shape), isa(), shape, x, grad_out, grad_weight);
}

/// The gradient with respect to the bias: `grad_bias[o]` = the sum of `grad_out` over images and pixels.
///
/// # Panics
/// If a slice does not have the size that `shape` demands.
pub fn backward_bias(shape: &Conv2dShape, grad_out: &[f32], grad_bias: &mut [f32]) {
    shape.check();
    assert_eq!(grad_out.len(), shape.output_len(), "the output gradient of {shape:?}");
    assert_eq!(grad_bias.len(), shape.out_channels, "the bias gradient of {shape:?}");
    crate::gemm::column_sums(grad_out, shape.out_channels, grad_bias);
}

/// The gradient with respect to the image bias: `grad_image_bias[n, o]` = the sum of image `n` over its pixels.
///
/// # Panics
/// If a slice does not have the size that `shape` demands.
pub fn backward_image_bias(shape: &Conv2dShape, grad_out: &[f32], grad_image_bias: &mut [f32]) {
    shape.check();
    assert_eq!(grad_out.len(), shape.output_len(), "the output gradient of {shape:?}");
    assert_eq!(
        grad_image_bias.len(),
        shape.batch * shape.out_channels,
        "the image bias gradient of {shape:?}"
    );
    let (image, channels) = (shape.out_pixels() * shape.out_channels, shape.out_channels);
    let shared = crate::threads::SharedMut::new(grad_image_bias);
    let step = (crate::threads::PIECE * 4 / image.max(1)).max(1);
    for_each_piece(shape.batch.div_ceil(step), |piece| {
        for n in piece * step..(piece * step + step).min(shape.batch) {
            // SAFETY: each image has its own sums.
            let sums = unsafe { shared.slice(n * channels, channels) };
            crate::gemm::column_sums(&grad_out[n * image..(n + 1) * image], channels, sums);
        }
    });
}

fn check_sizes(shape: &Conv2dShape, x: usize, weight: usize, out: usize) {
    shape.check();
    assert_eq!(x, shape.input_len(), "values of the input of {shape:?}");
    assert_eq!(weight, shape.weight_len(), "values of the weight of {shape:?}");
    assert_eq!(out, shape.output_len(), "values of the output of {shape:?}");
}

/// The ways to do a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    /// Matrix products over unfolded patches: does everything.
    Im2col,
    /// Products first, shifted sums after: few output channels and stride 1. For the gradient with respect to the
    /// input, few input channels.
    Narrow,
    /// Minimal filtering on 2x2 tiles: 3x3 kernels with stride 1.
    Winograd2,
    /// Minimal filtering on 4x4 tiles, likewise.
    Winograd4,
}

impl Variant {
    #[cfg(test)]
    const ALL: [Variant; 4] = [Variant::Im2col, Variant::Narrow, Variant::Winograd2, Variant::Winograd4];

    #[cfg(test)]
    /// Whether this variant can do the convolution `shape`.
    fn supports(self, shape: &Conv2dShape) -> bool {
        match self {
            Variant::Im2col => true,
            Variant::Narrow => narrow::supports(shape),
            Variant::Winograd2 | Variant::Winograd4 => winograd::supports(shape),
        }
    }

    /// The fastest for the forward pass, as measured.
    fn of(shape: &Conv2dShape) -> Self {
        if narrow::supports(shape) { Variant::Narrow } else { Self::of_gradient(shape) }
    }

    /// The fastest for the gradient with respect to the weight, as measured.
    fn of_gradient(shape: &Conv2dShape) -> Self {
        if !winograd::supports(shape) {
            Variant::Im2col
        } else if winograd::products::<F2>(shape) < winograd::products::<F4>(shape) {
            Variant::Winograd2
        } else {
            Variant::Winograd4
        }
    }
}

fn forward_by(
    variant: Variant,
    isa: Isa,
    shape: &Conv2dShape,
    x: &[f32],
    weight: &[f32],
    epilogue: &Epilogue,
    out: &mut [f32],
) {
    match variant {
        Variant::Im2col => im2col::forward(isa, shape, x, weight, epilogue, out),
        Variant::Narrow => narrow::forward(isa, shape, x, weight, epilogue, out),
        Variant::Winograd2 => winograd::forward::<F2>(isa, shape, x, weight, epilogue, out),
        Variant::Winograd4 => winograd::forward::<F4>(isa, shape, x, weight, epilogue, out),
    }
}

/// The gradient with respect to the input as a convolution of the output gradient with the turned weight, if it is
/// one; otherwise patches folded back into images.
fn backward_data_by(
    variant: Variant,
    isa: Isa,
    shape: &Conv2dShape,
    weight: &[f32],
    grad_out: &[f32],
    grad_x: &mut [f32],
) {
    match (variant, shape.turned()) {
        (Variant::Winograd2, Some(turned)) => {
            winograd::forward_turned::<F2>(isa, &turned, grad_out, weight, grad_x);
        }
        (Variant::Winograd4, Some(turned)) => {
            winograd::forward_turned::<F4>(isa, &turned, grad_out, weight, grad_x);
        }
        (Variant::Im2col | Variant::Narrow, Some(turned)) => scratch::with(weight.len(), |turned_weight| {
            let channels = (shape.out_channels, shape.in_channels);
            weight::turn_whole(weight, channels, turned_weight);
            forward_by(variant, isa, &turned, grad_out, turned_weight, &Epilogue::default(), grad_x);
        }),
        (_, None) => im2col::fold(isa, shape, weight, grad_out, grad_x),
    }
}

fn backward_weight_by(
    variant: Variant,
    isa: Isa,
    shape: &Conv2dShape,
    x: &[f32],
    grad_out: &[f32],
    grad_weight: &mut [f32],
) {
    match variant {
        Variant::Im2col | Variant::Narrow => im2col::backward_weight(isa, shape, x, grad_out, grad_weight),
        Variant::Winograd2 => winograd::backward_weight::<F2>(isa, shape, x, grad_out, grad_weight),
        Variant::Winograd4 => winograd::backward_weight::<F4>(isa, shape, x, grad_out, grad_weight),
    }
}
