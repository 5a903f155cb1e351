//! Convolution.

use crate::init::Builder;
use cm_tensor::{Graph, Images, Matrix, ParameterId, Weights, ops};

/// A convolution with "same" padding for odd kernels and stride 1.
pub(crate) struct Conv2d {
    weight: ParameterId,
    bias: ParameterId,
    kernel: usize,
    stride: usize,
    padding: usize,
    out_channels: usize,
}

/// What rides along in the convolution's last pass: scale x (conv + image_bias + residual).
pub(crate) struct Epilogue<'a> {
    pub(crate) image_bias: Option<&'a Matrix>,
    pub(crate) residual: Option<&'a Images>,
    pub(crate) scale: f32,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self { image_bias: None, residual: None, scale: 1.0 }
    }
}

impl Conv2d {
    /// Xavier-uniform weights times `gain`; bias 0.
    pub(crate) fn new(
        b: &mut Builder,
        name: &str,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        gain: f32,
    ) -> Self {
        let weight = b.xavier(&format!("{name}.weight"), &[kernel, kernel, inputs, outputs], gain);
        let bias = b.constant(&format!("{name}.bias"), &[outputs], 0.0);
        Self { weight, bias, kernel, stride: 1, padding: kernel / 2, out_channels: outputs }
    }

    pub(crate) fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub(crate) fn without_padding(self) -> Self {
        Self { padding: 0, ..self }
    }

    pub(crate) fn forward(&self, g: &mut Graph, w: &Weights, x: &Images, epilogue: Epilogue<'_>) -> Images {
        let conv = ops::Conv2d {
            weight: w.get(self.weight),
            bias: w.get(self.bias),
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            out_channels: self.out_channels,
            image_bias: epilogue.image_bias,
            residual: epilogue.residual,
            scale: epilogue.scale,
        };
        ops::conv2d(g, x, conv)
    }
}
