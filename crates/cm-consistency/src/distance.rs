//! How the student's output is compared with the target's.

use cm_network::feature_net::{Classifier, Lpips};
use cm_tensor::ops::{PairDistance, add, bilinear, blend, feature_distance, pair_distance};
use cm_tensor::{Graph, Images, Vector, Weights};

/// d(student, target), one value for each image, differentiable in the student only.
pub trait Distance {
    /// The distances of a batch: `[N, H, W, C]` twice to `[N]`.
    fn distance(&self, graph: &mut Graph, student: &Images, target: &Images) -> Vector;
}

/// A distance of the values themselves.
pub struct Pixels(pub PairDistance);

impl Distance for Pixels {
    fn distance(&self, graph: &mut Graph, student: &Images, target: &Images) -> Vector {
        pair_distance(graph, self.0, student, target)
    }
}

/// A distance of the values of both images after bilinear interpolation to `side` x `side` pixels, pixel centres
/// aligned and nothing smoothed before: the original code's l2-32.
pub struct Resized {
    /// Height and width to which both are brought.
    pub side: usize,
    /// The distance there.
    pub distance: PairDistance,
}

impl Distance for Resized {
    fn distance(&self, graph: &mut Graph, student: &Images, target: &Images) -> Vector {
        let to = (self.side, self.side);
        let student = bilinear(graph, student, to);
        let target = bilinear(&mut Graph::inference(), target, to);
        pair_distance(graph, self.distance, &student, &target)
    }
}

/// In the manner of LPIPS (Zhang et al. 2018): the feature maps of each layer of a fixed classifier, brought to
/// unit length over the channels, compared pixel by pixel; the sum over layers. LPIPS proper has ImageNet networks
/// and learned channel weights.
///
/// Features of unit length do not see every difference of brightness, so `pixels` times the mean of squared
/// differences of the values themselves may be added.
pub struct ClassifierFeatures {
    classifier: Classifier,
    weights: Weights,
    pixels: f32,
}

impl ClassifierFeatures {
    /// A distance in the features of `classifier`, whose weights stay as they are, plus `pixels` times the mean of
    /// squared differences.
    pub fn new(classifier: Classifier, weights: &Weights, pixels: f32) -> Self {
        Self { classifier, weights: weights.frozen(), pixels }
    }
}

impl Distance for ClassifierFeatures {
    fn distance(&self, graph: &mut Graph, student: &Images, target: &Images) -> Vector {
        let target_maps = self.classifier.forward(&mut Graph::inference(), &self.weights, target).layers;
        let student_maps = self.classifier.forward(graph, &self.weights, student).layers;
        let [first, second, third] =
            [0, 1, 2].map(|layer| feature_distance(graph, &student_maps[layer], &target_maps[layer]));
        let sum = add(graph, &first, &second, 1.0);
        let features = add(graph, &sum, &third, 1.0);
        if self.pixels == 0.0 {
            return features;
        }
        let squares = pair_distance(graph, PairDistance::SquaredL2, student, target);
        let count = student.shape()[0];
        blend(graph, vec![1.0; count], &features, vec![self.pixels; count], &squares)
    }
}

/// LPIPS with the weights of another program.
pub struct Perceptual(pub Lpips);

impl Distance for Perceptual {
    fn distance(&self, graph: &mut Graph, student: &Images, target: &Images) -> Vector {
        self.0.distance(graph, student, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::ImageShape;
    use cm_tensor::gradient_check::{assert_gradient, assert_gradient_with_step, normal_values};

    #[test]
    fn the_feature_distance_s_gradient_by_the_student() {
        let (classifier, weights) = Classifier::new(ImageShape::new(8, 8, 1), 10, 4, 1);
        let mut distance = ClassifierFeatures::new(classifier, &weights, 0.0);
        let (student, target): (Images, Images) =
            (normal_values([2, 8, 8, 1], 1), normal_values([2, 8, 8, 1], 2));
        for pixels in [0.0, 2.0] {
            distance.pixels = pixels;
            assert_gradient_with_step(&student, 1e-3, 3e-2, |g, x| distance.distance(g, x, &target));
            let same = distance.distance(&mut Graph::inference(), &target, &target);
            assert_eq!(same.values(), [0.0, 0.0]);
        }
    }

    #[test]
    fn the_resized_distance_is_that_of_the_interpolated_images() {
        let distance = |side| Resized { side, distance: PairDistance::SquaredL2 };
        let row = |values: &[f32]| Images::constant(values.to_vec(), [1, 1, values.len(), 1]);
        // 0, 1, 2, 3 against zeros, at 8 pixels: 0, 1/4, 3/4, ..., 11/4, 3, and the mean of their squares.
        let squares = [0.0f32, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0].map(|v| v * v).iter().sum::<f32>();
        let far = distance(8).distance(&mut Graph::inference(), &row(&[0.0, 1.0, 2.0, 3.0]), &row(&[0.0; 4]));
        assert_eq!(far.values(), [squares / 8.0]);
        let (student, target): (Images, Images) =
            (normal_values([2, 6, 5, 3], 1), normal_values([2, 6, 5, 3], 2));
        for side in [4, 32] {
            assert_gradient(&student, 1e-2, |g, x| distance(side).distance(g, x, &target));
        }
    }

    #[test]
    fn the_largest_difference_alone_has_a_gradient() {
        let (student, target): (Images, Images) =
            (normal_values([3, 4, 4, 2], 1), normal_values([3, 4, 4, 2], 2));
        let distance = Pixels(PairDistance::LInfinity);
        assert_gradient_with_step(&student, 1e-3, 1e-2, |g, x| distance.distance(g, x, &target));
    }

    #[test]
    fn pixels_add_their_squared_differences() {
        let (classifier, weights) = Classifier::new(ImageShape::new(8, 8, 1), 10, 4, 1);
        let mut distance = ClassifierFeatures::new(classifier, &weights, 0.0);
        let (student, target): (Images, Images) =
            (normal_values([2, 8, 8, 1], 1), normal_values([2, 8, 8, 1], 2));
        let mut of = |pixels| {
            distance.pixels = pixels;
            distance.distance(&mut Graph::inference(), &student, &target)
        };
        let (features, both) = (of(0.0), of(3.0));
        let squares = Pixels(PairDistance::SquaredL2).distance(&mut Graph::inference(), &student, &target);
        for (i, both) in both.values().iter().enumerate() {
            let wanted = features.values()[i] + 3.0 * squares.values()[i];
            assert!((both - wanted).abs() <= 1e-5 * wanted, "{both} is not {wanted}");
        }
    }
}
