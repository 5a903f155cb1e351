//! Operations of networks that are evaluated and never differentiated: no tape, and activations change in place.
//!
//! Shapes that do not fit are a mistake in a network's code: as the operations of [`crate::ops`] these panic on them.

use crate::{Images, Matrix, Vector};
use cm_kernels::buffer::written_by;
use cm_kernels::conv2d::{self, Conv2dShape, Epilogue};
use cm_kernels::pool::{self, PoolShape};
use cm_kernels::strip_conv::{Direction, StripConv, StripWindow};
use cm_kernels::{activation, elementwise, gemm, resample, softmax};

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
    /// Rows and columns.
    pub fn extents(self) -> (usize, usize) {
        match self {
            Self::Square { side, .. } => (side, side),
            Self::Row { length } => (1, length),
            Self::Column { length } => (length, 1),
        }
    }
}

/// A convolution and the ReLU after it, its weight made ready for its window.
pub struct ConvRelu {
    weight: Weight,
    bias: Vec<f32>,
}

enum Weight {
    /// Of a square window: `[side, side, in, out]` as it came.
    Square { side: usize, stride: usize, padding: usize, values: Vec<f32> },
    /// Of a window of long lines.
    Strip(StripConv),
}

impl ConvRelu {
    /// `weight`: `[rows, columns, in, out]` of the window; `bias`: `[out]`.
    ///
    /// # Panics
    /// If they do not fit, or a line of the window is longer than the kernels know ([`StripConv::new`]).
    pub fn new(window: Window, in_channels: usize, weight: Vec<f32>, bias: Vec<f32>) -> Self {
        let out_channels = bias.len();
        let strip = |direction, lines, length| {
            let window = StripWindow { direction, length, lines, in_channels, out_channels };
            Weight::Strip(StripConv::new(window, &weight, &bias))
        };
        let weight = match window {
            Window::Row { length } => strip(Direction::Row, 1, length),
            Window::Column { length } => strip(Direction::Column, 1, length),
            // Minimal filtering of squares of three pixels is the business of the general convolution.
            Window::Square { side: 5, stride: 1, padding: 2 } => strip(Direction::Row, 5, 5),
            Window::Square { side, stride, padding } => {
                assert_eq!(weight.len(), side * side * in_channels * out_channels, "weight of {window:?}");
                Weight::Square { side, stride, padding, values: weight }
            }
        };
        Self { weight, bias }
    }

    /// max(conv(x) + bias, 0): `[N, H, W, in]` to `[N, H', W', out]`.
    ///
    /// # Panics
    /// If the images have other channels.
    pub fn on(&self, x: &Images) -> Images {
        match &self.weight {
            Weight::Strip(conv) => {
                let [batch, height, width, _] = x.shape();
                let len = batch * height * width * self.bias.len();
                let write = |out: &mut [f32]| conv.forward_relu([batch, height, width], x.values(), out);
                Images::constant(written_by(len, write), [batch, height, width, self.bias.len()])
            }
            Weight::Square { side, stride, padding, values } => {
                let epilogue = Epilogue { bias: Some(&self.bias), relu: true, ..Epilogue::default() };
                square(x, (*side, *stride, *padding), values, epilogue, self.bias.len())
            }
        }
    }

    /// max(conv(mean of 3x3 pixels inside the image) + bias, 0). The mean is taken of the products, which have fewer
    /// channels; that is the same.
    ///
    /// # Panics
    /// If the window is not one pixel, or the images have other channels.
    pub fn on_averages(&self, x: &Images) -> Images {
        let Weight::Square { side: 1, stride: 1, padding: 0, values } = &self.weight else {
            panic!("averages go through windows of one pixel only")
        };
        let products = square(x, (1, 1, 0), values, Epilogue::default(), self.bias.len());
        let mut means = average_inside(&products);
        activation::bias_relu_assign(&self.bias, means.values_mut());
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
    pooled(x, side, stride, padding, pool::max_pool_values)
}

/// Means of 3x3 pixels around each, of those that are inside the image.
pub fn average_inside(x: &Images) -> Images {
    pooled(x, 3, 1, 1, pool::avg_pool_inside)
}

fn pooled(
    x: &Images,
    kernel: usize,
    stride: usize,
    padding: usize,
    pool: impl FnOnce(&PoolShape, &[f32], &mut [f32]),
) -> Images {
    let [batch, height, width, channels] = x.shape();
    let shape = PoolShape { batch, height, width, channels, kernel, stride, padding, round_up: false };
    let values = written_by(shape.output_len(), |out| pool(&shape, x.values(), out));
    Images::constant(values, [batch, shape.out_height(), shape.out_width(), channels])
}

/// The mean over all pixels: `[N, H, W, C]` to `[N, C]`.
pub fn global_average(x: &Images) -> Matrix {
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
    let values = x.values().chunks_exact(channels).flat_map(|pixel| &pixel[..count]).copied().collect();
    Images::constant(values, [batch, height, width, count])
}

/// The images brought to `to` = (height, width).
pub fn resize(x: &Images, how: Interpolation, to: (usize, usize)) -> Images {
    let [batch, height, width, channels] = x.shape();
    let values = written_by(batch * to.0 * to.1 * channels, |out| {
        resample::resize(how, batch, (height, width), to, channels, x.values(), out);
    });
    Images::constant(values, [batch, to.0, to.1, channels])
}

/// softmax(x `weight`), without a bias: `[N, in]` and `[in, out]` to `[N, out]`.
///
/// # Panics
/// If they do not fit.
pub fn softmax_of_product(x: &Matrix, weight: &Vector) -> Matrix {
    let [rows, inputs] = x.shape();
    let outputs = weight.values().len() / inputs;
    let logits = written_by(rows * outputs, |out| {
        gemm::linear(rows, inputs, outputs, x.values(), weight.values(), None, out);
    });
    let values = written_by(rows * outputs, |out| softmax::softmax(rows, outputs, &logits, out));
    Matrix::constant(values, [rows, outputs])
}
