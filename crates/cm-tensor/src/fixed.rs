//! Operations of networks that are evaluated and never differentiated: no tape, and activations change in place. They are
//! done where the images are: on the CPU, or on a GPU that they were [`placed`] on.
//!
//! Shapes that do not fit are a mistake in a network's code: as the operations of [`crate::ops`] these panic on them.

mod on_device;

use self::on_device::Pooling;
use crate::{Images, Matrix, Vector, devices};
use cm_kernels::buffer::written_by;
use cm_kernels::conv2d::{self, Conv2dShape, Epilogue};
use cm_kernels::pool::{self, PoolShape};
use cm_kernels::strip_conv::{Direction, StripConv, StripWindow};
use cm_kernels::{activation, elementwise, gemm, resample, softmax};
use std::sync::OnceLock;

pub use self::on_device::{placed, placed_on};
pub use cm_kernels::resample::Interpolation;

/// The window of a convolution, and the padding that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// `side` x `side` pixels with a stride and a border of zeros.
    Square {
        /// Pixels of a side.
        side: usize,
        /// Distance of neighbouring applications.
        stride: usize,
        /// Zeros on each side of the image.
        padding: usize,
    },
    /// One row of `length` pixels, 3, 5 or 7; the image keeps its size.
    Row {
        /// Pixels.
        length: usize,
    },
    /// One column of `length` pixels, 3, 5 or 7; the image keeps its size.
    Column {
        /// Pixels.
        length: usize,
    },
}

impl Window {
    /// Rows and columns of a border of zeros.
    fn border(self) -> [usize; 2] {
        match self {
            Self::Square { padding, .. } => [padding; 2],
            Self::Row { length } => [0, length / 2],
            Self::Column { length } => [length / 2, 0],
        }
    }

    fn stride(self) -> usize {
        match self {
            Self::Square { stride, .. } => stride,
            Self::Row { .. } | Self::Column { .. } => 1,
        }
    }

    /// Rows and columns.
    pub fn extents(self) -> (usize, usize) {
        match self {
            Self::Square { side, .. } => (side, side),
            Self::Row { length } => (1, length),
            Self::Column { length } => (length, 1),
        }
    }
}

/// A convolution and the ReLU after it.
pub struct ConvRelu {
    window: Window,
    in_channels: usize,
    /// `[rows, columns, in, out]`.
    weight: Vector,
    bias: Vector,
    /// Of a window of long lines: the weight made ready for the CPU.
    strip: OnceLock<StripConv>,
}

impl ConvRelu {
    /// `weight`: `[rows, columns, in, out]` of the window; `bias`: `[out]`.
    ///
    /// # Panics
    /// If they do not fit, or a line of the window is longer than the kernels know ([`StripConv::new`]).
    pub fn new(window: Window, in_channels: usize, weight: Vec<f32>, bias: Vec<f32>) -> Self {
        let (rows, columns) = window.extents();
        assert_eq!(weight.len(), rows * columns * in_channels * bias.len(), "weight of {window:?}");
        let [weight, bias] = [weight, bias].map(|values| {
            let len = values.len();
            Vector::constant(values, [len])
        });
        let conv = Self { window, in_channels, weight, bias, strip: OnceLock::new() };
        if devices::current().is_none() {
            conv.strip();
        }
        conv
    }

    /// The weight made ready for the CPU, if the window has long lines.
    fn strip(&self) -> Option<&StripConv> {
        let (direction, lines, length) = match self.window {
            Window::Row { length } => (Direction::Row, 1, length),
            Window::Column { length } => (Direction::Column, 1, length),
            // Minimal filtering of squares of three pixels is the business of the general convolution.
            Window::Square { side: 5, stride: 1, padding: 2 } => (Direction::Row, 5, 5),
            Window::Square { .. } => return None,
        };
        let (in_channels, out_channels) = (self.in_channels, self.bias.shape()[0]);
        let window = StripWindow { direction, length, lines, in_channels, out_channels };
        Some(self.strip.get_or_init(|| StripConv::new(window, self.weight.values(), self.bias.values())))
    }

    /// max(conv(x) + bias, 0): `[N, H, W, in]` to `[N, H', W', out]`.
    ///
    /// # Panics
    /// If the images have other channels.
    pub fn on(&self, x: &Images) -> Images {
        let [out_channels] = self.bias.shape();
        let ((rows, columns), stride, border) =
            (self.window.extents(), self.window.stride(), self.window.border());
        if let Some(device) = x.place() {
            let window = ([rows, columns], stride, border);
            return on_device::square(device, x, window, &self.weight, Some(&self.bias), out_channels);
        }
        if let Some(conv) = self.strip() {
            let [batch, height, width, _] = x.shape();
            let write = |out: &mut [f32]| conv.forward_relu([batch, height, width], x.values(), out);
            let values = written_by(batch * height * width * out_channels, write);
            return Images::constant(values, [batch, height, width, out_channels]);
        }
        let epilogue = Epilogue { bias: Some(self.bias.values()), relu: true, ..Epilogue::default() };
        square(x, (rows, stride, border[0]), self.weight.values(), epilogue, out_channels)
    }

    /// max(conv(mean of 3x3 pixels inside the image) + bias, 0). The mean is taken of the products, which have fewer
    /// channels; that is the same.
    ///
    /// # Panics
    /// If the window is not one pixel, or the images have other channels.
    pub fn on_averages(&self, x: &Images) -> Images {
        let one_pixel = matches!(self.window, Window::Square { side: 1, stride: 1, padding: 0 });
        assert!(one_pixel, "averages go through windows of one pixel only");
        let [out_channels] = self.bias.shape();
        if let Some(device) = x.place() {
            let window = ([1, 1], 1, [0, 0]);
            let products = on_device::square(device, x, window, &self.weight, None, out_channels);
            return on_device::bias_relu(device, &average_inside(&products), &self.bias);
        }
        let products = square(x, (1, 1, 0), self.weight.values(), Epilogue::default(), out_channels);
        let mut means = average_inside(&products);
        activation::bias_relu_assign(self.bias.values(), means.values_mut());
        means
    }
}

