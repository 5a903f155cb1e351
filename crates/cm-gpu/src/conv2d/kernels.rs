//! The launches of our kernels for convolutions.

use super::{Conv2dShape, Epilogue, Precision, Product, TILE, Way};
use crate::source::{CONV2D, Variant};
use crate::{Buffer, Element, Gpu, GpuError};

impl Gpu {
    /// A product by our kernels.
    pub(crate) fn own_product(
        &self,
        &Product { way, precision, ref shape, .. }: &Product,
        [a, b]: [&Buffer; 2],
        epilogue: Epilogue<'_>,
    ) -> Result<Buffer, GpuError> {
        match way {
            Way::Forward => self.own_forward(precision, shape, a, b, epilogue),
            Way::BackwardData => self.own_backward_data(precision, shape, b, a, epilogue.scale),
            Way::BackwardWeight => self.own_backward_weight(precision, shape, a, b, epilogue.scale),
        }
    }

    fn own_forward(
        &self,
        precision: Precision,
        shape: &Conv2dShape,
        x: &Buffer,
        weight: &Buffer,
        epilogue: Epilogue<'_>,
    ) -> Result<Buffer, GpuError> {
        let mut out = self.unwritten(precision.element(), shape.output_len())?;
        let launch = self.launch(&CONV2D, precision.variant(), "conv_forward")?.read(x).read(weight);
        let launch = launch.read_if(epilogue.bias).read_if(epilogue.image_bias).read_if(epilogue.residual);
        let launch = launch.write(&mut out).int(shape.out_pixels()).int(shape.height).int(shape.width);
        let launch = launch.int(shape.out_height()).int(shape.out_width());
        let launch = launch.int(shape.in_channels).int(shape.out_channels);
        let launch = shape.window(launch).float(epilogue.scale);
        let grid = [shape.out_pixels().div_ceil(TILE), shape.out_channels.div_ceil(TILE), 1];
        launch.int(usize::from(epilogue.relu)).grid(grid, precision.shared_bytes([true, false]))?;
        Ok(out)
    }

    fn own_backward_data(
        &self,
        precision: Precision,
        shape: &Conv2dShape,
        weight: &Buffer,
        grad_out: &Buffer,
        scale: f32,
    ) -> Result<Buffer, GpuError> {
        let mut grad_x = self.unwritten(precision.element(), shape.input_len())?;
        let launch = self.launch(&CONV2D, precision.variant(), "conv_backward_data")?;
        let launch = launch.read(grad_out).read(weight).write(&mut grad_x);
        let launch = launch.int(shape.pixels()).int(shape.height).int(shape.width);
        let launch = launch.int(shape.out_height()).int(shape.out_width());
        let launch = launch.int(shape.in_channels).int(shape.out_channels);
        let launch = shape.window(launch).float(scale);
        let grid = [shape.pixels().div_ceil(TILE), shape.in_channels.div_ceil(TILE), 1];
        launch.grid(grid, precision.shared_bytes([true, true]))?;
        Ok(grad_x)
    }

    fn own_backward_weight(
        &self,
        precision: Precision,
        shape: &Conv2dShape,
        x: &Buffer,
        grad_out: &Buffer,
        scale: f32,
    ) -> Result<Buffer, GpuError> {
        let (_, depth) = precision.piece_and_depth();
        let (parts, per_part) = shape.parts(depth);
        let len = shape.weight_len();
        let mut sums = self.unwritten(Element::F32, parts * len)?;
        let launch = self.launch(&CONV2D, precision.variant(), "conv_backward_weight")?;
        let launch = launch.read(x).read(grad_out).write(&mut sums);
        let launch = launch.int(shape.out_pixels()).int(per_part).int(shape.height).int(shape.width);
        let launch = launch.int(shape.out_height()).int(shape.out_width());
        let launch = launch.int(shape.in_channels).int(shape.out_channels);
        let launch = shape.window(launch).float(scale);
        let rows = shape.taps() * shape.in_channels.div_ceil(TILE);
        let grid = [rows, shape.out_channels.div_ceil(TILE), parts];
        launch.grid(grid, precision.shared_bytes([false, false]))?;
        if parts == 1 {
            return Ok(sums);
        }
        self.summed_parts(&sums, len, parts)
    }

    pub(super) fn pixel_sums(
        &self,
        shape: &Conv2dShape,
        grad_out: &Buffer,
        run: usize,
        scale: f32,
    ) -> Result<Buffer, GpuError> {
        let (pixels, channels) = (shape.out_pixels(), shape.out_channels);
        let runs = pixels.div_ceil(run);
        let mut sums = self.unwritten(Element::F32, runs * channels)?;
        let launch = self.launch(&CONV2D, Variant::of(grad_out.element()), "pixel_sums")?;
        let launch = launch.read(grad_out).write(&mut sums).long(pixels).int(run).int(channels).float(scale);
        launch.grid([channels.div_ceil(32), runs, 1], 0)?;
        Ok(sums)
    }

    pub(super) fn summed_parts(&self, parts: &Buffer, len: usize, count: usize) -> Result<Buffer, GpuError> {
        if count == 1 {
            return Ok(parts.clone());
        }
        let mut out = self.unwritten(Element::F32, len)?;
        let launch = self.launch(&CONV2D, Variant::F32, "sum_parts")?.read(parts).write(&mut out);
        launch.long(len).int(count).over(len)?;
        Ok(out)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Gpu {
    /// What follows a convolution that a library computed, in place.
    pub(crate) fn finish(
        &self,
        shape: &Conv2dShape,
        sums: &mut Buffer,
        epilogue: Epilogue<'_>,
    ) -> Result<(), GpuError> {
        let (len, image) = (sums.len(), shape.out_height() * shape.out_width() * shape.out_channels);
        // Of a gradient by the input there is a scale only, and no image.
        let (image, channels) = if epilogue.is_scale() { (len, 1) } else { (image, shape.out_channels) };
        let launch = self.launch(&CONV2D, Variant::of(sums.element()), "conv_finish")?.write(sums);
        let launch = launch.read_if(epilogue.bias).read_if(epilogue.image_bias).read_if(epilogue.residual);
        let launch = launch.long(len).long(image).int(channels).float(epilogue.scale);
        launch.int(usize::from(epilogue.relu)).over(len)
    }

    /// `scale` times the transpose of a matrix \[rows, columns\], into `out`.
    pub(crate) fn transpose(
        &self,
        [rows, columns]: [usize; 2],
        x: &Buffer,
        scale: f32,
        out: &mut Buffer,
    ) -> Result<(), GpuError> {
        let launch = self.launch(&CONV2D, Variant::of(x.element()), "transposed")?.read(x).write(out);
        let grid = [rows.div_ceil(32), columns.div_ceil(32), 1];
        launch.int(rows).int(columns).float(scale).grid(grid, 0)
    }
}
