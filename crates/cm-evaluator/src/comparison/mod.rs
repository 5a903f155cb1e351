//! Two sets of images compared: each set is summarised once, in one pass and bounded memory, and the summaries are
//! compared. The one way to a metric on features or classes, for studies and for published evaluations alike.
//!
//! Deliberately absent: where images come from, and whose features they are. Only who knows that the published weights
//! were used may say FID: to [`SetMetric::name`], and to [`SetMetric::by_inception`] in studies.

mod collector;
mod named;
mod reference;
#[cfg(test)]
mod tests;

pub use collector::SetCollector;
pub use reference::SetReference;

use crate::metric::class_score::SplitScore;
use crate::metric::classification::Classification;
use crate::metric::{EXTRAPOLATION_IMAGES, MetricConfig, MetricError, Points};
use crate::statistics::{Standardiser, Statistics};
use cm_diffusion::ModelError;
use serde::{Deserialize, Serialize};

/// What can be said of two sets of images by their features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SetMetric {
    /// Fréchet distance of the features; FID with the published network.
    Frechet,
    /// Fréchet distance of the spatial features; sFID with the published network.
    SpatialFrechet,
    /// Class score of the samples alone; the inception score with the published network.
    ClassScore,
    /// Share of samples in the reference's manifold.
    Precision,
    /// Share of reference images in the samples' manifold.
    Recall,
    /// Kernel distance: unbiased squared maximum mean discrepancy, cubic kernel.
    Kid,
    /// Mean number of the reference's neighbourhoods about a sample, over k.
    Density,
    /// Share of the reference's neighbourhoods with a sample in them.
    Coverage,
    /// Share of samples nearer to a reference image than any other reference image is to that one.
    Copied,
    /// Share of samples whose class the network is confident of.
    Recognised,
    /// Total variation distance between the classes the network sees in samples and in the reference.
    ClassHistogram,
    /// Fréchet distance of the features, extrapolated to infinitely many samples.
    FrechetExtrapolated,
}

/// What a metric needs of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetPart {
    /// Mean and covariance of the features.
    Statistics,
    /// Mean and covariance of the spatial features.
    SpatialStatistics,
    /// The features of every image.
    Rows,
    /// The class score.
    ClassScore,
    /// The class the network sees in every image.
    Classes,
}

impl SetMetric {
    /// Every metric, in the order of the original evaluator's report, then what it has not.
    pub const ALL: [Self; 12] = [
        Self::ClassScore,
        Self::Frechet,
        Self::SpatialFrechet,
        Self::Precision,
        Self::Recall,
        Self::Kid,
        Self::Density,
        Self::Coverage,
        Self::Copied,
        Self::Recognised,
        Self::ClassHistogram,
        Self::FrechetExtrapolated,
    ];

    /// Its name; `published` says that the features are those of the published Inception network, whose weights alone
    /// make a Fréchet distance an FID.
    pub const fn name(self, published: bool) -> &'static str {
        match (self, published) {
            (Self::Frechet, true) => "fid",
            (Self::Frechet, false) => "frechet",
            (Self::SpatialFrechet, true) => "sfid",
            (Self::SpatialFrechet, false) => "spatial-frechet",
            (Self::ClassScore, true) => "inception-score",
            (Self::ClassScore, false) => "class-score",
            (Self::Precision, _) => "precision",
            (Self::Recall, _) => "recall",
            (Self::Kid, _) => "kid",
            (Self::Density, _) => "density",
            (Self::Coverage, _) => "coverage",
            (Self::Copied, _) => "copied",
            (Self::Recognised, _) => "recognised",
            (Self::ClassHistogram, _) => "class-histogram",
            (Self::FrechetExtrapolated, true) => "fid-extrapolated",
            (Self::FrechetExtrapolated, false) => "frechet-extrapolated",
        }
    }

    /// The fewest images of a set of which it can be computed.
    pub const fn min_images(self, config: &MetricConfig) -> usize {
        match self {
            Self::Frechet | Self::SpatialFrechet | Self::Copied => 2,
            Self::FrechetExtrapolated => EXTRAPOLATION_IMAGES,
            Self::ClassScore | Self::Recognised | Self::ClassHistogram => 1,
            Self::Precision | Self::Recall => config.neighbours.saturating_add(1),
            Self::Kid => config.kid_groups.saturating_mul(2),
            Self::Density | Self::Coverage => config.density_neighbours.saturating_add(1),
        }
    }

    /// Refuses a set of which a part that is needed is not known.
    fn check(self, set: &SetSummary, of: &'static str, needed: SetPart) -> Result<(), ComparisonError> {
        if set.has(needed) { Ok(()) } else { Err(ComparisonError::Missing { metric: self, needed, of }) }
    }

    /// What it needs of the samples and of the reference; nothing of the reference for a score of samples alone.
    pub const fn needs(self) -> (SetPart, Option<SetPart>) {
        match self {
            Self::Frechet => (SetPart::Statistics, Some(SetPart::Statistics)),
            Self::FrechetExtrapolated => (SetPart::Rows, Some(SetPart::Statistics)),
            Self::SpatialFrechet => (SetPart::SpatialStatistics, Some(SetPart::SpatialStatistics)),
            Self::ClassScore => (SetPart::ClassScore, None),
            Self::Recognised => (SetPart::Classes, None),
            Self::ClassHistogram => (SetPart::Classes, Some(SetPart::Classes)),
            Self::Precision | Self::Recall | Self::Kid | Self::Density | Self::Coverage | Self::Copied => {
                (SetPart::Rows, Some(SetPart::Rows))
            }
        }
    }
}

