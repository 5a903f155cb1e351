//! What sets are compared with, prepared once for any number of them.

use super::{ComparisonError, SetMetric, SetPart, SetScore, SetSummary};
use crate::metric::classification::{share, total_variation};
use crate::metric::copies::{Closest, closest};
use crate::metric::extrapolation::extrapolated_frechet;
use crate::metric::frechet::FrechetSide;
use crate::metric::kernel::kernel_distance;
use crate::metric::precision_recall::{BallCounts, Manifold};
use crate::metric::{FeatureScaling, MetricConfig, MetricError, Points};
use crate::statistics::{Standardiser, Statistics};
use std::sync::OnceLock;

/// A set that others are compared with, on the scale of the comparison, and all that the metrics need of it. Square
/// roots and manifolds are worked out at their first use.
#[derive(Debug)]
pub struct SetReference {
    metrics: Vec<SetMetric>,
    config: MetricConfig,
    scale: Option<Standardiser>,
    summary: SetSummary,
    pooled: OnceLock<FrechetSide>,
    spatial: OnceLock<FrechetSide>,
    manifold: OnceLock<Manifold>,
}

impl SetReference {
    /// Prepares to compare sets by `metrics` with the one that `reference` tells of. [`FeatureScaling::Standardised`]
    /// needs its statistics, and does nothing to spatial features and classes.
    ///
    /// # Errors
    /// [`ComparisonError::Missing`] if something that a metric needs of the reference is not known,
    /// [`ComparisonError::Summary`] if its features leave the range of `f32` on their new scale.
    pub fn new(
        metrics: &[SetMetric],
        reference: SetSummary,
        config: &MetricConfig,
    ) -> Result<Self, ComparisonError> {
        for &metric in metrics {
            if let Some(needed) = metric.needs().1 {
                metric.check(&reference, "reference", needed)?;
            }
        }
        let scale = match (config.scaling, &reference.statistics) {
            (FeatureScaling::Standardised, Some(statistics)) => Some(Standardiser::new(statistics)),
            (FeatureScaling::Standardised, None) | (FeatureScaling::Raw, _) => None,
        };
        let summary = match &scale {
            Some(scale) => reference.standardised(scale)?,
            None => reference,
        };
        Ok(Self {
            metrics: metrics.to_vec(),
            config: config.clone(),
            scale,
            summary,
            pooled: OnceLock::new(),
            spatial: OnceLock::new(),
            manifold: OnceLock::new(),
        })
    }

    /// The metrics of `samples` against this reference, in the order asked for.
    ///
    /// # Errors
    /// [`ComparisonError::Missing`] if something needed is not known of the samples, [`ComparisonError::Metric`] if a
    /// metric has no value, [`ComparisonError::Summary`] if they cannot be put on the reference's scale.
    pub fn scores(&self, samples: SetSummary) -> Result<Vec<SetScore>, ComparisonError> {
        for &metric in &self.metrics {
            metric.check(&samples, "samples", metric.needs().0)?;
        }
        let samples = match &self.scale {
            Some(scale) => samples.standardised(scale)?,
            None => samples,
        };
        let mut balls = None;
        (self.metrics.iter())
            .map(|&metric| {
                let failed = |source| ComparisonError::Metric { metric, source };
                let (value, spread) = self.value(metric, &samples, &mut balls).map_err(failed)?;
                Ok(SetScore { metric, value, spread })
            })
            .collect()
    }

    /// The reference image nearest to each sample, by features on the scale of the comparison.
    ///
    /// # Errors
    /// As [`scores`](Self::scores).
    pub fn closest(&self, samples: SetSummary) -> Result<Vec<Closest>, ComparisonError> {
        let metric = SetMetric::Copied;
        metric.check(&samples, "samples", SetPart::Rows)?;
        let samples = match &self.scale {
            Some(scale) => samples.standardised(scale)?,
            None => samples,
        };
        let found = self.manifold().and_then(|manifold| closest(manifold, rows(&samples)?));
        found.map_err(|source| ComparisonError::Metric { metric, source })
    }

