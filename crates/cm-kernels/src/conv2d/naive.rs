//! The definition of convolution as loop nests, generic over the float: the truth for the tests.

use std::iter::Sum;
use std::ops::{AddAssign, Mul};

use super::Conv2dShape;

/// The floats the loop nests run on.
pub(super) trait Real: Copy + Default + AddAssign + Mul<Output = Self> + Sum {}

impl Real for f32 {}
impl Real for f64 {}

/// Calls `visit(input index, weight index, output index)` for every product of the convolution; channel indices
/// are innermost.
fn for_each_product(s: &Conv2dShape, mut visit: impl FnMut(usize, usize, usize)) {
    let (out_height, out_width) = (s.out_height(), s.out_width());
    for n in 0..s.batch {
        for (oh, ow) in (0..out_height).flat_map(|oh| (0..out_width).map(move |ow| (oh, ow))) {
            for (kh, kw) in (0..s.kernel).flat_map(|kh| (0..s.kernel).map(move |kw| (kh, kw))) {
                let h = (oh * s.stride + kh).checked_sub(s.padding).filter(|&h| h < s.height);
                let w = (ow * s.stride + kw).checked_sub(s.padding).filter(|&w| w < s.width);
                let (Some(h), Some(w)) = (h, w) else { continue };
                for i in 0..s.in_channels {
                    for o in 0..s.out_channels {
                        visit(
                            ((n * s.height + h) * s.width + w) * s.in_channels + i,
                            ((kh * s.kernel + kw) * s.in_channels + i) * s.out_channels + o,
                            ((n * out_height + oh) * out_width + ow) * s.out_channels + o,
                        );
                    }
                }
            }
        }
    }
}

pub(super) fn forward<T: Real>(shape: &Conv2dShape, x: &[T], weight: &[T]) -> Vec<T> {
    let mut out = vec![T::default(); shape.output_len()];
    for_each_product(shape, |i, w, o| out[o] += x[i] * weight[w]);
    out
}

pub(super) fn backward_data<T: Real>(shape: &Conv2dShape, weight: &[T], grad_out: &[T]) -> Vec<T> {
    let mut grad_x = vec![T::default(); shape.input_len()];
    for_each_product(shape, |i, w, o| grad_x[i] += weight[w] * grad_out[o]);
    grad_x
}

pub(super) fn backward_weight<T: Real>(shape: &Conv2dShape, x: &[T], grad_out: &[T]) -> Vec<T> {
    let mut grad_weight = vec![T::default(); shape.weight_len()];
    for_each_product(shape, |i, w, o| grad_weight[w] += x[i] * grad_out[o]);
    grad_weight
}
