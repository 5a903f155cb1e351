//! What a convolution does to its sums on their way to memory.

use super::Conv2dShape;
use crate::product::vector::Vector;

/// What is done to the sums of a convolution on their way to memory:
/// `out = scale * (conv(x, w) + bias[o] + image_bias[n, o] + residual[n, h, w, o])`; absent parts are 0. With `relu`,
/// what is below 0 becomes 0.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// `[out]`.
    pub bias: Option<&'a [f32]>,
    /// `[batch, out]`.
    pub image_bias: Option<&'a [f32]>,
    /// The size of the output.
    pub residual: Option<&'a [f32]>,
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
    /// Whether it leaves sums as they are.
    pub(super) fn is_nothing(&self) -> bool {
        let Self { bias, image_bias, residual, scale, relu } = self;
        bias.is_none() && image_bias.is_none() && residual.is_none() && *scale == 1.0 && !relu
    }

    /// Panics unless the parts have the sizes that `shape` demands.
    pub(super) fn check(&self, shape: &Conv2dShape) {
        let check = |part: Option<&[f32]>, len: usize, name: &str| {
            assert!(part.is_none_or(|part| part.len() == len), "the {name} of {shape:?} has {len} values");
        };
        check(self.bias, shape.out_channels, "bias");
        check(self.image_bias, shape.batch * shape.out_channels, "image bias");
        check(self.residual, shape.output_len(), "residual");
    }

    /// The biases of `count` channels of one image.
    ///
    /// # Safety
    /// The instruction set of `V`; the parts have the sizes that [`Self::check`] demands, `channels` is the number of
    /// channels and `channel + count` at most that.
    #[inline(always)]
    pub(super) unsafe fn biases<V: Vector>(
        &self,
        image: usize,
        channel: usize,
        channels: usize,
        count: usize,
    ) -> V {
        // SAFETY: in bounds by the caller's promise.
        unsafe {
            let mut biases = V::splat(0.0);
            if let Some(part) = self.bias {
                biases = V::load_first(part.as_ptr().add(channel), count);
            }
            if let Some(part) = self.image_bias {
                let part = part.as_ptr().add(image * channels + channel);
                biases = biases.add(V::load_first(part, count));
            }
            biases
        }
    }

    /// Finishes `count` sums, with their biases, and writes them to `out[at..]`.
    ///
    /// # Safety
    /// As for [`Self::biases`]; `at + count` is at most the size of the output, and these values nobody else's.
    #[inline(always)]
    pub(super) unsafe fn finish<V: Vector>(
        &self,
        sums: V,
        biases: V,
        out: *mut f32,
        at: usize,
        count: usize,
    ) {
        // SAFETY: in bounds by the caller's promise.
        unsafe {
            let mut values = sums.add(biases);
            if let Some(part) = self.residual {
                values = values.add(V::load_first(part.as_ptr().add(at), count));
            }
            let mut values = values.mul(V::splat(self.scale));
            if self.relu {
                values = values.relu();
            }
            if count == V::LANES { values.store(out.add(at)) } else { values.store_first(out.add(at), count) }
        }
    }
}