/// What is known of a set of images.
#[derive(Clone, Debug, Default)]
pub struct SetSummary {
    /// Mean and covariance of the features.
    pub statistics: Option<Statistics>,
    /// Mean and covariance of the spatial features.
    pub spatial: Option<Statistics>,
    /// The features of every image.
    pub rows: Option<Points>,
    /// The class score.
    pub class_score: Option<SplitScore>,
    /// The class of every image.
    pub classes: Option<Classification>,
}

impl SetSummary {
    /// The same with each feature less the mean, over the standard deviation, of a reference.
    ///
    /// # Errors
    /// [`ComparisonError::Summary`] for another number of features, or one that leaves the range of `f32`.
    pub fn standardised(self, by: &Standardiser) -> Result<Self, ComparisonError> {
        let rows = self.rows.map(|rows| Points::new(&by.apply(rows.features())?)).transpose()?;
        let statistics = self.statistics.map(|set| set.standardised(by)).transpose()?;
        Ok(Self { statistics, rows, ..self })
    }

    /// Whether a part is known.
    pub fn has(&self, part: SetPart) -> bool {
        match part {
            SetPart::Statistics => self.statistics.is_some(),
            SetPart::SpatialStatistics => self.spatial.is_some(),
            SetPart::Rows => self.rows.is_some(),
            SetPart::ClassScore => self.class_score.is_some(),
            SetPart::Classes => self.classes.is_some(),
        }
    }
}

/// Why a set was not summarised, or two were not compared.
#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    /// The network failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A metric has no value.
    #[error("{}: {source}", metric.name(false))]
    Metric {
        /// The metric.
        metric: SetMetric,
        /// Why.
        source: MetricError,
    },
    /// A set cannot be summarised.
    #[error("{0}")]
    Summary(#[from] MetricError),
    /// Something a metric needs is not known of a set.
    #[error("{} needs {needed:?} of the {of}", metric.name(false))]
    Missing {
        /// The metric.
        metric: SetMetric,
        /// What it needs.
        needed: SetPart,
        /// Of which set.
        of: &'static str,
    },
}

/// A metric's value and what is known of its error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetScore {
    /// Which.
    pub metric: SetMetric,
    /// The value.
    pub value: f64,
    /// The standard error over the draw of the images (kernel distance), or the standard deviation over splits (class
    /// score); none where there is no honest estimate.
    pub spread: Option<f64>,
}

/// The metrics of `samples` against `reference`, in the order asked for.
///
/// # Errors
/// [`ComparisonError::Missing`] if something needed is not known, [`ComparisonError::Metric`] if a metric has no value,
/// [`ComparisonError::Summary`] if a set cannot be put on the reference's scale.
pub fn compare(
    metrics: &[SetMetric],
    samples: SetSummary,
    reference: SetSummary,
    config: &MetricConfig,
) -> Result<Vec<SetScore>, ComparisonError> {
    for &metric in metrics {
        metric.check(&samples, "samples", metric.needs().0)?;
    }
    SetReference::new(metrics, reference, config)?.scores(samples)
}
