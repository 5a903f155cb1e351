//! Max and average pooling over square windows, and the mean over a whole image.
//!
//! Networks for features (LPIPS, Inception, classifiers) use these; down-sampling by two inside a U-Net is
//! [`crate::resample`]'s.

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use crate::dispatch::isa;
use crate::elementwise::multiversion::multiversion;
use crate::elementwise::{for_each_range, items_per_piece};
use crate::threads::SharedMut;

/// Sizes of a pooling of \[batch, height, width, channels\] images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Images.
    pub batch: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Side of the window.
    pub kernel: usize,
    /// Step between windows, at least 1.
    pub stride: usize,
    /// Border added on every side; at most half the window.
    pub padding: usize,
    /// Whether a last window that hangs over the far border is taken as well (`ceil_mode` in PyTorch), unless it
    /// would begin beyond the image.
    pub round_up: bool,
}

impl PoolShape {
    /// Rows of the output.
    pub fn out_height(&self) -> usize {
        self.windows(self.height)
    }

    /// Columns of the output.
    pub fn out_width(&self) -> usize {
        self.windows(self.width)
    }

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_image()
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_image()
    }

    fn in_image(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn out_image(&self) -> usize {
        self.out_height() * self.out_width() * self.channels
    }

    fn windows(&self, size: usize) -> usize {
        let Some(room) = (size + 2 * self.padding).checked_sub(self.kernel) else { return 0 };
        let whole = room / self.stride + 1;
        let hanging = self.round_up && !room.is_multiple_of(self.stride);
        whole + usize::from(hanging && whole * self.stride < size + self.padding)
    }

    fn check(&self, input: usize, output: usize) {
        assert!(self.kernel > 0 && self.stride > 0, "window and stride of a pooling are at least 1");
        assert!(2 * self.padding <= self.kernel, "padding {} is above half the window", self.padding);
        assert_eq!(input, self.input_len(), "input of pooling {self:?}");
        assert_eq!(output, self.output_len(), "output of pooling {self:?}");
    }

    /// Calls `work(output pixel, input pixels of its window)` for every window of one image, row by row.
    fn for_each_window(&self, mut work: impl FnMut(usize, &mut dyn Iterator<Item = usize>)) {
        let span = |o: usize, size: usize| {
            let from = o * self.stride;
            from.saturating_sub(self.padding)..(from + self.kernel).saturating_sub(self.padding).min(size)
        };
        for oy in 0..self.out_height() {
            for ox in 0..self.out_width() {
                let columns = span(ox, self.width);
                let mut window =
                    span(oy, self.height).flat_map(|y| columns.clone().map(move |x| y * self.width + x));
                work(oy * self.out_width() + ox, &mut window);
            }
        }
    }
}

multiversion! {
    fn keep_larger(pixel: u32, x: &[f32], best: &mut [f32], argmax: &mut [u32]) {
        for ((&x, best), argmax) in x.iter().zip(best).zip(argmax) {
            // NaN wins and stays, as in PyTorch.
            let better = x > *best || x.is_nan();
            *best = if better { x } else { *best };
            *argmax = if better { pixel } else { *argmax };
        }
    }
}

multiversion! {
    fn larger(x: &[f32], best: &mut [f32]) {
        for (&x, best) in x.iter().zip(best) {
            // NaN wins and stays, as in PyTorch.
            *best = if x > *best || x.is_nan() { x } else { *best };
        }
    }
}

multiversion! {
    fn accumulate(scale: f32, x: &[f32], acc: &mut [f32]) {
        for (acc, &x) in acc.iter_mut().zip(x) {
            *acc += scale * x;
        }
    }
}

/// Calls `work` with each image's number and its part of `to`, `image` values, some images a piece.
fn for_each_image(
    shape: &PoolShape,
    to: &mut [f32],
    image: usize,
    work: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    let to = SharedMut::new(to);
    for_each_range(shape.batch, items_per_piece(shape.in_image()), |first, count| {
        for n in first..first + count {
            // SAFETY: each image is visited once.
            let to = unsafe { to.slice(n * image, image) };
            work(n, to);
        }
    });
}

