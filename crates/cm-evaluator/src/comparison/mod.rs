//! Two sets of images compared as published evaluators do it: each set is summarised once, in one pass and bounded
//! memory, and the summaries are compared.
//!
//! Deliberately absent: where images come from, and what the result may be called. The names here are
//! [`SetMetric::name`]'s; only who knows that the published weights were used may say FID.

#[cfg(test)]
mod tests;

use crate::features::{ActivationExtractor, Activations, FeatureMatrix};
use crate::metric::class_score::{ClassScore, SplitScore};
use crate::metric::frechet::FrechetSide;
use crate::metric::kernel::kernel_distance;
use crate::metric::precision_recall::Manifold;
use crate::metric::{MetricConfig, MetricError, Points};
use crate::statistics::{RunningStatistics, Standardiser, Statistics};
use cm_diffusion::ModelError;
use cm_image::ImageBatch;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
}

impl SetMetric {
    /// Every metric, in the order of the original evaluator's report, then what it has not.
    pub const ALL: [Self; 8] = [
        Self::ClassScore,
        Self::Frechet,
        Self::SpatialFrechet,
        Self::Precision,
        Self::Recall,
        Self::Kid,
        Self::Density,
        Self::Coverage,
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
        }
    }

    /// The fewest images of a set of which it can be computed.
    pub const fn min_images(self, config: &MetricConfig) -> usize {
        match self {
            Self::Frechet | Self::SpatialFrechet => 2,
            Self::ClassScore => 1,
            Self::Precision | Self::Recall => config.neighbours.saturating_add(1),
            Self::Kid => config.kid_groups.saturating_mul(2),
            Self::Density | Self::Coverage => config.density_neighbours.saturating_add(1),
        }
    }

    /// What it needs of the samples and of the reference; nothing of the reference for a score of samples alone.
    pub const fn needs(self) -> (SetPart, Option<SetPart>) {
        match self {
            Self::Frechet => (SetPart::Statistics, Some(SetPart::Statistics)),
            Self::SpatialFrechet => (SetPart::SpatialStatistics, Some(SetPart::SpatialStatistics)),
            Self::ClassScore => (SetPart::ClassScore, None),
            Self::Precision | Self::Recall | Self::Kid | Self::Density | Self::Coverage => {
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
}

impl SetSummary {
    /// The same with each feature less the mean, over the standard deviation, of `reference`.
    ///
    /// # Errors
    /// [`ComparisonError::Summary`] for another number of features, or one that leaves the range of `f32`.
    pub fn standardised(self, reference: &Statistics) -> Result<Self, ComparisonError> {
        let scaler = Standardiser::new(reference);
        let rows = self.rows.map(|rows| Points::new(&scaler.apply(rows.features())?)).transpose()?;
        let statistics = self.statistics.map(|set| set.standardised(&scaler)).transpose()?;
        Ok(Self { statistics, rows, ..self })
    }

    /// Whether a part is known.
    pub fn has(&self, part: SetPart) -> bool {
        match part {
            SetPart::Statistics => self.statistics.is_some(),
            SetPart::SpatialStatistics => self.spatial.is_some(),
            SetPart::Rows => self.rows.is_some(),
            SetPart::ClassScore => self.class_score.is_some(),
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

/// Summarises a set of images that come a few at a time. Its memory does not grow with the set, but for the rows if they
/// are kept.
pub struct SetCollector<'a> {
    extractor: &'a dyn ActivationExtractor,
    statistics: RunningStatistics,
    spatial: Option<RunningStatistics>,
    class_score: Option<ClassScore>,
    rows: Option<FeatureMatrix>,
}

impl<'a> SetCollector<'a> {
    /// No images yet. `parts` are those wanted besides the statistics; those that the extractor has not are left out.
    ///
    /// # Panics
    /// If `split` is 0.
    pub fn new(extractor: &'a dyn ActivationExtractor, parts: &[SetPart], split: usize) -> Self {
        let wants = |part| parts.contains(&part);
        let dim = extractor.dim();
        let spatial = extractor.spatial_dim().filter(|_| wants(SetPart::SpatialStatistics));
        let classes = extractor.classes().filter(|_| wants(SetPart::ClassScore));
        let empty = FeatureMatrix::new(dim, Vec::new()).ok().filter(|_| wants(SetPart::Rows));
        Self {
            extractor,
            statistics: RunningStatistics::new(dim),
            spatial: spatial.map(RunningStatistics::new),
            class_score: classes.map(|classes| ClassScore::new(classes, split)),
            rows: empty,
        }
    }

    /// The number of images so far.
    pub fn count(&self) -> usize {
        self.statistics.count()
    }

    /// Adds images.
    ///
    /// # Errors
    /// [`ComparisonError`] if the network fails or gives what is no number.
    pub fn push(&mut self, images: &ImageBatch) -> Result<(), ComparisonError> {
        let activations = self.extractor.activations(images)?;
        self.push_activations(&activations)
    }

    /// Adds what an extractor of the same kind has made of images.
    ///
    /// # Errors
    /// [`ComparisonError::Summary`] for other numbers of features, or what is no number.
    pub fn push_activations(&mut self, activations: &Activations) -> Result<(), ComparisonError> {
        self.statistics.push(&activations.features)?;
        if let (Some(running), Some(spatial)) = (&mut self.spatial, &activations.spatial) {
            running.push(spatial)?;
        }
        if let (Some(score), Some(probabilities)) = (&mut self.class_score, &activations.probabilities) {
            score.push(probabilities)?;
        }
        if let Some(rows) = &mut self.rows {
            rows.append(&activations.features);
        }
        Ok(())
    }

    /// What is known of all images.
    ///
    /// # Errors
    /// [`ComparisonError::Summary`] below two images.
    pub fn finish(self) -> Result<SetSummary, ComparisonError> {
        Ok(SetSummary {
            statistics: Some(self.statistics.finish()?),
            spatial: self.spatial.map(RunningStatistics::finish).transpose()?,
            rows: self.rows.map(|rows| Points::shared(Arc::new(rows))).transpose()?,
            class_score: self.class_score.map(ClassScore::finish).transpose()?,
        })
    }
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

/// The metrics of `samples` against `reference`, in the order asked for. The sets' manifolds are worked out once for all
/// metrics that need them.
///
/// # Errors
/// [`ComparisonError::Missing`] if something needed is not known, [`ComparisonError::Metric`] if a metric has no value.
pub fn compare(
    metrics: &[SetMetric],
    samples: &SetSummary,
    reference: &SetSummary,
    config: &MetricConfig,
) -> Result<Vec<SetScore>, ComparisonError> {
    for &metric in metrics {
        let (of_samples, of_reference) = metric.needs();
        if !samples.has(of_samples) {
            return Err(ComparisonError::Missing { metric, needed: of_samples, of: "samples" });
        }
        if let Some(needed) = of_reference.filter(|&part| !reference.has(part)) {
            return Err(ComparisonError::Missing { metric, needed, of: "reference" });
        }
    }
    let wants = |wanted: &[SetMetric]| metrics.iter().any(|metric| wanted.contains(metric));
    let k = |wanted: &[SetMetric], k: usize| if wants(wanted) { k } else { 0 };
    let density = k(&[SetMetric::Density, SetMetric::Coverage], config.density_neighbours);
    let of_reference = density.max(k(&[SetMetric::Precision], config.neighbours));
    let of_samples = k(&[SetMetric::Recall], config.neighbours);
    let manifold = |set: &SetSummary, k: usize| match (&set.rows, k) {
        (None, _) | (_, 0) => Ok(None),
        (Some(points), k) => Manifold::new(points.clone(), k).map(Some),
    };
    let first = metrics.iter().copied().find(|metric| metric.needs().0 == SetPart::Rows);
    let named = |metric: Option<SetMetric>| {
        move |source| ComparisonError::Metric { metric: metric.unwrap_or(SetMetric::Precision), source }
    };
    let reference_manifold = manifold(reference, of_reference).map_err(named(first))?;
    let sample_manifold = manifold(samples, of_samples).map_err(named(first))?;
    let counts = match (&reference_manifold, &samples.rows) {
        (Some(manifold), Some(points)) if density > 0 => {
            Some(manifold.count(points, density).map_err(named(first))?)
        }
        (_, _) => None,
    };
    let mut scores = Vec::new();
    for &metric in metrics {
        let failed = named(Some(metric));
        let missing = |needed, of| ComparisonError::Missing { metric, needed, of };
        let rows = |set: &'_ SetSummary, of| set.rows.clone().ok_or(missing(SetPart::Rows, of));
        let (value, spread) = match metric {
            SetMetric::Frechet => {
                (frechet(&samples.statistics, &reference.statistics).map_err(failed)?, None)
            }
            SetMetric::SpatialFrechet => {
                (frechet(&samples.spatial, &reference.spatial).map_err(failed)?, None)
            }
            SetMetric::ClassScore => {
                let score = samples.class_score.ok_or(missing(SetPart::ClassScore, "samples"))?;
                (score.mean, score.sd)
            }
            SetMetric::Precision => {
                let manifold = reference_manifold.as_ref().ok_or(missing(SetPart::Rows, "reference"))?;
                let counts = manifold.count(&rows(samples, "samples")?, config.neighbours);
                (counts.map_err(failed)?.share_inside(), None)
            }
            SetMetric::Recall => {
                let manifold = sample_manifold.as_ref().ok_or(missing(SetPart::Rows, "samples"))?;
                let counts = manifold.count(&rows(reference, "reference")?, config.neighbours);
                (counts.map_err(failed)?.share_inside(), None)
            }
            SetMetric::Kid => {
                let (a, b) = (rows(samples, "samples")?, rows(reference, "reference")?);
                let distance = kernel_distance(&a, &b, config.kid_groups, config.seed).map_err(failed)?;
                (distance.value, Some(distance.standard_error))
            }
            SetMetric::Density => {
                let counts = counts.as_ref().ok_or(missing(SetPart::Rows, "reference"))?;
                (counts.density(config.density_neighbours), None)
            }
            SetMetric::Coverage => {
                (counts.as_ref().ok_or(missing(SetPart::Rows, "reference"))?.coverage(), None)
            }
        };
        scores.push(SetScore { metric, value, spread });
    }
    Ok(scores)
}

/// The Fréchet distance of two sets whose statistics are known.
fn frechet(a: &Option<Statistics>, b: &Option<Statistics>) -> Result<f64, MetricError> {
    let side = |set: &Option<Statistics>| {
        let statistics =
            set.as_ref().ok_or(MetricError::TooFew { what: "statistics", given: 0, needed: 1 })?;
        FrechetSide::new(statistics)
    };
    // Each root on a thread of its own; neither depends on the other.
    let (a, b) = rayon::join(|| side(a), || side(b));
    a?.distance(&b?)
}
