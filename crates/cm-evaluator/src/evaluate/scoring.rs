//! One set of images against a reference, metric by metric.

use super::reference::{ExactModes, Reference, set_metric};
use super::{EvaluationError, check_answer, check_finite, exact_endpoints};
use crate::comparison::{SetPart, SetScore};
use crate::metric::copies::Closest;
use crate::metric::exact::{endpoint_errors, mode_weights, sliced_wasserstein};
use crate::metric::{MetricError, MetricKind};
use crate::report::Score;
use cm_image::ImageBatch;

impl Reference<'_> {
    /// Scores `images` as they are. `seeds` are those the images were drawn from; without them
    /// [`MetricKind::EndpointRmse`] is left out, since it has no meaning for images that come from no noise.
    ///
    /// # Errors
    /// [`EvaluationError`] for another shape, too few or not finite images, or if a model or metric fails.
    pub fn score(&self, images: &ImageBatch, seeds: Option<&[u64]>) -> Result<Vec<Score>, EvaluationError> {
        self.check(images.shape(), images.count())?;
        check_finite(images, "samples")?;
        if let Some(seeds) = seeds {
            check_answer("list of seeds", (seeds.len(), 1), (images.count(), 1))?;
        }
        let of_sets = match &self.sets {
            None => Vec::new(),
            Some(sets) => {
                let of_set = |kind: &MetricKind| set_metric(*kind).map(|metric| metric.needs().0);
                let parts: Vec<SetPart> = self.kinds.iter().filter_map(of_set).collect();
                match self.summary(images, &parts)? {
                    Some(summary) => sets.scores(summary)?,
                    None => Vec::new(),
                }
            }
        };
        let mut scores = Vec::new();
        for &kind in &self.kinds {
            for (stem, (value, standard_error)) in
                kind.stems().iter().zip(self.values(kind, &of_sets, images, seeds)?)
            {
                scores.push(Score::new(stem, images.count(), value, standard_error));
            }
        }
        Ok(scores)
    }

    /// The reference image nearest to each of `images`, by the features that they are scored by; none where nothing is
    /// compared by features.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn closest(&self, images: &ImageBatch) -> Result<Option<Vec<Closest>>, EvaluationError> {
        self.check(images.shape(), images.count())?;
        let Some(sets) = &self.sets else { return Ok(None) };
        let summary = self.summary(images, &[SetPart::Rows])?;
        Ok(summary.map(|summary| sets.closest(summary)).transpose()?)
    }

    /// The values of a metric, each with its standard error if there is an honest one, in the order of its stems; none
    /// if it has no meaning for these images.
    fn values(
        &self,
        kind: MetricKind,
        of_sets: &[SetScore],
        images: &ImageBatch,
        seeds: Option<&[u64]>,
    ) -> Result<Vec<(f64, Option<f64>)>, EvaluationError> {
        let Self { config, judges, images: reference_images, .. } = self;
        let metric = |source: MetricError| EvaluationError::Metric { kind, source };
        let missing = || EvaluationError::Missing { kind, needs: kind.needs() };
        Ok(match kind {
            MetricKind::Frechet
            | MetricKind::FrechetExtrapolated
            | MetricKind::Kid
            | MetricKind::Precision
            | MetricKind::Recall
            | MetricKind::Density
            | MetricKind::Coverage
            | MetricKind::Copied
            | MetricKind::Recognised
            | MetricKind::ClassHistogram => {
                let found = of_sets.iter().find(|score| Some(score.metric) == set_metric(kind));
                let &SetScore { value, spread, .. } = found.ok_or_else(missing)?;
                vec![(value, spread)]
            }
            MetricKind::EndpointRmse => {
                let Some(seeds) = seeds else { return Ok(vec![]) };
                let endpoint = judges.endpoint.ok_or_else(missing)?;
                let exact = exact_endpoints(endpoint, images.shape(), seeds, config.batch)?;
                let errors = endpoint_errors(images, &exact).map_err(metric)?;
                vec![(errors.rmse, Some(errors.standard_error)), (errors.median, None)]
            }
            MetricKind::SlicedWasserstein => {
                let distance = sliced_wasserstein(images, reference_images, config.projections, config.seed);
                vec![(distance.map_err(metric)?, None)]
            }
            MetricKind::ModeWeights => {
                let ExactModes { mixture, sigma_min } = judges.modes.ok_or_else(missing)?;
                let shares = mode_weights(images, mixture, sigma_min, config.mode_radius).map_err(metric)?;
                let (off_mode, standard_error) = shares.off_mode;
                vec![(shares.total_variation, None), (off_mode, Some(standard_error))]
            }
        })
    }
}