/// Largest value of each window; padding never wins. `argmax`, as long as `out`, gets the winner's pixel
/// y * width + x within its image, the first of equals.
///
/// # Panics
/// If a size does not fit.
pub fn max_pool(shape: &PoolShape, x: &[f32], out: &mut [f32], argmax: &mut [u32]) {
    shape.check(x.len(), out.len());
    assert_eq!(argmax.len(), out.len(), "one argmax per output is wanted");
    let (isa, c) = (isa(), shape.channels);
    let (in_image, out_image) = (shape.in_image(), shape.out_image());
    let (out, argmax) = (SharedMut::new(out), SharedMut::new(argmax));
    for_each_range(shape.batch, items_per_piece(in_image), |first, count| {
        for n in first..first + count {
            let x = &x[n * in_image..(n + 1) * in_image];
            // SAFETY: each image is visited once.
            let (out, argmax) =
                unsafe { (out.slice(n * out_image, out_image), argmax.slice(n * out_image, out_image)) };
            shape.for_each_window(|o, window| {
                let (out, argmax) = (&mut out[o * c..(o + 1) * c], &mut argmax[o * c..(o + 1) * c]);
                let start =
                    window.next().expect("padding is at most half the window, so no window lies outside");
                out.copy_from_slice(&x[start * c..(start + 1) * c]);
                argmax.fill(start as u32);
                for pixel in window {
                    keep_larger(isa, pixel as u32, &x[pixel * c..(pixel + 1) * c], out, argmax);
                }
            });
        }
    });
}

/// [`max_pool`] without the winners, for networks that are not differentiated.
///
/// # Panics
/// If a size does not fit.
pub fn max_pool_values(shape: &PoolShape, x: &[f32], out: &mut [f32]) {
    shape.check(x.len(), out.len());
    let (isa, c, in_image) = (isa(), shape.channels, shape.in_image());
    for_each_image(shape, out, shape.out_image(), |n, out| {
        let x = &x[n * in_image..(n + 1) * in_image];
        shape.for_each_window(|o, window| {
            let out = &mut out[o * c..(o + 1) * c];
            let start = window.next().expect("padding is at most half the window, so no window lies outside");
            out.copy_from_slice(&x[start * c..(start + 1) * c]);
            window.for_each(|pixel| larger(isa, &x[pixel * c..(pixel + 1) * c], out));
        });
    });
}

/// Gradient of [`max_pool`]: each output's gradient goes to its winner.
///
/// # Panics
/// If a size does not fit or `argmax` is not from [`max_pool`].
pub fn max_pool_backward(shape: &PoolShape, argmax: &[u32], grad_out: &[f32], grad_x: &mut [f32]) {
    shape.check(grad_x.len(), grad_out.len());
    assert_eq!(argmax.len(), grad_out.len(), "one argmax per output is wanted");
    let c = shape.channels;
    let out_image = shape.out_image();
    for_each_image(shape, grad_x, shape.in_image(), |n, grad_x| {
        grad_x.fill(0.0);
        let range = n * out_image..(n + 1) * out_image;
        for (i, (&g, &pixel)) in grad_out[range.clone()].iter().zip(&argmax[range]).enumerate() {
            grad_x[pixel as usize * c + i % c] += g;
        }
    });
}

/// How the output of [`max_pool`] changes where its input changes along `along`: as each winner does.
///
/// # Panics
/// If a size does not fit or `argmax` is not from [`max_pool`].
pub fn max_pool_tangent(shape: &PoolShape, argmax: &[u32], along: &[f32], out: &mut [f32]) {
    shape.check(along.len(), out.len());
    assert_eq!(argmax.len(), out.len(), "one argmax per output is wanted");
    let (c, in_image, out_image) = (shape.channels, shape.in_image(), shape.out_image());
    for_each_image(shape, out, out_image, |n, out| {
        let along = &along[n * in_image..(n + 1) * in_image];
        for (i, (out, &pixel)) in out.iter_mut().zip(&argmax[n * out_image..]).enumerate() {
            *out = along[pixel as usize * c + i % c];
        }
    });
}

/// Mean of each window, the padding counted as zeros (PyTorch's default).
///
/// # Panics
/// If a size does not fit, or windows hang over the border.
pub fn avg_pool(shape: &PoolShape, x: &[f32], out: &mut [f32]) {
    shape.check(x.len(), out.len());
    assert!(!shape.round_up, "what is beyond the padding has no mean");
    let (isa, c, scale) = (isa(), shape.channels, 1.0 / (shape.kernel * shape.kernel) as f32);
    let in_image = shape.in_image();
    for_each_image(shape, out, shape.out_image(), |n, out| {
        out.fill(0.0);
        let x = &x[n * in_image..(n + 1) * in_image];
        shape.for_each_window(|o, window| {
            let out = &mut out[o * c..(o + 1) * c];
            for pixel in window {
                accumulate(isa, scale, &x[pixel * c..(pixel + 1) * c], out);
            }
        });
    });
}

