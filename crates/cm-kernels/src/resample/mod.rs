//! Resampling of \[batch, height, width, channels\] images: factors of two in the U-Nets' several styles, and
//! bilinear to any size.
//!
//! All of it is separable and linear, so there is one kernel: a sparse matrix per axis (`axis.rs`), applied to rows
//! and then to columns. A backward pass is the same kernel with both matrices transposed, which makes every
//! adjoint right by construction. Sizes in the arguments are always those of the forward pass's *input*.
//!
//! * nearest and mean: DDPM++ and ADM;
//! * FIR with taps (1, 3, 3, 1): NCSN++ (Song et al. 2021, `up_or_down_sampling.py`), outer product over 64; up: zeros
//!   in between, gain 4, padding (2, 1); down: padding (1, 1); smoothing: padding (2, 2), before a strided
//!   convolution without padding.

mod axis;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use crate::dispatch::{Isa, isa};
use crate::elementwise::multiversion::multiversion;
use crate::elementwise::{for_each_range, items_per_piece};
use crate::threads::SharedMut;
use axis::Axis;

multiversion! {
    /// row = sum over taps of weight * image row.
    fn combine_rows(taps: &[(usize, f32)], image: &[f32], row: &mut [f32]) {
        let n = row.len();
        match taps {
            [] => row.fill(0.0),
            [(a, wa)] => {
                let a = &image[a * n..(a + 1) * n];
                for i in 0..n {
                    row[i] = wa * a[i];
                }
            }
            [(a, wa), (b, wb)] => {
                let (a, b) = (&image[a * n..(a + 1) * n], &image[b * n..(b + 1) * n]);
                for i in 0..n {
                    row[i] = wa * a[i] + wb * b[i];
                }
            }
            [(a, wa), (b, wb), rest @ ..] => {
                let (a, b) = (&image[a * n..(a + 1) * n], &image[b * n..(b + 1) * n]);
                for i in 0..n {
                    row[i] = wa * a[i] + wb * b[i];
                }
                for (c, wc) in rest {
                    let c = &image[c * n..(c + 1) * n];
                    for i in 0..n {
                        row[i] += wc * c[i];
                    }
                }
            }
        }
    }
}

multiversion! {
    /// Applies `columns` to one row of pixels.
    fn combine_columns(columns: &Axis, channels: usize, row: &[f32], out: &mut [f32]) {
        let c = channels;
        for (o, out) in out.chunks_exact_mut(c).enumerate() {
            match columns.taps(o) {
                [] => out.fill(0.0),
                [(a, 1.0)] => out.copy_from_slice(&row[a * c..(a + 1) * c]),
                [(a, wa)] => {
                    let a = &row[a * c..(a + 1) * c];
                    for i in 0..c {
                        out[i] = wa * a[i];
                    }
                }
                [(a, wa), (b, wb), rest @ ..] => {
                    let (a, b) = (&row[a * c..(a + 1) * c], &row[b * c..(b + 1) * c]);
                    for i in 0..c {
                        out[i] = wa * a[i] + wb * b[i];
                    }
                    for (d, wd) in rest {
                        let d = &row[d * c..(d + 1) * c];
                        for i in 0..c {
                            out[i] += wd * d[i];
                        }
                    }
                }
            }
        }
    }
}

fn apply_on(
    isa: Isa,
    batch: usize,
    channels: usize,
    rows: &Axis,
    columns: &Axis,
    x: &[f32],
    out: &mut [f32],
) {
    let (in_row, out_row) = (columns.inputs * channels, columns.outputs() * channels);
    let (in_image, out_image) = (rows.inputs * in_row, rows.outputs() * out_row);
    assert_eq!(
        x.len(),
        batch * in_image,
        "input is [{batch}, {}, {}, {channels}]",
        rows.inputs,
        columns.inputs
    );
    assert_eq!(
        out.len(),
        batch * out_image,
        "output is [{batch}, {}, {}, {channels}]",
        rows.outputs(),
        columns.outputs()
    );
    if out.is_empty() {
        return;
    }
    let out = SharedMut::new(out);
    for_each_range(batch * rows.outputs(), items_per_piece(in_row.max(out_row)), |first, count| {
        let mut row = vec![0.0; in_row];
        for index in first..first + count {
            let (n, o) = (index / rows.outputs(), index % rows.outputs());
            let image = &x[n * in_image..(n + 1) * in_image];
            // SAFETY: each output row is visited once.
            let out = unsafe { out.slice(index * out_row, out_row) };
            match rows.taps(o) {
                [(i, 1.0)] => {
                    combine_columns(isa, columns, channels, &image[i * in_row..(i + 1) * in_row], out);
                }
                taps => {
                    combine_rows(isa, taps, image, &mut row);
                    combine_columns(isa, columns, channels, &row, out);
                }
            }
        }
    });
}

