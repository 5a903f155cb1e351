//! What a classifier makes of samples: how many it is confident of, and which classes it sees.
//!
//! Deliberately absent: whether the classifier is right. Its errors are in the reference's histogram as well.

use super::MetricError;
use crate::features::FeatureMatrix;

/// How far the sum of a row of probabilities may be from 1: `f32` rounding over a thousand classes.
const SUM_TOLERANCE: f64 = 1e-3;

/// A classifier's verdict on a set of images, fed a few rows of class probabilities at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// For each image, its largest probability.
    largest: Vec<f32>,
    /// The number of images of each class: an image's is its most probable one, the first of equals.
    counts: Vec<usize>,
}

impl Classification {
    /// No images yet, of `classes` probabilities each.
    ///
    /// # Panics
    /// If `classes` is 0.
    pub fn new(classes: usize) -> Self {
        assert!(classes > 0, "a row of probabilities has classes");
        Self { largest: Vec::new(), counts: vec![0; classes] }
    }

    /// Adds images by their class probabilities, one row for each.
    ///
    /// # Errors
    /// [`MetricError::Columns`] for another number of classes, [`MetricError::NotFinite`],
    /// [`MetricError::NotProbabilities`] if a row has a negative value or a sum other than 1; then nothing is added.
    pub fn push(&mut self, probabilities: &FeatureMatrix) -> Result<(), MetricError> {
        if probabilities.cols() != self.counts.len() {
            return Err(MetricError::Columns { given: probabilities.cols(), expected: self.counts.len() });
        }
        check_probabilities(probabilities)?;
        for row in 0..probabilities.rows() {
            let values = probabilities.row(row);
            let mut class = 0;
            for (other, &p) in values.iter().enumerate() {
                if p > values[class] {
                    class = other;
                }
            }
            self.largest.push(values[class]);
            self.counts[class] += 1;
        }
        Ok(())
    }

    /// The share of images of each class; sums to 1.
    ///
    /// # Errors
    /// [`MetricError::TooFew`] without images.
    pub fn shares(&self) -> Result<Vec<f64>, MetricError> {
        let of = self.some()? as f64;
        Ok(self.counts.iter().map(|&count| count as f64 / of).collect())
    }

    /// The share of images whose largest probability is at least `confidence`, and its binomial standard error.
    ///
    /// # Errors
    /// [`MetricError::TooFew`] without images.
    pub fn share_recognised(&self, confidence: f32) -> Result<(f64, f64), MetricError> {
        let of = self.some()?;
        Ok(share(self.largest.iter().filter(|&&p| p >= confidence).count(), of))
    }

    /// The number of images, at least 1.
    fn some(&self) -> Result<usize, MetricError> {
        match self.largest.len() {
            0 => Err(MetricError::TooFew { what: "images to classify", given: 0, needed: 1 }),
            count => Ok(count),
        }
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

    fn verdict(values: &[f32]) -> Result<Classification, MetricError> {
        let mut verdict = Classification::new(2);
        for rows in values.chunks(4) {
            verdict.push(&FeatureMatrix::new(2, rows.to_vec()).unwrap())?;
        }
        Ok(verdict)
    }

    #[test]
    fn confidence_classes_and_shares() {
        let v = verdict(&[0.9, 0.1, 0.2, 0.8, 0.5, 0.5, 0.05, 0.95]).unwrap();
        assert_eq!(v.shares().unwrap(), [0.5, 0.5]);
        assert_eq!(v.share_recognised(0.9), Ok((0.5, 0.25)));
        assert_eq!(v.share_recognised(0.5), Ok((1.0, 0.0)));
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        let error = verdict(&[0.5, 0.5, 0.5, 0.6]).unwrap_err();
        assert!(matches!(error, MetricError::NotProbabilities { row: 1, .. }), "{error}");
        assert!(matches!(verdict(&[1.5, -0.5]), Err(MetricError::NotProbabilities { row: 0, .. })));
        assert_eq!(verdict(&[f32::NAN, 1.0]), Err(MetricError::NotFinite { rows: 1, first: 0 }));
        let nothing = verdict(&[]).unwrap();
        assert!(nothing.shares().is_err() && nothing.share_recognised(0.9).is_err());
        let other = FeatureMatrix::new(3, vec![0.5, 0.25, 0.25]).unwrap();
        assert_eq!(verdict(&[]).unwrap().push(&other), Err(MetricError::Columns { given: 3, expected: 2 }));
        assert!(total_variation(&[1.0], &[0.5, 0.5]).is_err());
    }
}
