//! Convolutions on NHWC images with weights \[k, k, in, out\], and linear layers: forward and the gradients of their
//! parts, in three precisions.

mod kernels;
mod product;

use crate::launch::Launch;
use crate::source::Variant;
use crate::{Buffer, Element, Gpu, GpuError};

pub use product::{Product, Way};

/// How products are computed. Sums are always in single precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Values in single precision, fused multiplication and addition.
    F32,
    /// Values in single precision, rounded to ten bits of mantissa when they are multiplied.
    Tf32,
    /// Values and weights in bf16.
    Bf16,
}

impl Precision {
    pub(crate) fn variant(self) -> Variant {
        match self {
            Self::F32 => Variant::F32,
            Self::Tf32 => Variant::Tf32,
            Self::Bf16 => Variant::Bf16,
        }
    }

    /// What inputs, weights and outputs are.
    pub fn element(self) -> Element {
        self.variant().element()
    }

    /// Values of a copy of 16 bytes, and values of one step along the summed index.
    fn piece_and_depth(self) -> (usize, usize) {
        match self {
            Self::F32 | Self::Tf32 => (4, 16),
            Self::Bf16 => (8, 32),
        }
    }

    /// Bytes of dynamic shared memory of a product whose tiles run along the summed index or across it.
    fn shared_bytes(self, along: [bool; 2]) -> usize {
        let (piece, depth) = self.piece_and_depth();
        let tile = |along| if along { TILE * (depth + piece) } else { depth * (TILE + 8) };
        along.into_iter().map(|along| STAGES * tile(along) * self.element().size()).sum()
    }
}

/// Rows and columns of a block's outputs, and how many of its tiles are on their way at once; as in `conv2d.cu`.
const TILE: usize = 128;
const STAGES: usize = 4;
/// Blocks that keep a large GPU busy.
const ENOUGH_BLOCKS: usize = 256;
/// Steps along the summed index that are worth a part of their own.
const PART_STEPS: usize = 8;
/// Parts of a gradient by the weight, at most.
const MOST_PARTS: usize = 64;
/// Pixels of a block's sum for a bias.
const RUN: usize = 1024;

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// Rows and columns of the kernel, at least 1.
    pub kernel: [usize; 2],
    /// Step between the inputs of neighbouring outputs, at least 1.
    pub stride: usize,
    /// Rows of zeros above and below the image, and columns of them on both sides.
    pub padding: [usize; 2],
}

/// What is done to the sums on their way to memory: scale (conv + bias + image_bias + residual); with `relu`, what is
/// below 0 becomes 0.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// `[out]`, in single precision.
    pub bias: Option<&'a Buffer>,
    /// `[batch, out]`, in the output's type.
    pub image_bias: Option<&'a Buffer>,
    /// The size and the type of the output.
    pub residual: Option<&'a Buffer>,
    /// Factor on everything, 1 by default.
    pub scale: f32,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self { bias: None, image_bias: None, residual: None, scale: 1.0, relu: false }
    }
}

impl Epilogue<'_> {
    /// Nothing but a scale.
    fn scaled(scale: f32) -> Self {
        Self { scale, ..Self::default() }
    }

    /// Whether it is a scale and nothing else.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn is_scale(&self) -> bool {
        self.bias.is_none() && self.image_bias.is_none() && self.residual.is_none() && !self.relu
    }
}

impl Conv2dShape {
    /// `rows` rows of `inputs` values to rows of `outputs`: a linear layer.
    pub fn linear(rows: usize, inputs: usize, outputs: usize) -> Self {
        let (in_channels, out_channels) = (inputs, outputs);
        Self {
            batch: rows,
            height: 1,
            width: 1,
            in_channels,
            out_channels,
            kernel: [1; 2],
            stride: 1,
            padding: [0; 2],
        }
    }

    /// Height of the output in pixels; 0 if the padded image is smaller than the kernel.
    pub fn out_height(&self) -> usize {
        self.out_size(self.height, 0)
    }

    /// Width of the output in pixels; 0 if the padded image is smaller than the kernel.
    pub fn out_width(&self) -> usize {
        self.out_size(self.width, 1)
    }

    fn out_size(&self, size: usize, axis: usize) -> usize {
        let room = (size + 2 * self.padding[axis]).checked_sub(self.kernel[axis]);
        room.map_or(0, |room| room / self.stride + 1)
    }

    fn pixels(&self) -> usize {
        self.batch * self.height * self.width
    }

    fn out_pixels(&self) -> usize {
        self.batch * self.out_height() * self.out_width()
    }

