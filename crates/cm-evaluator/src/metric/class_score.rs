//! The inception score: how sure a classifier is of each sample, and of how many classes it is sure.
//!
//! It is called so only with the Inception network; with any other classifier it is a class score, and its numbers
//! compare with nothing published.

use super::MetricError;
use super::classification::check_probabilities;
use crate::features::FeatureMatrix;
use crate::report::mean_and_sd;

/// A class score with its spread over splits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitScore {
    /// The mean over splits of exp(mean KL divergence of a sample's classes from the split's).
    pub mean: f64,
    /// The standard deviation over splits (divisor n - 1); none of a single one.
    pub sd: Option<f64>,
    /// The number of splits; the last may be smaller.
    pub splits: usize,
}

/// The score (Salimans et al. 2016) over consecutive splits of a fixed size, fed a few rows at a time.
///
/// As the original evaluator has it: 5,000 rows a split, a last split of what is left, the mean over splits. A class
/// of probability 0 adds nothing, where the original gives NaN.
///
/// ```
/// use cm_evaluator::{FeatureMatrix, metric::class_score::ClassScore};
/// let mut score = ClassScore::new(2, 5000);
/// score.push(&FeatureMatrix::new(2, vec![1.0, 0.0, 0.0, 1.0]).unwrap()).unwrap();
/// assert_eq!(score.finish().unwrap().mean, 2.0); // sure of two classes, equally often
/// ```
#[derive(Clone, Debug)]
pub struct ClassScore {
    split: usize,
    rows: usize,
    /// Sum over the split's rows and classes of p ln p.
    negentropy: f64,
    /// For each class the sum over the split's rows of p.
    sums: Vec<f64>,
    scores: Vec<f64>,
}

impl ClassScore {
    /// No rows yet, of `classes` probabilities each, `split` rows in a split.
    ///
    /// # Panics
    /// If either is 0.
    pub fn new(classes: usize, split: usize) -> Self {
        assert!(classes > 0 && split > 0, "a split has rows, and a row has classes");
        Self { split, rows: 0, negentropy: 0.0, sums: vec![0.0; classes], scores: Vec::new() }
    }

    /// Adds rows of class probabilities.
    ///
    /// # Errors
    /// [`MetricError::Columns`] for another number of classes, [`MetricError::NotFinite`],
    /// [`MetricError::NotProbabilities`]; then nothing is added.
    pub fn push(&mut self, probabilities: &FeatureMatrix) -> Result<(), MetricError> {
        if probabilities.cols() != self.sums.len() {
            return Err(MetricError::Columns { given: probabilities.cols(), expected: self.sums.len() });
        }
        check_probabilities(probabilities)?;
        for row in 0..probabilities.rows() {
            for (sum, &p) in self.sums.iter_mut().zip(probabilities.row(row)) {
                let p = f64::from(p);
                *sum += p;
                self.negentropy += if p > 0.0 { p * libm::log(p) } else { 0.0 };
            }
            self.rows += 1;
            if self.rows == self.split {
                self.close();
            }
        }
        Ok(())
    }

    /// The score of all rows.
    ///
    /// # Errors
    /// [`MetricError::TooFew`] without rows.
    pub fn finish(mut self) -> Result<SplitScore, MetricError> {
        if self.rows > 0 {
            self.close();
        }
        if self.scores.is_empty() {
            return Err(MetricError::TooFew { what: "rows of class probabilities", given: 0, needed: 1 });
        }
        let (mean, sd) = mean_and_sd(&self.scores);
        Ok(SplitScore { mean, sd, splits: self.scores.len() })
    }

    /// Ends a split.
    fn close(&mut self) {
        let n = self.rows as f64;
        let mean_entropy = |sum: &f64| {
            let p = sum / n;
            if p > 0.0 { p * libm::log(p) } else { 0.0 }
        };
        let divergence = self.negentropy / n - self.sums.iter().map(mean_entropy).sum::<f64>();
        self.scores.push(libm::exp(divergence));
        self.rows = 0;
        self.negentropy = 0.0;
        self.sums.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(split: usize, rows: &[[f32; 2]]) -> SplitScore {
        let mut score = ClassScore::new(2, split);
        // In two parts, which must make no difference.
        let (a, b) = rows.split_at(rows.len() / 3);
        for part in [a, b] {
            score.push(&FeatureMatrix::new(2, part.concat()).unwrap()).unwrap();
        }
        score.finish().unwrap()
    }

    #[test]
    fn splits_by_hand() {
        let sure = [[1.0, 0.0], [0.0, 1.0]];
        let unsure = [[0.5, 0.5], [0.5, 0.5]];
        let one_class = [[1.0, 0.0]];
        assert_eq!(score(9, &sure), SplitScore { mean: 2.0, sd: None, splits: 1 });
        let rows = [sure.as_slice(), &unsure, &one_class].concat();
        let all = score(2, &rows);
        assert_eq!((all.mean, all.splits), (4.0 / 3.0, 3));
        assert!((all.sd.unwrap() - (1.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn what_has_no_score_is_refused() {
        let error = ClassScore::new(2, 5).finish().unwrap_err();
        assert!(matches!(error, MetricError::TooFew { given: 0, .. }), "{error}");
        let push = |cols, values: &[f32]| {
            ClassScore::new(2, 5).push(&FeatureMatrix::new(cols, values.to_vec()).unwrap())
        };
        assert_eq!(push(3, &[0.2, 0.3, 0.5]), Err(MetricError::Columns { given: 3, expected: 2 }));
        assert!(matches!(push(2, &[0.5, 0.6]), Err(MetricError::NotProbabilities { row: 0, .. })));
        assert!(matches!(push(2, &[0.5, f32::NAN]), Err(MetricError::NotFinite { .. })));
    }
}
