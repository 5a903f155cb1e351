//! Convolution as matrix products over unfolded patches: any kernel, stride and padding.
//!
//! Blocks of output pixels are unfolded into `[pixels, kernel * kernel * in]` in a thread's own memory, which for
//! 1x1 kernels of stride 1 is the image itself and costs nothing.

use std::ops::Range;

use super::weight::turn_whole;
use super::{Conv2dShape, Epilogue};
use crate::dispatch::Isa;
use crate::product::pack::{Rows, pack, pack_rows};
use crate::product::vector::{Kernel, Vector, lanes, run};
use crate::product::{CHAIN, Depth, GROUP, LINE, Left, Out, Right, product};
use crate::scratch;
use crate::threads::{SharedMut, for_each_piece};

/// Floats of the patches of a block.
const BLOCK_FLOATS: usize = 32 * 1024;

/// Multiply-adds below which a block is not worth a task.
const BLOCK_WORK: usize = 1 << 20;

/// Most groups of blocks of the weight's gradient (each has its own sums), and least pixels of a group.
const MAX_GROUPS: usize = 8;
const GROUP_PIXELS: usize = 512;

/// Rows of the weight's gradient that make a piece.
const SLICE_ROWS: usize = 64;

impl Conv2dShape {
    /// Length of an unfolded patch.
    pub(super) fn patch_len(&self) -> usize {
        self.kernel * self.kernel * self.in_channels
    }

    /// Output pixels of a block whose patches fit the cache, a multiple of 8.
    fn block_pixels(&self) -> usize {
        (BLOCK_FLOATS / self.patch_len()).clamp(16, 256).next_multiple_of(8)
    }

    /// Whether the patches are the image.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }
}

/// `out = scale * (conv(x, weight) + bias + image_bias + residual)`.
pub(super) fn forward(
    isa: Isa,
    shape: &Conv2dShape,
    x: &[f32],
    weight: &[f32],
    epilogue: &Epilogue,
    out: &mut [f32],
) {
    let (depth, channels) = (shape.patch_len(), shape.out_channels);
    let padded = channels.next_multiple_of(lanes(isa));
    let pixels = shape.batch * shape.out_pixels();
    let work = (BLOCK_WORK / (depth * padded)).next_multiple_of(8);
    // Few pixels make smaller blocks, for a thread each, if those have enough work.
    let small = shape.block_pixels().min(pixels.div_ceil(4).next_multiple_of(8).max(work));
    let step = small.max(work.min(2048));
    scratch::with(depth * padded, |packed| {
        pack(weight, channels, lanes(isa), packed);
        let packed = &*packed;
        let out = SharedMut::new(out);
        for_each_piece(pixels.div_ceil(step), |piece| {
            let last = (piece * step + step).min(pixels);
            scratch::with(small * (depth + padded), |buffer| {
                let (patches, sums) = buffer.split_at_mut(small * depth);
                for start in (piece * step..last).step_by(small) {
                    let range = start..(start + small).min(last);
                    run(isa, Forward { shape, range, x, packed, patches, sums, epilogue, out });
                }
            });
        });
    });
}

struct Forward<'a> {
    shape: &'a Conv2dShape,
    /// Output pixels, counted through the batch.
    range: Range<usize>,
    x: &'a [f32],
    packed: &'a [f32],
    patches: &'a mut [f32],
    sums: &'a mut [f32],
    epilogue: &'a Epilogue<'a>,
    out: SharedMut<'a, f32>,
}

