//! The metrics, which of them exist, how they are set, and what can go wrong.
//!
//! One metric or family of metrics a file: [`frechet`], [`extrapolation`], [`kernel`], [`precision_recall`], [`classification`],
//! [`class_score`], [`copies`], and [`exact`] for densities that are known. Deliberately absent: networks and samplers; everything here works on
//! rows of numbers.

pub mod class_score;
pub mod classification;
pub mod copies;
mod count;
pub mod exact;
pub mod extrapolation;
pub mod frechet;
pub mod kernel;
mod points;
pub mod precision_recall;

pub use points::Points;

use serde::{Deserialize, Serialize};
use std::fmt;

/// The metrics of which a score can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MetricKind {
    /// Fréchet distance (squared) between Gaussians fitted to the features; lower is better, 0 at best.
    Frechet,
    /// The Fréchet distance that infinitely many samples would have (Chong and Forsyth 2020), so that scores of
    /// different counts compare; lower is better.
    FrechetExtrapolated,
    /// Kernel distance: unbiased squared maximum mean discrepancy of features, cubic kernel; lower is better, about
    /// 0 at best and then as often negative as positive.
    Kid,
    /// Share of samples inside the reference's manifold of features; higher is better.
    Precision,
    /// Share of reference images inside the samples' manifold of features; higher is better.
    Recall,
    /// Mean number of the reference's neighbourhoods a sample lies in, over k; higher is better, 1 when equal.
    Density,
    /// Share of the reference's neighbourhoods that hold a sample; higher is better.
    Coverage,
    /// Share of samples nearer to a training image than any other training image is to that one, see [`copies`]; no
    /// model wants more of them than there are among held-out images.
    Copied,
    /// Share of samples the classifier is confident of; higher is better.
    Recognised,
    /// Total variation distance between the predicted classes of samples and reference; lower is better.
    ClassHistogram,
    /// Root-mean-square and median error of samples against the exact endpoints of the same noise, data units.
    EndpointRmse,
    /// Sliced Wasserstein-2 distance between the values of samples and reference, data units; lower is better.
    SlicedWasserstein,
    /// Total variation distance between the samples' shares of the modes and the true weights, and the share of
    /// samples on no mode; lower is better.
    ModeWeights,
}

/// Fewest samples from which is extrapolated: two for each subset; of fewer, subsets are too alike.
pub(crate) const EXTRAPOLATION_IMAGES: usize = 30;

/// What a metric needs besides samples and reference images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Needs {
    /// A feature extractor.
    Features,
    /// A classifier.
    Classifier,
    /// The exact endpoint of each noise.
    ExactEndpoint,
    /// The modes of the density.
    Modes,
    /// Nothing: it compares the values of the images.
    Nothing,
}

impl MetricKind {
    /// Every metric.
    pub const ALL: [Self; 13] = [
        Self::Frechet,
        Self::FrechetExtrapolated,
        Self::Kid,
        Self::Precision,
        Self::Recall,
        Self::Density,
        Self::Coverage,
        Self::Copied,
        Self::Recognised,
        Self::ClassHistogram,
        Self::EndpointRmse,
        Self::SlicedWasserstein,
        Self::ModeWeights,
    ];