/// Mean of the part of each window that is inside the image (TensorFlow's way; `count_include_pad=False` in
/// PyTorch).
///
/// # Panics
/// If a size does not fit.
pub fn avg_pool_inside(shape: &PoolShape, x: &[f32], out: &mut [f32]) {
    shape.check(x.len(), out.len());
    let (isa, c) = (isa(), shape.channels);
    let in_image = shape.in_image();
    for_each_image(shape, out, shape.out_image(), |n, out| {
        out.fill(0.0);
        let x = &x[n * in_image..(n + 1) * in_image];
        shape.for_each_window(|o, window| {
            let out = &mut out[o * c..(o + 1) * c];
            let mut pixels = 0u32;
            for pixel in window {
                accumulate(isa, 1.0, &x[pixel * c..(pixel + 1) * c], out);
                pixels += 1;
            }
            out.iter_mut().for_each(|sum| *sum /= pixels as f32);
        });
    });
}

/// Gradient of [`avg_pool`].
///
/// # Panics
/// If a size does not fit, or windows hang over the border.
pub fn avg_pool_backward(shape: &PoolShape, grad_out: &[f32], grad_x: &mut [f32]) {
    shape.check(grad_x.len(), grad_out.len());
    assert!(!shape.round_up, "what is beyond the padding has no mean");
    let (isa, c, scale) = (isa(), shape.channels, 1.0 / (shape.kernel * shape.kernel) as f32);
    let out_image = shape.out_image();
    for_each_image(shape, grad_x, shape.in_image(), |n, grad_x| {
        grad_x.fill(0.0);
        let g = &grad_out[n * out_image..(n + 1) * out_image];
        shape.for_each_window(|o, window| {
            for pixel in window {
                accumulate(isa, scale, &g[o * c..(o + 1) * c], &mut grad_x[pixel * c..(pixel + 1) * c]);
            }
        });
    });
}

/// Mean over the pixels: \[batch, pixels, channels\] to \[batch, channels\], accumulated in `f64`.
///
/// # Panics
/// If a size does not fit.
pub fn global_avg_pool(batch: usize, pixels: usize, channels: usize, x: &[f32], out: &mut [f32]) {
    let image = pixels * channels;
    assert_eq!(x.len(), batch * image, "input is [{batch}, {pixels}, {channels}]");
    assert_eq!(out.len(), batch * channels, "output is [{batch}, {channels}]");
    let out = SharedMut::new(out);
    for_each_range(batch, items_per_piece(image), |first, count| {
        let mut sums = vec![0.0_f64; channels];
        for n in first..first + count {
            sums.fill(0.0);
            for pixel in x[n * image..(n + 1) * image].chunks_exact(channels.max(1)) {
                for (sum, &x) in sums.iter_mut().zip(pixel) {
                    *sum += f64::from(x);
                }
            }
            // SAFETY: each image is visited once.
            let out = unsafe { out.slice(n * channels, channels) };
            for (out, sum) in out.iter_mut().zip(&sums) {
                *out = (sum / pixels as f64) as f32;
            }
        }
    });
}

/// Gradient of [`global_avg_pool`]: grad_out / pixels at every pixel.
///
/// # Panics
/// If a size does not fit.
pub fn global_avg_pool_backward(
    batch: usize,
    pixels: usize,
    channels: usize,
    grad_out: &[f32],
    grad_x: &mut [f32],
) {
    let image = pixels * channels;
    assert_eq!(grad_x.len(), batch * image, "gradient of the input is [{batch}, {pixels}, {channels}]");
    assert_eq!(grad_out.len(), batch * channels, "gradient of the output is [{batch}, {channels}]");
    let scale = 1.0 / pixels as f32;
    let grad_x = SharedMut::new(grad_x);
    for_each_range(batch, items_per_piece(image), |first, count| {
        for n in first..first + count {
            let g = &grad_out[n * channels..(n + 1) * channels];
            // SAFETY: each image is visited once.
            let grad_x = unsafe { grad_x.slice(n * image, image) };
            for pixel in grad_x.chunks_exact_mut(channels.max(1)) {
                for (out, &g) in pixel.iter_mut().zip(g) {
                    *out = scale * g;
                }
            }
        }
    });
}