impl Kernel for Forward<'_> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Self { shape, range, epilogue, .. } = self;
        let (depth, channels) = (shape.patch_len(), shape.out_channels);
        let padded = channels.next_multiple_of(V::LANES);
        let sums = self.sums.as_mut_ptr();
        // SAFETY: the buffers hold the block's patches and sums; blocks write different pixels of `out`.
        unsafe {
            let start = patches::<V>(shape, range.clone(), self.x, self.patches);
            let sizes = (range.len(), Depth::in_runs(depth, LINE).in_chains(CHAIN), padded / V::LANES);
            let right = Right::packed::<V>(self.packed.as_ptr(), depth);
            // Where channels fill whole vectors the sums need no place of their own.
            let in_place = padded == channels;
            let sums = if in_place { self.out.pointer().add(range.start * channels) } else { sums };
            let to = Out::rows::<V>(sums, padded);
            product::<V>(sizes, Left::rows(start, depth), right, to, false);
            if in_place && epilogue.is_nothing() {
                return;
            }
            let pixels = shape.out_pixels();
            for (row, pixel) in range.enumerate() {
                let mut channel = 0;
                while channel < channels {
                    let count = V::LANES.min(channels - channel);
                    let biases = epilogue.biases::<V>(pixel / pixels, channel, channels, count);
                    let sums = V::load(sums.add(row * padded + channel));
                    epilogue.finish(sums, biases, self.out.pointer(), pixel * channels + channel, count);
                    channel += V::LANES;
                }
            }
        }
    }
}

/// The patches of the output pixels `range`: unfolded into `buffer`, or in place if they are the image.
#[inline(always)]
unsafe fn patches<V: Vector>(
    s: &Conv2dShape,
    range: Range<usize>,
    x: &[f32],
    buffer: &mut [f32],
) -> *const f32 {
    if s.is_pointwise() {
        return x[range.start * s.in_channels..].as_ptr();
    }
    // SAFETY: the instruction set is the caller's promise.
    unsafe { unfold::<V>(s, range, x, buffer) };
    buffer.as_ptr()
}

/// Copies the patches of the output pixels `range` into the rows of `to`.
#[inline(always)]
unsafe fn unfold<V: Vector>(s: &Conv2dShape, range: Range<usize>, x: &[f32], to: &mut [f32]) {
    let (out_width, channels) = (s.out_width(), s.in_channels);
    let line = s.kernel * channels;
    assert!(to.len() >= range.len() * s.patch_len(), "room for the patches");
    let mut to = to.as_mut_ptr();
    for pixel in range {
        let (row, ow) = (pixel / out_width, pixel % out_width);
        let (n, oh) = (row / s.out_height(), row % s.out_height());
        // A line of the kernel covers neighbouring pixels of the image, the middle part of it inside.
        let left = (s.padding.saturating_sub(ow * s.stride)).min(s.kernel);
        let right = (s.width + s.padding).saturating_sub(ow * s.stride).clamp(left, s.kernel);
        let inside = (right - left) * channels;
        for kh in 0..s.kernel {
            let h = (oh * s.stride + kh).wrapping_sub(s.padding);
            // SAFETY: `to` has room for every line of every patch; `inside` floats of the image row are there.
            unsafe {
                if h < s.height && inside > 0 {
                    let w = ow * s.stride + left - s.padding;
                    let from = x.as_ptr().add(((n * s.height + h) * s.width + w) * channels);
                    fill_zero::<V>(to, left * channels);
                    copy::<V>(from, to.add(left * channels), inside);
                    fill_zero::<V>(to.add(right * channels), line - right * channels);
                } else {
                    fill_zero::<V>(to, line);
                }
                to = to.add(line);
            }
        }
    }
}

/// Copies `len` floats, of which there are usually few: no call of the library's `memcpy`.
#[inline(always)]
unsafe fn copy<V: Vector>(from: *const f32, to: *mut f32, len: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mut at = 0;
        while at + V::LANES <= len {
            V::load(from.add(at)).store(to.add(at));
            at += V::LANES;
        }
        if at < len {
            V::load_first(from.add(at), len - at).store_first(to.add(at), len - at);
        }
    }
}

/// Sets `len` floats, of which there are usually few, to zero.
#[inline(always)]
unsafe fn fill_zero<V: Vector>(to: *mut f32, len: usize) {
    // SAFETY: the caller's.
    unsafe {
        for at in (0..len).step_by(V::LANES) {
            V::splat(0.0).store_first(to.add(at), V::LANES.min(len - at));
        }
    }
}

