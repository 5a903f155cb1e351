//! How the student's output is compared with the target's.

use cm_network::feature_net::Classifier;
use cm_tensor::ops::{PairDistance, add, blend, feature_distance, pair_distance};
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

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::ImageShape;
    use cm_tensor::gradient_check::{assert_gradient_with_step, normal_values};

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
