//! What comes out: scores that say how many samples they rest on, and their mean and spread over seeds.

use serde::{Deserialize, Serialize};

/// One metric of one set of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The metric with its number of samples, such as `frechet-1000`: scores of different counts do not compare.
    pub metric: String,
    /// The value. Its unit and direction are the metric's; see [`MetricKind`](crate::MetricKind).
    pub value: f64,
    /// The number of samples it was computed from.
    pub samples: usize,
    /// The standard error of the value over the draw of the samples, where there is an honest estimate.
    pub standard_error: Option<f64>,
}

impl Score {
    /// A score of the metric `name`, to which the number of samples is added.
    pub fn new(name: &str, samples: usize, value: f64, standard_error: Option<f64>) -> Self {
        Self { metric: format!("{name}-{samples}"), value, samples, standard_error }
    }
}

/// One metric over several runs that differ by their seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The metric with its number of samples.
    pub metric: String,
    /// The mean over the runs.
    pub mean: f64,
    /// The standard deviation over the runs (divisor n - 1); none of a single run.
    pub sd: Option<f64>,
    /// The number of runs that have this metric.
    pub runs: usize,
}

/// Mean and standard deviation of each metric over runs, in the order in which the metrics first appear.
///
/// ```
/// use cm_evaluator::{Score, summarise};
/// let run = |value| vec![Score::new("frechet", 500, value, None)];
/// let summary = &summarise(&[run(1.0), run(3.0)])[0];
/// assert_eq!((summary.metric.as_str(), summary.mean, summary.runs), ("frechet-500", 2.0, 2));
/// assert_eq!(summary.sd, Some(2f64.sqrt()));
/// ```
pub fn summarise(runs: &[Vec<Score>]) -> Vec<Summary> {
    let mut columns: Vec<(&str, Vec<f64>)> = Vec::new();
    for score in runs.iter().flatten() {
        match columns.iter_mut().find(|(metric, _)| *metric == score.metric) {
            Some((_, values)) => values.push(score.value),
            None => columns.push((&score.metric, vec![score.value])),
        }
    }
    let summary = |(metric, values): (&str, Vec<f64>)| {
        let (mean, sd) = mean_and_sd(&values);
        Summary { metric: metric.to_owned(), mean, sd, runs: values.len() }
    };
    columns.into_iter().map(summary).collect()
}

/// Mean and standard deviation (divisor n - 1, none below two values).
pub(crate) fn mean_and_sd(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_keep_their_order_and_counts_stay_apart() {
        let runs = [
            vec![Score::new("recognised", 10, 0.5, None), Score::new("frechet", 10, 4.0, None)],
            vec![Score::new("frechet", 10, 6.0, None), Score::new("frechet", 20, 9.0, None)],
        ];
        let summaries = summarise(&runs);
        let rows: Vec<_> = summaries.iter().map(|s| (s.metric.as_str(), s.mean, s.sd, s.runs)).collect();
        let expected = [
            ("recognised-10", 0.5, None, 1),
            ("frechet-10", 5.0, Some(2f64.sqrt()), 2),
            ("frechet-20", 9.0, None, 1),
        ];
        assert_eq!(rows, expected);
        assert!(summarise(&[]).is_empty());
    }
}