/// The gradient with respect to the input, for any stride and padding.
pub(super) fn fold(isa: Isa, shape: &Conv2dShape, weight: &[f32], grad_out: &[f32], grad_x: &mut [f32]) {
    // The general way: gradients of the patches, added to the image where they came from, one image per thread.
    let (depth, channels) = (shape.patch_len(), shape.out_channels);
    let padded = depth.next_multiple_of(lanes(isa));
    let (image, pixels) = (shape.height * shape.width * shape.in_channels, shape.out_pixels());
    scratch::with(channels * (depth + padded), |shared| {
        let (transposed, packed) = shared.split_at_mut(channels * depth);
        // One tap of `depth` channels: the turn is a mere transposition.
        turn_whole(weight, (channels, depth), transposed);
        pack(transposed, depth, lanes(isa), packed);
        let packed = &*packed;
        let grad_x = SharedMut::new(grad_x);
        for_each_piece(shape.batch, |n| {
            // SAFETY: each image has its own gradient.
            let grad_x = unsafe { grad_x.slice(n * image, image) };
            let grad_out = &grad_out[n * pixels * channels..][..pixels * channels];
            scratch::with(shape.block_pixels() * padded, |patches| {
                run(isa, Fold { shape, packed, grad_out, patches, grad_x });
            });
        });
    });
}

/// The gradient of one image from its output gradient.
struct Fold<'a> {
    shape: &'a Conv2dShape,
    packed: &'a [f32],
    grad_out: &'a [f32],
    patches: &'a mut [f32],
    grad_x: &'a mut [f32],
}

impl Kernel for Fold<'_> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Self { shape, grad_x, patches, .. } = self;
        let (depth, channels) = (shape.patch_len(), shape.out_channels);
        let padded = depth.next_multiple_of(V::LANES);
        let (step, pixels) = (shape.block_pixels(), shape.out_pixels());
        grad_x.fill(0.0);
        for start in (0..pixels).step_by(step) {
            let rows = step.min(pixels - start);
            let left = Left::rows(self.grad_out[start * channels..].as_ptr(), channels);
            let right = Right::packed::<V>(self.packed.as_ptr(), channels);
            let to = Out::rows::<V>(patches.as_mut_ptr(), padded);
            // SAFETY: the buffer holds `step` rows of `padded` floats, the panels are `[channels, padded]`.
            unsafe {
                let depth = Depth::in_runs(channels, LINE).in_chains(CHAIN);
                product::<V>((rows, depth, padded / V::LANES), left, right, to, false);
            }
            for (row, patch) in patches.chunks_exact(padded).take(rows).enumerate() {
                let (oh, ow) = ((start + row) / shape.out_width(), (start + row) % shape.out_width());
                for (tap, part) in patch[..depth].chunks_exact(shape.in_channels).enumerate() {
                    if let Some(from) = shape.tap(oh, ow, tap) {
                        let to = &mut grad_x[from..from + shape.in_channels];
                        to.iter_mut().zip(part).for_each(|(sum, &value)| *sum += value);
                    }
                }
            }
        }
    }
}

impl Conv2dShape {
    /// Where in the image the values lie that kernel tap `tap` multiplies for output `(oh, ow)`; `None` in the
    /// padding.
    fn tap(&self, oh: usize, ow: usize, tap: usize) -> Option<usize> {
        let (kh, kw) = (tap / self.kernel, tap % self.kernel);
        let h = (oh * self.stride + kh).checked_sub(self.padding).filter(|&h| h < self.height)?;
        let w = (ow * self.stride + kw).checked_sub(self.padding).filter(|&w| w < self.width)?;
        Some((h * self.width + w) * self.in_channels)
    }
}