    /// The names of its scores, without the number of samples.
    pub const fn stems(self) -> &'static [&'static str] {
        match self {
            Self::Frechet => &["frechet"],
            Self::FrechetExtrapolated => &["frechet-extrapolated"],
            Self::Kid => &["kid"],
            Self::Precision => &["precision"],
            Self::Recall => &["recall"],
            Self::Density => &["density"],
            Self::Coverage => &["coverage"],
            Self::Copied => &["copied"],
            Self::Recognised => &["recognised"],
            Self::ClassHistogram => &["class-histogram"],
            Self::EndpointRmse => &["endpoint-rmse", "endpoint-median"],
            Self::SlicedWasserstein => &["sliced-wasserstein"],
            Self::ModeWeights => &["mode-weights", "off-mode"],
        }
    }

    /// The names of its scores of `samples` samples, in the order in which they are reported.
    ///
    /// ```
    /// use cm_evaluator::MetricKind;
    /// assert_eq!(MetricKind::Frechet.names(1000), ["frechet-1000"]);
    /// assert_eq!(MetricKind::ModeWeights.names(50), ["mode-weights-50", "off-mode-50"]);
    /// ```
    pub fn names(self, samples: usize) -> Vec<String> {
        self.stems().iter().map(|stem| format!("{stem}-{samples}")).collect()
    }

    /// Whether a higher score is a better one; nothing of a score that is best where held-out images have it.
    ///
    /// ```
    /// use cm_evaluator::MetricKind;
    /// let of = [MetricKind::Recall, MetricKind::Frechet, MetricKind::Copied].map(MetricKind::higher_is_better);
    /// assert_eq!(of, [Some(true), Some(false), None]);
    /// ```
    pub const fn higher_is_better(self) -> Option<bool> {
        match self {
            Self::Precision | Self::Recall | Self::Density | Self::Coverage | Self::Recognised => Some(true),
            Self::Copied => None,
            Self::Frechet
            | Self::FrechetExtrapolated
            | Self::Kid
            | Self::ClassHistogram
            | Self::EndpointRmse
            | Self::SlicedWasserstein
            | Self::ModeWeights => Some(false),
        }
    }

    /// What must be at hand to compute it.
    pub const fn needs(self) -> Needs {
        match self {
            Self::Frechet
            | Self::FrechetExtrapolated
            | Self::Kid
            | Self::Precision
            | Self::Recall
            | Self::Density
            | Self::Coverage
            | Self::Copied => Needs::Features,
            Self::Recognised | Self::ClassHistogram => Needs::Classifier,
            Self::EndpointRmse => Needs::ExactEndpoint,
            Self::SlicedWasserstein => Needs::Nothing,
            Self::ModeWeights => Needs::Modes,
        }
    }

    /// The fewest samples, and the fewest reference images, of which it can be computed.
    pub const fn min_images(self, config: &MetricConfig) -> usize {
        match self {
            Self::Frechet | Self::Copied => 2,
            Self::FrechetExtrapolated => EXTRAPOLATION_IMAGES,
            Self::Kid => config.kid_groups.saturating_mul(2),
            Self::Precision | Self::Recall => config.neighbours.saturating_add(1),
            Self::Density | Self::Coverage => config.density_neighbours.saturating_add(1),
            Self::Recognised
            | Self::ClassHistogram
            | Self::EndpointRmse
            | Self::SlicedWasserstein
            | Self::ModeWeights => 1,
        }
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Features => "a feature extractor",
            Self::Classifier => "a classifier",
            Self::ExactEndpoint => "the exact endpoints of noise",
            Self::Modes => "the modes of the density",
            Self::Nothing => "nothing",
        })
    }
}

/// Whether features are put on a common scale before they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FeatureScaling {
    /// Features as they are.
    Raw,
    /// Each feature less the reference's mean, over the reference's standard deviation.
    Standardised,
}

/// How metrics are computed; which ones is a list of [`MetricKind`] beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricConfig {
    /// Scale of the features, for every metric on features.
    pub scaling: FeatureScaling,
    /// Groups of the jackknife behind the kernel distance's standard error, at least 2.
    pub kid_groups: usize,
    /// k of precision and recall, at least 1.
    pub neighbours: usize,
    /// k of density and coverage, at least 1.
    pub density_neighbours: usize,
    /// Class probability from which an image is recognised, above 0 and at most 1.
    pub confidence: f32,
    /// Directions of the sliced Wasserstein distance, at least 1.
    pub projections: usize,
    /// How far from a mode still counts as on it, above 0; see [`exact::mode_weights`].
    pub mode_radius: f64,
    /// Images handed to a model at once, at least 1; no effect on scores, as models treat images one by one.
    pub batch: usize,
    /// Seed of what is random in a metric: directions and groups; any whole number, the same for all scores to be compared.
    pub seed: u64,
}

impl Default for MetricConfig {
    fn default() -> Self {
        Self {
            scaling: FeatureScaling::Standardised, // ours: the digits' distance is on standardised features
            kid_groups: 10,                        // ours: enough for a standard error good to a quarter
            neighbours: 3,         // Kynkäänniemi et al. 2019, Section 3; the original evaluator
            density_neighbours: 5, // Naeem et al. 2020, Section 4
            confidence: 0.9,       // ours: 97% of held-out digits reach it
            projections: 128,      // ours: the mean over directions is good to a few percent
            mode_radius: 4.0,      // ours: at most exp(-8) of the exact samples lie outside
            batch: 128,            // ours
            seed: 0,               // ours
        }
    }
}

/// What is wrong with a [`MetricConfig`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricConfigError {
    /// A count is too small or too large.
    #[error("{field} is {given}, but must be {least} to {most}")]
    Count {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        given: usize,
        /// The smallest allowed.
        least: usize,
        /// The largest allowed.
        most: usize,
    },
    /// The confidence is no probability.
    #[error("confidence is {0}, but must be above 0 and at most 1")]
    Confidence(f32),
    /// The radius is not positive.
    #[error("mode_radius is {0}, but must be a finite number above 0")]
    ModeRadius(f64),
}

