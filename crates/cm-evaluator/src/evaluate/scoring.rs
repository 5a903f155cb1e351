//! One set of images against a reference, metric by metric.

use super::reference::{ExactModes, FeatureReference, Reference};
use super::{
    Details, EvaluationError, EvaluationReport, check_answer, check_finite, classify, exact_endpoints,
    extract,
};
use crate::features::FeatureMatrix;
use crate::metric::classification::{Classification, total_variation};
use crate::metric::exact::{endpoint_errors, mode_weights, sliced_wasserstein};
use crate::metric::frechet::FrechetSide;
use crate::metric::kernel::kernel_distance;
use crate::metric::precision_recall::{BallCounts, Manifold};
use crate::metric::{MetricError, MetricKind, Points};
use crate::report::Score;
use crate::statistics::Statistics;
use cm_image::ImageBatch;

impl Reference<'_> {
    /// Scores `images`. `seeds` are those the images were drawn from; without them [`MetricKind::EndpointRmse`] is
    /// left out, since it has no meaning for images that come from no noise.
    ///
    /// # Errors
    /// [`EvaluationError`] for another shape, too few or not finite images, or if a model or metric fails.
    pub fn score(
        &self,
        images: ImageBatch,
        seeds: Option<&[u64]>,
    ) -> Result<EvaluationReport, EvaluationError> {
        self.check(images.shape(), images.count())?;
        check_finite(&images, "samples")?;
        if let Some(seeds) = seeds {
            check_answer("list of seeds", (seeds.len(), 1), (images.count(), 1))?;
        }
        let mut scoring = Scoring::new(self, seeds, &images);
        let mut scores = Vec::new();
        for &kind in &self.kinds {
            for (stem, (value, standard_error)) in kind.stems().iter().zip(scoring.values(kind)?) {
                scores.push(Score::new(stem, images.count(), value, standard_error));
            }
        }
        let details = scoring.into_details();
        Ok(EvaluationReport { scores, details, images })
    }
}

/// A value and its standard error.
type Value = (f64, Option<f64>);

/// One set of images being scored; what several metrics share is computed at its first use.
struct Scoring<'r, 'a> {
    reference: &'r Reference<'a>,
    seeds: Option<&'r [u64]>,
    images: &'r ImageBatch,
    features: Option<Features>,
    details: Details,
}

/// The samples' side of the metrics on features.
struct Features {
    matrix: FeatureMatrix,
    points: Points,
    /// How the samples lie in the reference's balls of density and coverage.
    density_counts: Option<BallCounts>,
}

impl<'r, 'a> Scoring<'r, 'a> {
    /// Nothing computed yet.
    fn new(reference: &'r Reference<'a>, seeds: Option<&'r [u64]>, images: &'r ImageBatch) -> Self {
        Self { reference, seeds, images, features: None, details: Details::default() }
    }

    /// What lies behind the values.
    fn into_details(self) -> Details {
        self.details
    }

