//! Does a model copy? Each sample and the reference image nearest to it, measured by how far that image is from its own
//! nearest neighbour.
//!
//! Alaa et al. 2022 ("How Faithful is your Synthetic Data?", Section 3): a sample that is nearer to a training image than
//! that image's nearest neighbour among the others is not authentic. Samples of the data's own law are so in about half
//! of all cases, so a share says something only beside that of held-out images.

use super::MetricError;
use super::points::Points;
use super::precision_recall::Manifold;

/// A sample and the reference image nearest to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closest {
    /// The image's index in the reference; of equally near ones the first.
    pub image: usize,
    /// Its distance from the sample over its distance from the nearest other reference image: 1 at most for a copy.
    /// Infinite for an image that is there twice, unless the sample is the same once more, which gives 0.
    pub ratio: f64,
}

impl Closest {
    /// Whether the sample counts as a copy.
    pub fn is_copy(&self) -> bool {
        self.ratio <= 1.0
    }
}

/// The nearest image of `reference` for each sample.
///
/// ```
/// use cm_evaluator::{FeatureMatrix, metric::{Points, copies::closest, precision_recall::Manifold}};
/// let points = |values: &[f32]| Points::new(&FeatureMatrix::new(1, values.to_vec()).unwrap()).unwrap();
/// // 0 and 1 are 1 apart, 4 is 3 from its neighbour: 2.4 is 1.4 from 1, and 2.6 is 1.4 from 4.
/// let reference = Manifold::new(points(&[0.0, 1.0, 4.0]), 1).unwrap();
/// let found = closest(&reference, &points(&[2.4, 2.6])).unwrap();
/// assert_eq!((found[0].image, found[0].is_copy()), (1, false));
/// assert_eq!((found[1].image, found[1].is_copy()), (2, true));
/// ```
///
/// # Errors
/// [`MetricError::Columns`] if the samples have another number of features.
pub fn closest(reference: &Manifold, samples: &Points) -> Result<Vec<Closest>, MetricError> {
    let ratio = |(image, squared): (usize, f64)| {
        let ratio = match squared {
            0.0 => 0.0,
            _ => (squared / reference.squared_radius(image, 1)).sqrt(),
        };
        Closest { image, ratio }
    };
    Ok(reference.nearest_of(samples)?.into_iter().map(ratio).collect())
}