impl MetricConfig {
    /// Groups of the jackknife at most: the standard error is good to a hundredth long before.
    pub const MOST_GROUPS: usize = 10_000;
    /// k at most: a list of so many distances is kept of each image.
    pub const MOST_NEIGHBOURS: usize = 1_000;
    /// Directions at most: all images are sorted along each.
    pub const MOST_PROJECTIONS: usize = 1 << 20;
    /// Images at once at most: 65,536 of a CIFAR-10 network's widest layer take 32 GiB.
    pub const MOST_BATCH: usize = 1 << 16;

    /// Everything that is wrong with it; empty if it can be used.
    pub fn problems(&self) -> Vec<MetricConfigError> {
        let counts = [
            ("kid_groups", self.kid_groups, 2, Self::MOST_GROUPS),
            ("neighbours", self.neighbours, 1, Self::MOST_NEIGHBOURS),
            ("density_neighbours", self.density_neighbours, 1, Self::MOST_NEIGHBOURS),
            ("projections", self.projections, 1, Self::MOST_PROJECTIONS),
            ("batch", self.batch, 1, Self::MOST_BATCH),
        ];
        let mut problems: Vec<_> = counts
            .into_iter()
            .filter(|&(_, given, least, most)| !(least..=most).contains(&given))
            .map(|(field, given, least, most)| MetricConfigError::Count { field, given, least, most })
            .collect();
        if !(self.confidence > 0.0 && self.confidence <= 1.0) {
            problems.push(MetricConfigError::Confidence(self.confidence));
        }
        if !(self.mode_radius > 0.0 && self.mode_radius.is_finite()) {
            problems.push(MetricConfigError::ModeRadius(self.mode_radius));
        }
        problems
    }
}

/// Why a metric has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricError {
    /// Too little of something.
    #[error("{given} {what}, but at least {needed} are needed")]
    TooFew {
        /// Of what.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there must be.
        needed: usize,
    },
    /// Two sets have different numbers of features.
    #[error("{given} features in a row, but {expected} in the rows compared with")]
    Columns {
        /// Features of the rows given.
        given: usize,
        /// Features of the others.
        expected: usize,
    },
    /// Two sets that are compared row by row have different numbers of rows.
    #[error("{given} rows are compared one by one with {expected}")]
    Rows {
        /// Rows given.
        given: usize,
        /// Rows of the others.
        expected: usize,
    },
    /// Values that are infinite or NaN.
    #[error("{rows} rows hold infinite or NaN values, the first is row {first}")]
    NotFinite {
        /// How many rows.
        rows: usize,
        /// The first of them.
        first: usize,
    },
    /// A row that should hold probabilities does not.
    #[error("row {row} is not a probability distribution: its values sum to {sum}, the smallest is {least}")]
    NotProbabilities {
        /// Which row.
        row: usize,
        /// The sum of its values.
        sum: f64,
        /// Its smallest value.
        least: f32,
    },
    /// Values do not make a square matrix.
    #[error("{values} values do not make a matrix of {dim}x{dim} (at least 1x1)")]
    NotSquare {
        /// Values given.
        values: usize,
        /// Rows and columns expected.
        dim: usize,
    },
    /// A matrix is not a covariance.
    #[error(
        "not a covariance: entry ({row}, {column}) is not that across the diagonal, or a variance is negative"
    )]
    NotCovariance {
        /// Row of the entry.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// A decomposition did not converge.
    #[error("the {0} of a matrix did not converge")]
    NoConvergence(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_none_is_fid() {
        let mut names: Vec<String> = MetricKind::ALL.iter().flat_map(|kind| kind.names(1000)).collect();
        assert!(names.iter().all(|name| name.ends_with("-1000") && !name.contains("fid")));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn all_problems_are_reported_together() {
        assert_eq!(MetricConfig::default().problems(), []);
        let bad = MetricConfig {
            kid_groups: 1,
            neighbours: 0,
            density_neighbours: 0,
            confidence: f32::NAN,
            projections: 0,
            mode_radius: -1.0,
            batch: 0,
            ..Default::default()
        };
        assert_eq!(bad.problems().len(), 7);
        assert_eq!(bad.problems()[0].to_string(), "kid_groups is 1, but must be 2 to 10000");
    }
}