    /// The values of a metric, in the order of its stems; none if it has no meaning for these images.
    fn values(&mut self, kind: MetricKind) -> Result<Vec<Value>, EvaluationError> {
        let Reference { config, judges, images: reference_images, class_shares, .. } = self.reference;
        let metric = |source: MetricError| EvaluationError::Metric { kind, source };
        let missing = || EvaluationError::Missing { kind, needs: kind.needs() };
        let k = config.neighbours;
        Ok(match kind {
            MetricKind::Frechet => {
                let (reference, features) = self.features(kind)?;
                let side =
                    Statistics::of(&features.matrix).and_then(|statistics| FrechetSide::new(&statistics));
                let expected = reference.frechet.as_ref().ok_or_else(missing)?;
                vec![(side.and_then(|side| side.distance(expected)).map_err(metric)?, None)]
            }
            MetricKind::Kid => {
                let (reference, features) = self.features(kind)?;
                let (a, b) = (&features.points, &reference.points);
                let distance = kernel_distance(a, b, config.kid_groups, config.seed).map_err(metric)?;
                vec![(distance.value, Some(distance.standard_error))]
            }
            MetricKind::Precision => {
                let (reference, features) = self.features(kind)?;
                let manifold = reference.manifold.as_ref().ok_or_else(missing)?;
                vec![(manifold.count(&features.points, k).map_err(metric)?.share_inside(), None)]
            }
            MetricKind::Recall => {
                let (reference, features) = self.features(kind)?;
                let manifold = Manifold::new(features.points.clone(), k).map_err(metric)?;
                vec![(manifold.count(&reference.points, k).map_err(metric)?.share_inside(), None)]
            }
            MetricKind::Density => {
                vec![(self.density_counts(kind)?.density(config.density_neighbours), None)]
            }
            MetricKind::Coverage => vec![(self.density_counts(kind)?.coverage(), None)],
            MetricKind::Recognised => {
                let (share, standard_error) = self.classification(kind)?.share_recognised();
                vec![(share, Some(standard_error))]
            }
            MetricKind::ClassHistogram => {
                let expected = class_shares.as_ref().ok_or_else(missing)?;
                vec![(total_variation(&self.classification(kind)?.shares, expected).map_err(metric)?, None)]
            }
            MetricKind::EndpointRmse => {
                let Some(seeds) = self.seeds else { return Ok(vec![]) };
                let endpoint = judges.endpoint.ok_or_else(missing)?;
                let exact = exact_endpoints(endpoint, self.images.shape(), seeds, config.batch)?;
                let errors = endpoint_errors(self.images, &exact).map_err(metric)?;
                self.details.endpoint_errors = Some(errors.per_image);
                vec![(errors.rmse, Some(errors.standard_error)), (errors.median, None)]
            }
            MetricKind::SlicedWasserstein => {
                let distance =
                    sliced_wasserstein(self.images, reference_images, config.projections, config.seed);
                vec![(distance.map_err(metric)?, None)]
            }
            MetricKind::ModeWeights => {
                let ExactModes { mixture, sigma_min } = judges.modes.ok_or_else(missing)?;
                let shares =
                    mode_weights(self.images, mixture, sigma_min, config.mode_radius).map_err(metric)?;
                let (off_mode, standard_error) = shares.off_mode;
                let values = vec![(shares.total_variation, None), (off_mode, Some(standard_error))];
                self.details.modes = Some(shares);
                values
            }
        })
    }

    /// Both sides of the metrics on features; the samples' are extracted once.
    fn features(
        &mut self,
        kind: MetricKind,
    ) -> Result<(&'r FeatureReference, &mut Features), EvaluationError> {
        let Reference { config, judges, features, .. } = self.reference;
        let missing = || EvaluationError::Missing { kind, needs: kind.needs() };
        let reference = features.as_ref().ok_or_else(missing)?;
        if self.features.is_none() {
            let raw = extract(judges.extractor.ok_or_else(missing)?, self.images, config.batch)?;
            let matrix = match &reference.standardiser {
                Some(standardiser) => standardiser.apply(&raw).map_err(EvaluationError::Features)?,
                None => raw,
            };
            let points = Points::new(&matrix).map_err(EvaluationError::Features)?;
            self.features = Some(Features { matrix, points, density_counts: None });
        }
        Ok((reference, self.features.as_mut().expect("filled just above")))
    }

    /// How the samples lie in the reference's balls, counted once for density and coverage.
    fn density_counts(&mut self, kind: MetricKind) -> Result<&BallCounts, EvaluationError> {
        let k = self.reference.config.density_neighbours;
        let missing = EvaluationError::Missing { kind, needs: kind.needs() };
        let (reference, features) = self.features(kind)?;
        if features.density_counts.is_none() {
            let manifold = reference.manifold.as_ref().ok_or(missing)?;
            let counts = manifold.count(&features.points, k);
            features.density_counts =
                Some(counts.map_err(|source| EvaluationError::Metric { kind, source })?);
        }
        Ok(features.density_counts.as_ref().expect("filled just above"))
    }

    /// The classifier's verdict, asked for once.
    fn classification(&mut self, kind: MetricKind) -> Result<&Classification, EvaluationError> {
        if self.details.classification.is_none() {
            let missing = EvaluationError::Missing { kind, needs: kind.needs() };
            let classifier = self.reference.judges.classifier.ok_or(missing)?;
            let verdict = classify(classifier, self.images, &self.reference.config, kind)?;
            self.details.classification = Some(verdict);
        }
        Ok(self.details.classification.as_ref().expect("filled just above"))
    }
}
