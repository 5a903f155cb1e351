//! The same operations on a GPU, for images that are there. All of it is in single precision, whatever the precision of
//! training: what these networks say is compared with what others published.

use crate::device::{Device, done};
use crate::{Images, Matrix, Var, Vector, devices};
use cm_gpu::conv2d::{Conv2dShape, Epilogue, Precision};
use cm_gpu::pool::PoolShape;
use cm_gpu::resample::Map;
use cm_gpu::{Buffer, GpuError};
use cm_kernels::resample::Interpolation;

/// The images on the [device of this process](devices::current), if it has one: what is then done with them is done there.
pub fn placed(x: Images) -> Images {
    match devices::current() {
        Some(device) => placed_on(&device, &x),
        None => x,
    }
}

/// The images on a device: what is then done with them is done there.
pub fn placed_on(device: &Device, x: &Images) -> Images {
    let device = Device::new(device.gpu().clone(), Precision::F32);
    let values = device.on(x);
    Var::resident(&device, values, x.shape())
}

impl Device {
    /// A tensor's values there, in single precision.
    fn on<S: dfdx::shapes::Shape>(&self, x: &Var<S>) -> Buffer {
        done(self.single(&x.on_device(self)))
    }
}

/// A convolution, and what is done to its result: the bias is added, and what is below 0 becomes 0.
pub(super) fn square(
    device: &Device,
    x: &Images,
    (kernel, stride, padding): ([usize; 2], usize, [usize; 2]),
    weight: &Vector,
    bias_and_relu: Option<&Vector>,
    out_channels: usize,
) -> Images {
    let [batch, height, width, in_channels] = x.shape();
    let shape = Conv2dShape { batch, height, width, in_channels, out_channels, kernel, stride, padding };
    let bias = bias_and_relu.map(|bias| device.on(bias));
    let epilogue = Epilogue { bias: bias.as_ref(), relu: bias.is_some(), ..Epilogue::default() };
    let gpu = device.gpu();
    let values = done(gpu.conv2d(Precision::F32, &shape, &device.on(x), &device.on(weight), epilogue));
    Var::resident(device, values, [batch, shape.out_height(), shape.out_width(), out_channels])
}

/// max(x + bias, 0).
pub(super) fn bias_relu(device: &Device, x: &Images, bias: &Vector) -> Images {
    let (gpu, [channels]) = (device.gpu(), bias.shape());
    let values = done(gpu.upload(&vec![1.0_f32; channels]).and_then(|ones| {
        let sums = gpu.affine_channels(channels, &device.on(x), &ones, &device.on(bias))?;
        gpu.relu(&sums)
    }));
    Var::resident(device, values, x.shape())
}

/// x / `over` + `shift`.
pub(super) fn affine(device: &Device, x: &Images, over: f32, shift: f32) -> Images {
    let (gpu, channels) = (device.gpu(), x.shape()[3]);
    let table = |value: f32| gpu.upload(&vec![value; channels]);
    let values = table(1.0 / over).and_then(|scale| {
        let shift = table(shift)?;
        gpu.affine_channels(channels, &device.on(x), &scale, &shift)
    });
    Var::resident(device, done(values), x.shape())
}

/// How a pooling makes one value of a window's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The largest.
    Max,
    /// The mean of those inside the image.
    MeanInside,
}

pub(super) fn pooled(
    device: &Device,
    x: &Images,
    kernel: usize,
    stride: usize,
    padding: usize,
    how: Pooling,
) -> Images {
    let [batch, height, width, channels] = x.shape();
    let shape = PoolShape { batch, height, width, channels, kernel, stride, padding, round_up: false };
    let (gpu, x) = (device.gpu(), device.on(x));
    let values = match how {
        Pooling::Max => gpu.max_pool(&shape, &x).map(|(values, _)| values),
        Pooling::MeanInside => gpu.average_pool(&shape, true, &x),
    };
    Var::resident(device, done(values), [batch, shape.out_height(), shape.out_width(), channels])
}

pub(super) fn global_average(device: &Device, x: &Images) -> Matrix {
    let [batch, height, width, channels] = x.shape();
    let values = device.gpu().global_average(batch, height * width, channels, &device.on(x));
    Var::resident(device, done(values), [batch, channels])
}

/// The channels of all `parts`, which are of one size, one behind the other.
pub(super) fn concat(device: &Device, parts: &[Images], [batch, height, width]: [usize; 3]) -> Images {
    let pixels = batch * height * width;
    let mut values = device.on(&parts[0]);
    for part in &parts[1..] {
        values = done(device.gpu().concat_channels(pixels, &values, &device.on(part)));
    }
    let channels = parts.iter().map(|part| part.shape()[3]).sum();
    Var::resident(device, values, [batch, height, width, channels])
}

pub(super) fn first_channels(device: &Device, x: &Images, count: usize) -> Images {
    let [batch, height, width, channels] = x.shape();
    let values = device.gpu().slice_channels(&device.on(x), channels, 0, count);
    Var::resident(device, done(values), [batch, height, width, count])
}

pub(super) fn resize(device: &Device, x: &Images, how: Interpolation, to: (usize, usize)) -> Images {
    let [batch, height, width, channels] = x.shape();
    let map = match how {
        Interpolation::BilinearCentres => Map::Bilinear(to.0, to.1),
        Interpolation::BilinearCorners => Map::BilinearCorners(to.0, to.1),
        Interpolation::BicubicSmooth => Map::BicubicSmooth(to.0, to.1),
    };
    let values = device.gpu().resample(map, batch, (height, width), channels, &device.on(x));
    Var::resident(device, done(values), [batch, to.0, to.1, channels])
}

pub(super) fn softmax_of_product(device: &Device, x: &Matrix, weight: &Vector) -> Matrix {
    let [rows, inputs] = x.shape();
    let outputs = weight.shape()[0] / inputs;
    let probabilities = || -> Result<Buffer, GpuError> {
        let (gpu, shape) = (device.gpu(), Conv2dShape::linear(rows, inputs, outputs));
        let (x, weight) = (device.on(x), device.on(weight));
        let logits = gpu.conv2d(Precision::F32, &shape, &x, &weight, Epilogue::default())?;
        // The loss for any label comes with all probabilities.
        Ok(gpu.cross_entropy(&logits, &gpu.upload(&vec![0_u32; rows])?)?.1)
    };
    Var::resident(device, done(probabilities()), [rows, outputs])
}
