//! What samples are compared with, prepared once.

use super::{EvaluationError, batches, check_count, check_finite};
use crate::comparison::{SetCollector, SetMetric, SetPart, SetReference, SetSummary};
use crate::features::ActivationExtractor;
use crate::metric::{FeatureScaling, MetricConfig, MetricKind, Needs};
use cm_diffusion::analytic::GaussianMixture;
use cm_diffusion::{ConsistencyFunction, Sigma};
use cm_image::{ImageBatch, ImageShape, Quantisation};

/// What judges samples beside the reference images; each metric says which of these it [needs](MetricKind::needs).
#[derive(Clone, Copy, Default)]
pub struct Judges<'a> {
    /// Makes the features that are compared, and recognises samples if it knows classes.
    pub extractor: Option<&'a dyn ActivationExtractor>,
    /// Knows where each noise should end.
    pub endpoint: Option<ExactEndpoint<'a>>,
    /// Knows the modes.
    pub modes: Option<ExactModes<'a>>,
}

/// Where each noise should end.
#[derive(Clone, Copy)]
pub struct ExactEndpoint<'a> {
    /// The exact (or best known) consistency function.
    pub function: &'a dyn ConsistencyFunction,
    /// Level at which samplers start, on the noise of draw 0 of each seed.
    pub sigma_max: Sigma,
}

/// The modes samples should lie on.
#[derive(Clone, Copy)]
pub struct ExactModes<'a> {
    /// The data's law.
    pub mixture: &'a GaussianMixture,
    /// Noise that is left in samples; 0 for samplers that end there.
    pub sigma_min: Sigma,
}

/// Reference images and all that metrics need of them, computed once.
pub struct Reference<'a> {
    pub(super) kinds: Vec<MetricKind>,
    pub(super) config: MetricConfig,
    pub(super) judges: Judges<'a>,
    pub(super) images: ImageBatch,
    pub(super) sets: Option<SetReference>,
    quantisation: Option<Quantisation>,
}

impl<'a> Reference<'a> {
    /// Prepares to score sets of images by `kinds` against reference `images`. With a `quantisation`, what is scored is
    /// what is delivered: samples become 8-bit pixels by that rule, data by [`Quantisation::Round`] (which changes
    /// nothing of data that were 8-bit pixels). None: for points, which are not pictures.
    ///
    /// # Errors
    /// [`EvaluationError`] if the settings are wrong, a metric is repeated or lacks what it needs, there are too
    /// few images, or a model or metric fails on them.
    pub fn new(
        kinds: &[MetricKind],
        config: &MetricConfig,
        quantisation: Option<Quantisation>,
        images: ImageBatch,
        judges: Judges<'a>,
    ) -> Result<Self, EvaluationError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(EvaluationError::Config(problems));
        }
        for (index, &kind) in kinds.iter().enumerate() {
            if kinds[..index].contains(&kind) {
                return Err(EvaluationError::Repeated(kind));
            }
            if !judges.have(kind.needs()) {
                return Err(EvaluationError::Missing { kind, needs: kind.needs() });
            }
        }
        check_count(kinds, config, "reference images", images.count())?;
        check_finite(&images, "reference images")?;
        let of_sets: Vec<SetMetric> = kinds.iter().filter_map(|&kind| set_metric(kind)).collect();
        let images = as_data(quantisation, images);
        let mut reference =
            Self { kinds: kinds.to_vec(), config: config.clone(), judges, images, sets: None, quantisation };
        if !of_sets.is_empty() {
            let mut parts: Vec<SetPart> = of_sets.iter().filter_map(|metric| metric.needs().1).collect();
            if config.scaling == FeatureScaling::Standardised {
                parts.push(SetPart::Statistics);
            }
            if let Some(summary) = reference.summary(&reference.images, &parts)? {
                reference.sets = Some(SetReference::new(&of_sets, summary, config)?);
            }
        }
        Ok(reference)
    }

    /// The metrics, in the order of their scores.
    pub fn kinds(&self) -> &[MetricKind] {
        &self.kinds
    }

    /// The reference images.
    pub fn images(&self) -> &ImageBatch {
        &self.images
    }

    /// How the metrics are set.
    pub fn config(&self) -> &MetricConfig {
        &self.config
    }

    /// Samples as they are delivered.
    pub(super) fn delivered(&self, images: ImageBatch) -> ImageBatch {
        match self.quantisation {
            Some(rule) => rule.delivered(images),
            None => images,
        }
    }

    /// Data as a file of pictures would hold them.
    pub fn as_data(&self, images: ImageBatch) -> ImageBatch {
        as_data(self.quantisation, images)
    }

    /// What the metrics on sets need of some images.
    pub(super) fn summary(
        &self,
        images: &ImageBatch,
        parts: &[SetPart],
    ) -> Result<Option<SetSummary>, EvaluationError> {
        let Some(extractor) = self.judges.extractor else { return Ok(None) };
        // No metric of a study has splits.
        let mut collector = SetCollector::new(extractor, parts, images.count().max(1));
        for range in batches(images.count(), self.config.batch) {
            collector.push(&images.slice(range))?;
        }
        Ok(Some(collector.finish()?))
    }

    /// Refuses another shape, and fewer samples than the metrics need.
    pub(super) fn check(&self, samples: ImageShape, count: usize) -> Result<(), EvaluationError> {
        let reference = self.images.shape();
        if samples != reference {
            return Err(EvaluationError::Shape { samples, reference });
        }
        check_count(&self.kinds, &self.config, "samples", count)
    }
}

impl Judges<'_> {
    /// Whether what a metric needs is here.
    fn have(&self, needs: Needs) -> bool {
        match needs {
            Needs::Features => self.extractor.is_some(),
            Needs::Classifier => self.extractor.is_some_and(|extractor| extractor.classes().is_some()),
            Needs::ExactEndpoint => self.endpoint.is_some(),
            Needs::Modes => self.modes.is_some(),
            Needs::Nothing => true,
        }
    }
}

/// Data of which samples are delivered by a rule, as a file of pictures would hold them; points as they are.
fn as_data(quantisation: Option<Quantisation>, images: ImageBatch) -> ImageBatch {
    match quantisation {
        Some(_) => Quantisation::Round.delivered(images),
        None => images,
    }
}

/// The metric of two sets that a study's metric is, if it is one.
pub(super) const fn set_metric(kind: MetricKind) -> Option<SetMetric> {
    match kind {
        MetricKind::Frechet => Some(SetMetric::Frechet),
        MetricKind::FrechetExtrapolated => Some(SetMetric::FrechetExtrapolated),
        MetricKind::Kid => Some(SetMetric::Kid),
        MetricKind::Precision => Some(SetMetric::Precision),
        MetricKind::Recall => Some(SetMetric::Recall),
        MetricKind::Density => Some(SetMetric::Density),
        MetricKind::Coverage => Some(SetMetric::Coverage),
        MetricKind::Copied => Some(SetMetric::Copied),
        MetricKind::Recognised => Some(SetMetric::Recognised),
        MetricKind::ClassHistogram => Some(SetMetric::ClassHistogram),
        MetricKind::EndpointRmse | MetricKind::SlicedWasserstein | MetricKind::ModeWeights => None,
    }
}
