//! A small convolutional classifier.

use crate::init::Builder;
use crate::layers::{Conv2d, Epilogue, Linear};
use cm_image::ImageShape;
use cm_tensor::{Graph, Images, Matrix, Weights, ops};

/// Three 3x3 convolutions with ReLU, the second and third halving the resolution, with c, 2c and 4c channels; the
/// mean over pixels is a vector of 4c features, and an affine map of it gives the classes.
pub struct Classifier {
    shape: ImageShape,
    classes: usize,
    channels: usize,
    convolutions: [Conv2d; 3],
    output: Linear,
}

/// What a classifier says of a batch.
pub struct ClassifierOutput {
    /// The feature maps after each ReLU: `[N, H, W, c]`, `[N, H/2, W/2, 2c]`, `[N, H/4, W/4, 4c]`, rounded up.
    pub layers: [Images; 3],
    /// `[N, 4c]`.
    pub features: Matrix,
    /// `[N, classes]`.
    pub logits: Matrix,
}

impl Classifier {
    /// The network and its initial weights. `channels` is c.
    pub fn new(shape: ImageShape, classes: usize, channels: usize, seed: u64) -> (Self, Weights) {
        let mut b = Builder::new(Some(seed));
        // ReLU halves the variance, which sqrt(2) restores (He et al. 2015).
        let gain = std::f32::consts::SQRT_2;
        let convolutions = [
            Conv2d::new(&mut b, "conv0", shape.channels, channels, 3, gain),
            Conv2d::new(&mut b, "conv1", channels, 2 * channels, 3, gain).with_stride(2),
            Conv2d::new(&mut b, "conv2", 2 * channels, 4 * channels, 3, gain).with_stride(2),
        ];
        let output = Linear::new(&mut b, "output", 4 * channels, classes, 1.0);
        (Self { shape, classes, channels, convolutions, output }, b.finish())
    }

    /// The images it works on.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of features, 4c.
    pub fn features(&self) -> usize {
        4 * self.channels
    }

    /// Evaluates the classifier.
    ///
    /// # Shapes
    /// `x`: `[N, H, W, C]`.
    ///
    /// # Panics
    /// If the images are not of [`shape`](Self::shape).
    pub fn forward(&self, g: &mut Graph, w: &Weights, x: &Images) -> ClassifierOutput {
        let [_, height, width, channels] = x.shape();
        assert_eq!(ImageShape::new(height, width, channels), self.shape, "the classifier's images");
        let layer = |g: &mut Graph, x: &Images, index: usize| {
            let y = self.convolutions[index].forward(g, w, x, Epilogue::default());
            ops::relu(g, &y)
        };
        let first = layer(g, x, 0);
        let second = layer(g, &first, 1);
        let third = layer(g, &second, 2);
        let features = ops::global_average(g, &third);
        let logits = self.output.forward(g, w, &features);
        ClassifierOutput { layers: [first, second, third], features, logits }
    }
}