/// Declares a resampling and its backward pass from the map along one axis.
macro_rules! by_two {
    ($(#[$doc:meta])* $forward:ident, $axis:ident, $(#[$backward_doc:meta])* $backward:ident) => {
        $(#[$doc])*
        pub fn $forward(batch: usize, height: usize, width: usize, channels: usize, x: &[f32], out: &mut [f32]) {
            apply_on(isa(), batch, channels, &Axis::$axis(height), &Axis::$axis(width), x, out);
        }

        $(#[$backward_doc])*
        pub fn $backward(
            batch: usize,
            height: usize,
            width: usize,
            channels: usize,
            grad_out: &[f32],
            grad_x: &mut [f32],
        ) {
            let (rows, columns) = (Axis::$axis(height).transposed(), Axis::$axis(width).transposed());
            apply_on(isa(), batch, channels, &rows, &columns, grad_out, grad_x);
        }
    };
}

by_two! {
    /// Each pixel four times: out is \[batch, 2 height, 2 width, channels\].
    ///
    /// # Panics
    /// If a size does not fit.
    nearest_up2, nearest_up2,
    /// Gradient of [`nearest_up2`]: sums of 2x2 pixels.
    ///
    /// # Panics
    /// If a size does not fit.
    nearest_up2_backward
}

by_two! {
    /// Means of 2x2 pixels: out is \[batch, height / 2, width / 2, channels\].
    ///
    /// # Panics
    /// If a side is odd or a size does not fit.
    avg_down2, avg_down2,
    /// Gradient of [`avg_down2`].
    ///
    /// # Panics
    /// If a side is odd or a size does not fit.
    avg_down2_backward
}

by_two! {
    /// FIR up-sampling, taps (1, 3, 3, 1): out is \[batch, 2 height, 2 width, channels\].
    ///
    /// # Panics
    /// If a size does not fit.
    fir_up2, fir_up2,
    /// Gradient of [`fir_up2`].
    ///
    /// # Panics
    /// If a size does not fit.
    fir_up2_backward
}

by_two! {
    /// FIR down-sampling, taps (1, 3, 3, 1): out is \[batch, height / 2, width / 2, channels\].
    ///
    /// # Panics
    /// If a side is odd or a size does not fit.
    fir_down2, fir_down2,
    /// Gradient of [`fir_down2`].
    ///
    /// # Panics
    /// If a side is odd or a size does not fit.
    fir_down2_backward
}

by_two! {
    /// FIR smoothing, taps (1, 3, 3, 1), padding (2, 2): out is \[batch, height + 1, width + 1, channels\]. A 3x3
    /// convolution of stride 2 without padding then halves the image (NCSN++'s input pyramid).
    ///
    /// # Panics
    /// If a size does not fit.
    fir_smooth, fir_smooth,
    /// Gradient of [`fir_smooth`].
    ///
    /// # Panics
    /// If a size does not fit.
    fir_smooth_backward
}

/// Bilinear interpolation from `from` to `to` = (height, width), pixel centres aligned (`align_corners = false`), no
/// smoothing before reduction. An image without pixels cannot be enlarged.
///
/// # Panics
/// If a size does not fit.
pub fn bilinear(
    batch: usize,
    from: (usize, usize),
    to: (usize, usize),
    channels: usize,
    x: &[f32],
    out: &mut [f32],
) {
    apply_on(isa(), batch, channels, &Axis::bilinear(from.0, to.0), &Axis::bilinear(from.1, to.1), x, out);
}

/// Gradient of [`bilinear`]; `from` and `to` are the forward pass's.
///
/// # Panics
/// If a size does not fit.
pub fn bilinear_backward(
    batch: usize,
    from: (usize, usize),
    to: (usize, usize),
    channels: usize,
    grad_out: &[f32],
    grad_x: &mut [f32],
) {
    let (rows, columns) =
        (Axis::bilinear(from.0, to.0).transposed(), Axis::bilinear(from.1, to.1).transposed());
    apply_on(isa(), batch, channels, &rows, &columns, grad_out, grad_x);
}

/// How an image is brought to another size where a published metric says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Bilinear, pixel centres aligned, no smoothing before reduction: [`bilinear`].
    BilinearCentres,
    /// Bilinear as TensorFlow 1 did it: upper left corners aligned, no smoothing before reduction.
    BilinearCorners,
    /// Bicubic with smoothing before reduction: the Python Imaging Library's.
    BicubicSmooth,
}

/// The images brought from `from` to `to` = (height, width) by `how`.
///
/// # Panics
/// If a size does not fit.
pub fn resize(
    how: Interpolation,
    batch: usize,
    from: (usize, usize),
    to: (usize, usize),
    channels: usize,
    x: &[f32],
    out: &mut [f32],
) {
    let axis = |from, to| match how {
        Interpolation::BilinearCentres => Axis::bilinear(from, to),
        Interpolation::BilinearCorners => Axis::bilinear_corner(from, to),
        Interpolation::BicubicSmooth => Axis::bicubic_smooth(from, to),
    };
    apply_on(isa(), batch, channels, &axis(from.0, to.0), &axis(from.1, to.1), x, out);
}
