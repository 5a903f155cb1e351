//! A small convolutional classifier.

use crate::counts::Counts;
use crate::init::Builder;
use crate::layers::{Conv2d, Epilogue, Linear};
use cm_image::ImageShape;
use cm_tensor::{Graph, Images, Matrix, Trace, Weights, ops};

/// 3x3 convolutions with ReLU, all but the first halving the resolution, with c, 2c, 4c, 4c, ... channels: three, or as
/// many more as it takes until one value sees the whole image (n of them see 2^n + 1 pixels). The mean over pixels is a
/// vector of 4c features, and an affine map of it gives the classes.
pub struct Classifier {
    shape: ImageShape,
    classes: usize,
    channels: usize,
    convolutions: Vec<Conv2d>,
    output: Linear,
}

/// What a classifier says of a batch.
pub struct ClassifierOutput {
    /// The feature maps after each ReLU: `[N, H, W, c]`, `[N, H/2, W/2, 2c]`, `[N, H/4, W/4, 4c]`, and so on, rounded
    /// up.
    pub layers: Vec<Images>,
    /// `[N, 4c]`.
    pub features: Matrix,
    /// `[N, classes]`.
    pub logits: Matrix,
}

impl Classifier {
    /// The network and its initial weights. `channels` is c.
    pub fn new(shape: ImageShape, classes: usize, channels: usize, seed: u64) -> (Self, Weights) {
        Self::assemble(shape, classes, channels, Builder::new(Some(seed)))
    }

    fn assemble(shape: ImageShape, classes: usize, channels: usize, mut b: Builder) -> (Self, Weights) {
        // ReLU halves the variance, which sqrt(2) restores (He et al. 2015).
        let gain = std::f32::consts::SQRT_2;
        let mut convolutions = vec![
            Conv2d::new(&mut b, "conv0", shape.channels, channels, 3, gain),
            Conv2d::new(&mut b, "conv1", channels, 2 * channels, 3, gain).with_stride(2),
            Conv2d::new(&mut b, "conv2", 2 * channels, 4 * channels, 3, gain).with_stride(2),
        ];
        while (1usize << convolutions.len()) < shape.height.max(shape.width).saturating_sub(1) {
            let name = format!("conv{}", convolutions.len());
            let next = Conv2d::new(&mut b, &name, 4 * channels, 4 * channels, 3, gain).with_stride(2);
            convolutions.push(next);
        }
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

    /// What it takes to look at one image, counted from extents.
    pub fn count(shape: ImageShape, classes: usize, channels: usize) -> Counts {
        let (network, weights) = Self::assemble(shape, classes, channels, Builder::new(None));
        let mut graph = Graph::counting();
        let ImageShape { height, width, channels } = shape;
        network.forward(&mut graph, &weights, &Images::outline([1, height, width, channels]));
        Counts::of(&graph, weights.count())
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
        let mut layers: Vec<Images> = Vec::new();
        for convolution in &self.convolutions {
            let y = convolution.forward(g, w, layers.last().unwrap_or(x), Epilogue::default());
            layers.push(ops::relu(g, &y));
        }
        let features = ops::global_average(g, layers.last().unwrap_or(x));
        let logits = self.output.forward(g, w, &features);
        ClassifierOutput { layers, features, logits }
    }

    /// The steps of the classifier with these weights, whatever the images. The last makes the logits of the features.
    pub fn traced(&self, weights: &Weights) -> Trace {
        let ImageShape { height, width, channels } = self.shape;
        let (mut graph, images) = Graph::tracing([height, width, channels]);
        self.forward(&mut graph, weights, &images);
        graph.into_trace()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::ImageBatch;

    #[test]
    fn there_are_as_many_layers_as_it_takes_to_see_the_whole_image() {
        for (side, layers) in [(1, 3), (4, 3), (8, 3), (9, 3), (10, 4), (17, 4), (28, 5), (32, 5), (64, 6)] {
            let shape = ImageShape::new(side, side, 1);
            let (network, weights) = Classifier::new(shape, 10, 4, 0);
            let images = Images::from_batch(&ImageBatch::zeros(shape, 2));
            let output = network.forward(&mut Graph::inference(), &weights, &images);
            assert_eq!(output.layers.len(), layers, "{side}");
            assert_eq!((output.features.shape(), output.logits.shape()), ([2, 16], [2, 10]));
        }
    }
}
