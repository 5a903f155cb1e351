//! What a classifier makes of samples: how many it is confident of, and which classes it sees.
//!
//! Deliberately absent: whether the classifier is right. Its errors are in the reference's histogram as well.

use super::MetricError;
use crate::features::FeatureMatrix;

/// How far the sum of a row of probabilities may be from 1: `f32` rounding over a thousand classes.
const SUM_TOLERANCE: f64 = 1e-3;

/// A classifier's verdict on a set of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// For each image, whether its largest probability reaches the confidence asked for.
    pub recognised: Vec<bool>,
    /// For each image, its most probable class (the first of equals).
    pub classes: Vec<usize>,
    /// The share of images of each class; sums to 1.
    pub shares: Vec<f64>,
}

impl Classification {
    /// The verdict from class probabilities, one row for each image.
    ///
    /// # Errors
    /// [`MetricError::TooFew`] without rows; [`MetricError::NotFinite`]; [`MetricError::NotProbabilities`] if a row
    /// has a negative value or a sum other than 1.
    pub fn new(probabilities: &FeatureMatrix, confidence: f32) -> Result<Self, MetricError> {
        let rows = probabilities.rows();
        if rows == 0 {
            return Err(MetricError::TooFew { what: "images to classify", given: 0, needed: 1 });
        }
        check_probabilities(probabilities)?;
        let (mut recognised, mut classes) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut counts = vec![0usize; probabilities.cols()];
        for row in 0..rows {
            let values = probabilities.row(row);
            let mut class = 0;
            for (other, &p) in values.iter().enumerate() {
                if p > values[class] {
                    class = other;
                }
            }
            recognised.push(values[class] >= confidence);
            classes.push(class);
            counts[class] += 1;
        }
        let shares = counts.into_iter().map(|count| count as f64 / rows as f64).collect();
        Ok(Self { recognised, classes, shares })
    }

    /// The share of images recognised and its binomial standard error.
    pub fn share_recognised(&self) -> (f64, f64) {
        share(self.recognised.iter().filter(|&&yes| yes).count(), self.recognised.len())
    }
}

/// Refuses rows that are no probability distributions.
pub(crate) fn check_probabilities(probabilities: &FeatureMatrix) -> Result<(), MetricError> {
    if let Some((rows, first)) = probabilities.not_finite() {
        return Err(MetricError::NotFinite { rows, first });
    }
    for row in 0..probabilities.rows() {
        let values = probabilities.row(row);
        let sum: f64 = values.iter().map(|&p| f64::from(p)).sum();
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        if least < 0.0 || (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(MetricError::NotProbabilities { row, sum, least });
        }
    }
    Ok(())
}

/// A share and its binomial standard error.
pub(crate) fn share(count: usize, of: usize) -> (f64, f64) {
    let share = count as f64 / of as f64;
    (share, (share * (1.0 - share) / of as f64).sqrt())
}

/// Total variation distance of two distributions over the same classes: half the sum of absolute differences, the
/// share that would have to move; from 0 to 1.
///
/// ```
/// use cm_evaluator::metric::classification::total_variation;
/// assert_eq!(total_variation(&[0.5, 0.5, 0.0], &[0.25, 0.5, 0.25]), Ok(0.25));
/// ```
///
/// # Errors
/// [`MetricError::Columns`] for different numbers of classes.
pub fn total_variation(a: &[f64], b: &[f64]) -> Result<f64, MetricError> {
    if a.len() != b.len() {
        return Err(MetricError::Columns { given: a.len(), expected: b.len() });
    }
    Ok(0.5 * a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(values: &[f32], confidence: f32) -> Result<Classification, MetricError> {
        Classification::new(&FeatureMatrix::new(2, values.to_vec()).unwrap(), confidence)
    }

    #[test]
    fn confidence_classes_and_shares() {
        let v = verdict(&[0.9, 0.1, 0.2, 0.8, 0.5, 0.5, 0.05, 0.95], 0.9).unwrap();
        assert_eq!(v.recognised, [true, false, false, true]);
        assert_eq!(v.classes, [0, 1, 0, 1]);
        assert_eq!(v.shares, [0.5, 0.5]);
        assert_eq!(v.share_recognised(), (0.5, 0.25));
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        let error = verdict(&[0.5, 0.5, 0.5, 0.6], 0.9).unwrap_err();
        assert!(matches!(error, MetricError::NotProbabilities { row: 1, .. }), "{error}");
        assert!(matches!(verdict(&[1.5, -0.5], 0.9), Err(MetricError::NotProbabilities { row: 0, .. })));
        assert_eq!(verdict(&[f32::NAN, 1.0], 0.9), Err(MetricError::NotFinite { rows: 1, first: 0 }));
        assert!(verdict(&[], 0.9).is_err());
        assert!(total_variation(&[1.0], &[0.5, 0.5]).is_err());
    }
}