/// The gradient with respect to the weight: groups of blocks in parallel, their sums added in order.
pub(super) fn backward_weight(
    isa: Isa,
    shape: &Conv2dShape,
    x: &[f32],
    grad_out: &[f32],
    grad_weight: &mut [f32],
) {
    let (depth, channels) = (shape.patch_len(), shape.out_channels);
    let padded = channels.next_multiple_of(lanes(isa));
    let pixels = shape.batch * shape.out_pixels();
    if pixels == 0 {
        grad_weight.fill(0.0);
        return;
    }
    let step = shape.block_pixels();
    let blocks = pixels.div_ceil(step);
    let per_group = blocks.div_ceil((pixels / GROUP_PIXELS).clamp(1, MAX_GROUPS));
    let groups = blocks.div_ceil(per_group);
    // Where there are few groups and the patches need no unfolding, the rows of the gradient are dealt out, too.
    let slice = if groups < MAX_GROUPS && shape.is_pointwise() { SLICE_ROWS } else { depth };
    let slices = depth.div_ceil(slice);
    scratch::with(groups * depth * padded, |sums| {
        let shared = SharedMut::new(sums);
        for_each_piece(groups * slices, |piece| {
            let (group, first_row) = (piece / slices, piece % slices * slice);
            let rows = first_row..(first_row + slice).min(depth);
            // SAFETY: each piece has its own sums.
            let sums = unsafe { shared.slice((group * depth + first_row) * padded, rows.len() * padded) };
            scratch::with(step * (depth + padded), |buffer| {
                let (columns, gradients) = buffer.split_at_mut(step * depth);
                let first = group * per_group * step;
                let last = (first + per_group * step).min(pixels);
                for start in (first..last).step_by(step) {
                    let range = start..(start + step).min(last);
                    let (rows, add) = (rows.clone(), start > first);
                    run(isa, Gradient { shape, range, rows, x, grad_out, columns, gradients, sums, add });
                }
            });
        });
        for (k, to) in grad_weight.chunks_exact_mut(channels).enumerate() {
            to.copy_from_slice(&sums[k * padded..][..channels]);
            for group in sums.chunks_exact(depth * padded).skip(1) {
                let from = &group[k * padded..][..channels];
                to.iter_mut().zip(from).for_each(|(sum, &value)| *sum += value);
            }
        }
    });
}

struct Gradient<'a> {
    shape: &'a Conv2dShape,
    /// Output pixels, counted through the batch.
    range: Range<usize>,
    /// Rows of the gradient: places in a patch.
    rows: Range<usize>,
    x: &'a [f32],
    grad_out: &'a [f32],
    /// The block's patches, or of an image that is its own patches the wanted columns in the order they are read in.
    columns: &'a mut [f32],
    /// The block's output gradients, packed: read where they lie, a power of two apart, they push each other out of the cache.
    gradients: &'a mut [f32],
    sums: &'a mut [f32],
    add: bool,
}

impl Kernel for Gradient<'_> {
    #[inline(always)]
    unsafe fn call<V: Vector>(self) {
        let Self { shape, range, rows, columns, gradients, .. } = self;
        let (depth, channels) = (shape.patch_len(), shape.out_channels);
        let (terms, padded) = (range.len(), channels.next_multiple_of(V::LANES));
        let grad_out = &self.grad_out[range.start * channels..range.end * channels];
        let gradients = &mut gradients[..terms * padded];
        pack_rows(Rows::new(grad_out, (terms, channels), channels), V::LANES, gradients);
        // SAFETY: the buffers hold the block's patches, or so many whole groups of columns, and packed gradients.
        unsafe {
            let left = if shape.is_pointwise() && rows.len().is_multiple_of(GROUP) {
                let x = self.x[range.start * depth + rows.start..].as_ptr();
                grouped::<V>(x, depth, (terms, rows.len()), columns);
                Left::grouped(columns.as_ptr(), terms)
            } else {
                let start = patches::<V>(shape, range.clone(), self.x, columns);
                Left::columns(start.add(rows.start), depth)
            };
            let sizes = (rows.len(), Depth::in_runs(terms, LINE), padded / V::LANES);
            let right = Right::packed::<V>(gradients.as_ptr(), terms);
            let to = Out::rows::<V>(self.sums.as_mut_ptr(), padded);
            product::<V>(sizes, left, right, to, self.add);
        }
    }
}

/// `count` columns of a matrix of `terms` rows, `row` floats apart, in whole groups: those of a group term by term.
#[inline(always)]
unsafe fn grouped<V: Vector>(x: *const f32, row: usize, (terms, count): (usize, usize), to: &mut [f32]) {
    assert!(to.len() >= terms * count, "room for the columns");
    let to = to.as_mut_ptr();
    // A few rows at a time: memory is read in its order, and written in whole lines.
    for first in (0..terms).step_by(GROUP) {
        for group in (0..count).step_by(GROUP) {
            for term in first..(first + GROUP).min(terms) {
                // SAFETY: the caller's matrix holds them, and `to` has room.
                unsafe { copy::<V>(x.add(term * row + group), to.add(group * terms + term * GROUP), GROUP) };
            }
        }
    }
}
