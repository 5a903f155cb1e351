//! How the student's output is compared with the target's.

use cm_network::feature_net::Classifier;
use cm_tensor::ops::{PairDistance, add, feature_distance, pair_distance};
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
pub struct ClassifierFeatures {
    classifier: Classifier,
    weights: Weights,
}

impl ClassifierFeatures {
    /// A distance in the features of `classifier`, whose weights stay as they are.
    pub fn new(classifier: Classifier, weights: &Weights) -> Self {
        Self { classifier, weights: weights.frozen() }
    }
}

impl Distance for ClassifierFeatures {
    fn distance(&self, graph: &mut Graph, student: &Images, target: &Images) -> Vector {
        let target = self.classifier.forward(&mut Graph::inference(), &self.weights, target);
        let student = self.classifier.forward(graph, &self.weights, student);
        let [first, second, third] =
            [0, 1, 2].map(|layer| feature_distance(graph, &student.layers[layer], &target.layers[layer]));
        let sum = add(graph, &first, &second, 1.0);
        add(graph, &sum, &third, 1.0)
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
        let distance = ClassifierFeatures::new(classifier, &weights);
        let target: Images = normal_values([2, 8, 8, 1], 2);
        assert_gradient_with_step(&normal_values([2, 8, 8, 1], 1), 1e-3, 3e-2, |g, x| {
            distance.distance(g, x, &target)
        });
        let same = distance.distance(&mut Graph::inference(), &target, &target);
        assert_eq!(same.values(), [0.0, 0.0]);
    }
}
