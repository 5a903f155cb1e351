//! One product of a network, as a key: what is computed, of which sizes, how.

use super::{Conv2dShape, Epilogue, Precision};
#[cfg(not(target_arch = "wasm32"))]
use crate::element::Element;
use std::fmt;

/// Which of a convolution's products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// The output from input and weight.
    Forward,
    /// The gradient by the input from the output's gradient and the weight.
    BackwardData,
    /// The gradient by the weight from the input and the output's gradient, in single precision.
    BackwardWeight,
}

/// A convolution's product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// Which.
    pub way: Way,
    /// How it is computed.
    pub precision: Precision,
    /// Its sizes.
    pub shape: Conv2dShape,
    /// Whether something is done to the sums but a gradient's scale by the weight: a pass of its own behind another's
    /// convolution.
    pub finished: bool,
}

impl Product {
    pub(crate) fn new(way: Way, precision: Precision, shape: &Conv2dShape, epilogue: &Epilogue<'_>) -> Self {
        let Epilogue { bias, image_bias, residual, scale, relu } = epilogue;
        let parts = bias.is_some() || image_bias.is_some() || residual.is_some() || *relu || *scale != 1.0;
        Self { way, precision, shape: *shape, finished: parts && way != Way::BackwardWeight }
    }

    /// Floating-point operations: two for each multiplication.
    pub fn operations(&self) -> u64 {
        2 * (self.shape.output_len() as u64) * (self.shape.weight_len() / self.shape.out_channels) as u64
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Product {
    /// Numbers of values of what it is computed from.
    pub(crate) fn operands(&self) -> [usize; 2] {
        let shape = &self.shape;
        match self.way {
            Way::Forward => [shape.input_len(), shape.weight_len()],
            Way::BackwardData => [shape.output_len(), shape.weight_len()],
            Way::BackwardWeight => [shape.input_len(), shape.output_len()],
        }
    }

    /// Number and type of the values of its result.
    pub(crate) fn result(&self) -> (usize, Element) {
        match self.way {
            Way::Forward => (self.shape.output_len(), self.precision.element()),
            Way::BackwardData => (self.shape.input_len(), self.precision.element()),
            Way::BackwardWeight => (self.shape.weight_len(), Element::F32),
        }
    }

    /// Whether it is a product of matrices.
    pub(crate) fn is_of_matrices(&self) -> bool {
        let Conv2dShape { kernel, stride, padding, .. } = self.shape;
        (kernel, stride, padding) == ([1; 2], 1, [0; 2])
    }
}

impl fmt::Display for Product {
    /// `forward Bf16 256x32x32x128 to 256 by 3x3 stride 1 padding 1x1`; without commas, so that it is a field of a CSV.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Forward => "forward",
            Way::BackwardData => "backward data",
            Way::BackwardWeight => "backward weight",
        };
        let Conv2dShape { batch, height, width, in_channels, out_channels, kernel, stride, padding } =
            self.shape;
        let ([rows, columns], [above, beside]) = (kernel, padding);
        write!(f, "{way} {:?} {batch}x{height}x{width}x{in_channels} to {out_channels}", self.precision)?;
        write!(f, " by {rows}x{columns} stride {stride} padding {above}x{beside}")?;
        if self.finished { write!(f, " finished") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_named_by_all_that_tells_it_apart() {
        let shape = Conv2dShape::linear(8, 3, 5);
        let plain = Product::new(Way::Forward, Precision::Bf16, &shape, &Epilogue::default());
        assert_eq!(plain.to_string(), "forward Bf16 8x1x1x3 to 5 by 1x1 stride 1 padding 0x0");
        assert_eq!((plain.operations(), plain.is_of_matrices()), (2 * 8 * 3 * 5, true));
        let half = Epilogue { scale: 0.5, ..Epilogue::default() };
        let finished = |way| Product::new(way, Precision::F32, &shape, &half).finished;
        assert_eq!((finished(Way::BackwardData), finished(Way::BackwardWeight)), (true, false));
        let padded = Conv2dShape { kernel: [3, 1], padding: [1, 0], ..shape };
        let other = Product::new(Way::BackwardData, Precision::F32, &padded, &half);
        assert_eq!(other.to_string(), "backward data F32 8x1x1x3 to 5 by 3x1 stride 1 padding 1x0 finished");
        assert!(!other.is_of_matrices());
    }
}