    /// The window's sizes, as the kernels take them.
    fn window<'a>(&self, launch: Launch<'a>) -> Launch<'a> {
        let &Self { kernel: [rows, columns], stride, padding: [above, beside], .. } = self;
        launch.int(rows).int(columns).int(stride).int(above).int(beside)
    }

    /// Number of values of the input.
    pub fn input_len(&self) -> usize {
        self.pixels() * self.in_channels
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Number of values of the weight.
    pub fn weight_len(&self) -> usize {
        self.taps() * self.in_channels * self.out_channels
    }

    /// Number of values of the output.
    pub fn output_len(&self) -> usize {
        self.out_pixels() * self.out_channels
    }

    fn check(&self, x: usize, weight: usize, out: usize) {
        let least = self.taps().min(self.stride).min(self.in_channels).min(self.out_channels);
        assert!(least >= 1, "kernel, stride and channels are at least 1: {self:?}");
        assert_eq!(x, self.input_len(), "values of the input of {self:?}");
        assert_eq!(weight, self.weight_len(), "values of the weight of {self:?}");
        assert_eq!(out, self.output_len(), "values of the output of {self:?}");
    }

    /// How the sums over the output's pixels are cut: the number of parts and the pixels of each. A function of sizes.
    fn parts(&self, depth: usize) -> (usize, usize) {
        let pixels = self.out_pixels();
        let rows = self.taps() * self.in_channels.div_ceil(TILE);
        let blocks = rows * self.out_channels.div_ceil(TILE);
        let worth = pixels.div_ceil(depth * PART_STEPS).max(1);
        let wanted = ENOUGH_BLOCKS.div_ceil(blocks).min(worth).min(MOST_PARTS);
        let per_part = pixels.div_ceil(wanted).next_multiple_of(depth).max(depth);
        (pixels.div_ceil(per_part).max(1), per_part)
    }
}

impl Gpu {
    /// `scale` (conv(x, weight) + bias + image_bias + residual), see [`Epilogue`].
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a buffer does not have the size that `shape` demands, or not the type of `precision`.
    pub fn conv2d(
        &self,
        precision: Precision,
        shape: &Conv2dShape,
        x: &Buffer,
        weight: &Buffer,
        epilogue: Epilogue<'_>,
    ) -> Result<Buffer, GpuError> {
        shape.check(x.len(), weight.len(), shape.output_len());
        let part = |part: Option<&Buffer>, len: usize, name: &str| {
            assert!(part.is_none_or(|part| part.len() == len), "the {name} of {shape:?} has {len} values");
        };
        part(epilogue.bias, shape.out_channels, "bias");
        part(epilogue.image_bias, shape.batch * shape.out_channels, "image bias");
        part(epilogue.residual, shape.output_len(), "residual");
        let product = Product::new(Way::Forward, precision, shape, &epilogue);
        self.product(&product, [x, weight], epilogue)
    }

    /// `scale` times the gradient of the plain convolution by its input.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a buffer does not have the size that `shape` demands, or not the type of `precision`.
    pub fn conv2d_backward_data(
        &self,
        precision: Precision,
        shape: &Conv2dShape,
        weight: &Buffer,
        grad_out: &Buffer,
        scale: f32,
    ) -> Result<Buffer, GpuError> {
        shape.check(shape.input_len(), weight.len(), grad_out.len());
        let epilogue = Epilogue::scaled(scale);
        let product = Product::new(Way::BackwardData, precision, shape, &epilogue);
        self.product(&product, [grad_out, weight], epilogue)
    }

    /// `scale` times the gradient of the plain convolution by its weight, in single precision. The sum over pixels is
    /// cut into parts that are added in their order; how depends on sizes only.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a buffer does not have the size that `shape` demands, or not the type of `precision`.
    pub fn conv2d_backward_weight(
        &self,
        precision: Precision,
        shape: &Conv2dShape,
        x: &Buffer,
        grad_out: &Buffer,
        scale: f32,
    ) -> Result<Buffer, GpuError> {
        shape.check(x.len(), shape.weight_len(), grad_out.len());
        let epilogue = Epilogue::scaled(scale);
        let product = Product::new(Way::BackwardWeight, precision, shape, &epilogue);
        self.product(&product, [x, grad_out], epilogue)
    }

    /// A product by a library's plan, if one was chosen for it, else by our kernels.
    fn product(
        &self,
        product: &Product,
        operands: [&Buffer; 2],
        epilogue: Epilogue<'_>,
    ) -> Result<Buffer, GpuError> {
        match self.planned(product, operands, epilogue)? {
            Some(out) => Ok(out),
            None => self.own_product(product, operands, epilogue),
        }
    }

    /// A product by a library's plan: there are none.
    #[cfg(target_arch = "wasm32")]
    fn planned(&self, _: &Product, _: [&Buffer; 2], _: Epilogue<'_>) -> Result<Option<Buffer>, GpuError> {
        Ok(None)
    }

    /// `scale` times the sums of `grad_out` over the pixels of each image: the gradient by an image bias,
    /// \[batch, out\], in single precision.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If `grad_out` does not have the size that `shape` demands.
    pub fn conv2d_backward_image_bias(
        &self,
        shape: &Conv2dShape,
        grad_out: &Buffer,
        scale: f32,
    ) -> Result<Buffer, GpuError> {
        shape.check(shape.input_len(), shape.weight_len(), grad_out.len());
        let run = shape.out_height() * shape.out_width();
        if run == 0 {
            return self.zeros(Element::F32, shape.batch * shape.out_channels);
        }
        self.pixel_sums(shape, grad_out, run, scale)
    }

    /// `scale` times the sums of `grad_out` over all pixels: the gradient by a bias, \[out\], in single precision.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If `grad_out` does not have the size that `shape` demands.
    pub fn conv2d_backward_bias(
        &self,
        shape: &Conv2dShape,
        grad_out: &Buffer,
        scale: f32,
    ) -> Result<Buffer, GpuError> {
        shape.check(shape.input_len(), shape.weight_len(), grad_out.len());
        if grad_out.is_empty() {
            return self.zeros(Element::F32, shape.out_channels);
        }
        let sums = self.pixel_sums(shape, grad_out, RUN, scale)?;
        self.summed_parts(&sums, shape.out_channels, shape.out_pixels().div_ceil(RUN))
    }
}