    /// A metric's value and its spread. `balls` keeps how the samples lie in the reference's balls of density and
    /// coverage.
    fn value(
        &self,
        metric: SetMetric,
        samples: &SetSummary,
        balls: &mut Option<BallCounts>,
    ) -> Result<(f64, Option<f64>), MetricError> {
        let (config, reference) = (&self.config, &self.summary);
        Ok(match metric {
            SetMetric::Frechet => (frechet(&samples.statistics, &reference.statistics, &self.pooled)?, None),
            SetMetric::FrechetExtrapolated => {
                let side = kept_side(&reference.statistics, &self.pooled)?;
                (extrapolated_frechet(rows(samples)?.features(), side, config.seed)?, None)
            }
            SetMetric::SpatialFrechet => {
                (frechet(&samples.spatial, &reference.spatial, &self.spatial)?, None)
            }
            SetMetric::ClassScore => {
                let score = samples.class_score.ok_or_else(|| unknown(SetPart::ClassScore))?;
                (score.mean, score.sd)
            }
            SetMetric::Precision => {
                (self.manifold()?.count(rows(samples)?, config.neighbours)?.share_inside(), None)
            }
            SetMetric::Recall => {
                let manifold = Manifold::new(rows(samples)?.clone(), config.neighbours)?;
                (manifold.count(rows(reference)?, config.neighbours)?.share_inside(), None)
            }
            SetMetric::Kid => {
                let (a, b) = (rows(samples)?, rows(reference)?);
                let distance = kernel_distance(a, b, config.kid_groups, config.seed)?;
                (distance.value, Some(distance.standard_error))
            }
            SetMetric::Density => (self.balls(samples, balls)?.density(config.density_neighbours), None),
            SetMetric::Coverage => (self.balls(samples, balls)?.coverage(), None),
            SetMetric::Copied => {
                let found = closest(self.manifold()?, rows(samples)?)?;
                let copies = found.iter().filter(|closest| closest.is_copy()).count();
                let (share, standard_error) = share(copies, found.len());
                (share, Some(standard_error))
            }
            SetMetric::Recognised => {
                let classes = samples.classes.as_ref().ok_or_else(|| unknown(SetPart::Classes))?;
                let (share, standard_error) = classes.share_recognised(config.confidence)?;
                (share, Some(standard_error))
            }
            SetMetric::ClassHistogram => {
                let shares = |set: &SetSummary| {
                    set.classes.as_ref().ok_or_else(|| unknown(SetPart::Classes))?.shares()
                };
                (total_variation(&shares(samples)?, &shares(reference)?)?, None)
            }
        })
    }

    /// The reference's manifold for every k that a metric asks for.
    fn manifold(&self) -> Result<&Manifold, MetricError> {
        if let Some(manifold) = self.manifold.get() {
            return Ok(manifold);
        }
        let k = |metric: &SetMetric| match metric {
            SetMetric::Precision => self.config.neighbours,
            SetMetric::Density | SetMetric::Coverage => self.config.density_neighbours,
            SetMetric::Copied => 1,
            SetMetric::Frechet
            | SetMetric::SpatialFrechet
            | SetMetric::FrechetExtrapolated
            | SetMetric::ClassScore
            | SetMetric::Recall
            | SetMetric::Kid
            | SetMetric::Recognised
            | SetMetric::ClassHistogram => 0,
        };
        let neighbours = self.metrics.iter().map(k).max().unwrap_or(0);
        let manifold = Manifold::new(rows(&self.summary)?.clone(), neighbours)?;
        Ok(self.manifold.get_or_init(|| manifold))
    }

    /// How the samples lie in the reference's balls, counted once for density and coverage.
    fn balls<'b>(
        &self,
        samples: &SetSummary,
        balls: &'b mut Option<BallCounts>,
    ) -> Result<&'b BallCounts, MetricError> {
        let counts = match balls.take() {
            Some(counts) => counts,
            None => self.manifold()?.count(rows(samples)?, self.config.density_neighbours)?,
        };
        Ok(balls.insert(counts))
    }
}

/// The rows of a set that is known to have them.
fn rows(set: &SetSummary) -> Result<&Points, MetricError> {
    set.rows.as_ref().ok_or_else(|| unknown(SetPart::Rows))
}

/// What is said of a part that is not there; it was asked for before.
fn unknown(part: SetPart) -> MetricError {
    let what = match part {
        SetPart::Statistics => "statistics",
        SetPart::SpatialStatistics => "spatial statistics",
        SetPart::Rows => "rows of features",
        SetPart::ClassScore => "class scores",
        SetPart::Classes => "classes",
    };
    MetricError::TooFew { what, given: 0, needed: 1 }
}

/// A set's side of a Fréchet distance.
fn side(set: &Option<Statistics>) -> Result<FrechetSide, MetricError> {
    FrechetSide::new(set.as_ref().ok_or_else(|| unknown(SetPart::Statistics))?)
}

/// The reference's side, whose square root is kept in `kept`.
fn kept_side<'k>(
    set: &Option<Statistics>,
    kept: &'k OnceLock<FrechetSide>,
) -> Result<&'k FrechetSide, MetricError> {
    match kept.get() {
        Some(side) => Ok(side),
        None => {
            let made = side(set)?;
            Ok(kept.get_or_init(|| made))
        }
    }
}

/// The Fréchet distance of a set from the reference.
fn frechet(
    samples: &Option<Statistics>,
    reference: &Option<Statistics>,
    kept: &OnceLock<FrechetSide>,
) -> Result<f64, MetricError> {
    // Each root on a thread of its own; neither depends on the other.
    let (samples, reference) = rayon::join(|| side(samples), || kept_side(reference, kept));
    samples?.distance(reference?)
}
