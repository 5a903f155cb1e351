//! The operations of networks as data: what a step of a traced pass says that it does.

/// What a network is given beside images: one number for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// c_noise.
    Noise,
    /// A second c_noise.
    SecondTime,
}

/// What a step of a traced pass does. Images are `[N, H, W, C]`, matrices `[N, C]`; inputs are in the order of the
/// function in [`crate::ops`] with the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// The images that the pass is given. No inputs.
    Images,
    /// `factor` cos(frequency x number + phase), for each image and each of as many frequencies as phases. No inputs.
    Waves {
        /// The number.
        of: Given,
        /// Radians for each unit of the number.
        frequencies: Vec<f64>,
        /// Radians.
        phases: Vec<f64>,
        /// Factor of the cosine.
        factor: f32,
    },
    /// 1 at the image's class and 0 elsewhere; 0 everywhere for an image without a class. No inputs.
    OneHot,
    /// The same value everywhere. No inputs.
    Filled(f32),
    /// x sigmoid(x).
    Silu,
    /// max(x, 0).
    Relu,
    /// Of queries, keys and values.
    Attention {
        /// Heads.
        heads: usize,
    },
    /// A scale and a shift for each channel.
    AffineChannels {
        /// Factors.
        scale: Vec<f32>,
        /// Summands.
        shift: Vec<f32>,
    },
    /// `scale` x (a + b).
    Add {
        /// Factor of the sum.
        scale: f32,
    },
    /// Channels behind one another.
    Concat,
    /// Inputs: images, weight `[k, k, in, out]`, bias `[out]`, then what rides along.
    Conv2d {
        /// Height and width of the kernel.
        kernel: usize,
        /// Distance of two neighbouring applications.
        stride: usize,
        /// Zeros around the image.
        padding: usize,
        /// Whether there is a bias for each image and channel.
        image_bias: bool,
        /// Whether something is added to the result.
        residual: bool,
        /// Factor of the whole.
        scale: f32,
    },
    /// Inputs: images, factors and summands of the channels; with three inputs more there are none, with five a
    /// modulation's scale and shift.
    GroupNorm {
        /// Groups of channels.
        groups: usize,
        /// Added to a group's variance.
        eps: f32,
        /// Whether the result goes through SiLU.
        silu: bool,
    },
    /// Inputs: matrix, weight `[in, out]`, and a bias if there is one.
    Linear,
    /// Each pixel's channels, in groups, over their root mean square and `eps` more.
    PixelNorm {
        /// Values that are normalised together.
        each: usize,
        /// Added to the root mean square.
        eps: f32,
    },
    /// x (1 + factor of the image and channel).
    Modulate,
    /// Between -limit and limit.
    Clamp(f32),
    /// The mean over all pixels.
    GlobalAverage,
    /// Largest values of windows.
    MaxPool {
        /// Pixels of a side.
        side: usize,
        /// Distance of two neighbouring windows.
        stride: usize,
        /// Whether a last window that hangs over the border is taken.
        round_up: bool,
    },
    /// Means of windows.
    AveragePool {
        /// Pixels of a side.
        side: usize,
        /// Distance of two neighbouring windows.
        stride: usize,
    },
    /// Each pixel repeated 2x2.
    NearestUp,
    /// Half the resolution through (1, 3, 3, 1).
    FirDown,
    /// Twice the resolution through (1, 3, 3, 1).
    FirUp,
    /// (1, 3, 3, 1) over two zeros on every side.
    FirSmooth,
    /// Bilinear interpolation to the step's size.
    Bilinear,
    /// The same values under the step's extents.
    Reshape,
}