/// A convolution with a square window of (side, stride, padding).
fn square(
    x: &Images,
    (kernel, stride, padding): (usize, usize, usize),
    weight: &[f32],
    epilogue: Epilogue,
    out_channels: usize,
) -> Images {
    let [batch, height, width, in_channels] = x.shape();
    let shape = Conv2dShape { batch, height, width, in_channels, out_channels, kernel, stride, padding };
    let values = written_by(shape.output_len(), |out| {
        conv2d::forward(&shape, x.values(), weight, epilogue, out);
    });
    Images::constant(values, [batch, shape.out_height(), shape.out_width(), out_channels])
}

/// Largest values of windows of `side` pixels; padding never wins.
pub fn max_pool(x: &Images, side: usize, stride: usize, padding: usize) -> Images {
    pooled(x, side, stride, padding, (Pooling::Max, pool::max_pool_values))
}

/// Means of 3x3 pixels around each, of those that are inside the image.
pub fn average_inside(x: &Images) -> Images {
    pooled(x, 3, 1, 1, (Pooling::MeanInside, pool::avg_pool_inside))
}

fn pooled(
    x: &Images,
    kernel: usize,
    stride: usize,
    padding: usize,
    (how, pool): (Pooling, impl FnOnce(&PoolShape, &[f32], &mut [f32])),
) -> Images {
    if let Some(device) = x.place() {
        return on_device::pooled(device, x, kernel, stride, padding, how);
    }
    let [batch, height, width, channels] = x.shape();
    let shape = PoolShape { batch, height, width, channels, kernel, stride, padding, round_up: false };
    let values = written_by(shape.output_len(), |out| pool(&shape, x.values(), out));
    Images::constant(values, [batch, shape.out_height(), shape.out_width(), channels])
}

/// The mean over all pixels: `[N, H, W, C]` to `[N, C]`.
pub fn global_average(x: &Images) -> Matrix {
    if let Some(device) = x.place() {
        return on_device::global_average(device, x);
    }
    let [batch, height, width, channels] = x.shape();
    let values = written_by(batch * channels, |out| {
        pool::global_avg_pool(batch, height * width, channels, x.values(), out);
    });
    Matrix::constant(values, [batch, channels])
}

/// The channels of all `parts` one behind the other.
///
/// # Panics
/// If there are no parts, or they differ in number or size of the images.
pub fn concat(parts: &[Images]) -> Images {
    let [batch, height, width, _] = parts.first().expect("at least one part").shape();
    let pixels = batch * height * width;
    for part in parts {
        assert_eq!(part.shape()[..3], [batch, height, width], "parts of one size");
    }
    if let Some(device) = parts[0].place() {
        return on_device::concat(device, parts, [batch, height, width]);
    }
    let channels: usize = parts.iter().map(|part| part.shape()[3]).sum();
    let parts: Vec<_> = parts.iter().map(|part| (part.values(), part.shape()[3])).collect();
    let values = written_by(pixels * channels, |out| elementwise::concat_channels(pixels, &parts, out));
    Images::constant(values, [batch, height, width, channels])
}

/// The first `count` channels.
///
/// # Panics
/// If there are fewer.
pub fn first_channels(x: &Images, count: usize) -> Images {
    let [batch, height, width, channels] = x.shape();
    assert!(count <= channels, "{count} of {channels} channels");
    if let Some(device) = x.place() {
        return on_device::first_channels(device, x, count);
    }
    let values = x.values().chunks_exact(channels).flat_map(|pixel| &pixel[..count]).copied().collect();
    Images::constant(values, [batch, height, width, count])
}

/// The images brought to `to` = (height, width).
pub fn resize(x: &Images, how: Interpolation, to: (usize, usize)) -> Images {
    if let Some(device) = x.place() {
        return on_device::resize(device, x, how, to);
    }
    let [batch, height, width, channels] = x.shape();
    let values = written_by(batch * to.0 * to.1 * channels, |out| {
        resample::resize(how, batch, (height, width), to, channels, x.values(), out);
    });
    Images::constant(values, [batch, to.0, to.1, channels])
}

/// (x - `zero`) / `over` - `less`, value by value.
pub fn affine(mut x: Images, zero: f32, over: f32, less: f32) -> Images {
    if let Some(device) = x.place() {
        return on_device::affine(device, &x, over, -zero / over - less);
    }
    x.values_mut().iter_mut().for_each(|value| *value = (*value - zero) / over - less);
    x
}

/// softmax(x `weight`), without a bias: `[N, in]` and `[in, out]` to `[N, out]`.
///
/// # Panics
/// If they do not fit.
pub fn softmax_of_product(x: &Matrix, weight: &Vector) -> Matrix {
    if let Some(device) = x.place() {
        return on_device::softmax_of_product(device, x, weight);
    }
    let [rows, inputs] = x.shape();
    let outputs = weight.values().len() / inputs;
    let logits = written_by(rows * outputs, |out| {
        gemm::linear(rows, inputs, outputs, x.values(), weight.values(), None, out);
    });
    let values = written_by(rows * outputs, |out| softmax::softmax(rows, outputs, &logits, out));
    Matrix::constant(values, [rows, outputs])
}
