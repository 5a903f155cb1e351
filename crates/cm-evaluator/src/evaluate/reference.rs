//! What samples are compared with, prepared once.

use super::{EvaluationError, check_count, check_finite, classify, extract};
use crate::features::{Classifier, FeatureExtractor};
use crate::metric::frechet::FrechetSide;
use crate::metric::precision_recall::Manifold;
use crate::metric::{FeatureScaling, MetricConfig, MetricKind, Needs, Points};
use crate::statistics::{Standardiser, Statistics};
use cm_diffusion::analytic::GaussianMixture;
use cm_diffusion::{ConsistencyFunction, Sigma};
use cm_image::{ImageBatch, ImageShape};

/// What judges samples beside the reference images; each metric says which of these it [needs](MetricKind::needs).
#[derive(Clone, Copy, Default)]
pub struct Judges<'a> {
    /// Makes the features that are compared.
    pub extractor: Option<&'a dyn FeatureExtractor>,
    /// Recognises samples.
    pub classifier: Option<&'a dyn Classifier>,
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
    pub(super) features: Option<FeatureReference>,
    pub(super) class_shares: Option<Vec<f64>>,
}

/// The reference's side of the metrics on features.
pub(super) struct FeatureReference {
    pub(super) standardiser: Option<Standardiser>,
    pub(super) frechet: Option<FrechetSide>,
    pub(super) points: Points,
    pub(super) manifold: Option<Manifold>,
}

impl<'a> Reference<'a> {
    /// Prepares to score sets of images by `kinds` against reference `images`.
    ///
    /// # Errors
    /// [`EvaluationError`] if the settings are wrong, a metric is repeated or lacks what it needs, there are too
    /// few images, or a model or metric fails on them.
    pub fn new(
        kinds: &[MetricKind],
        config: &MetricConfig,
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
        let wants = |wanted: &[MetricKind]| kinds.iter().any(|kind| wanted.contains(kind));
        let features = match judges.extractor {
            Some(extractor) if kinds.iter().any(|kind| kind.needs() == Needs::Features) => {
                Some(FeatureReference::new(extractor, &images, config, &wants)?)
            }
            _ => None,
        };
        let class_shares = match judges.classifier {
            Some(classifier) if wants(&[MetricKind::ClassHistogram]) => {
                Some(classify(classifier, &images, config, MetricKind::ClassHistogram)?.shares)
            }
            _ => None,
        };
        Ok(Self { kinds: kinds.to_vec(), config: config.clone(), judges, images, features, class_shares })
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
            Needs::Classifier => self.classifier.is_some(),
            Needs::ExactEndpoint => self.endpoint.is_some(),
            Needs::Modes => self.modes.is_some(),
            Needs::Nothing => true,
        }
    }
}

impl FeatureReference {
    /// Features of the reference images, and of them what the wanted metrics need.
    fn new(
        extractor: &dyn FeatureExtractor,
        images: &ImageBatch,
        config: &MetricConfig,
        wants: &dyn Fn(&[MetricKind]) -> bool,
    ) -> Result<Self, EvaluationError> {
        let raw = extract(extractor, images, config.batch)?;
        let (standardiser, features) = match config.scaling {
            FeatureScaling::Raw => (None, raw),
            FeatureScaling::Standardised => {
                let statistics = Statistics::of(&raw).map_err(EvaluationError::Features)?;
                let standardiser = Standardiser::new(&statistics);
                let scaled = standardiser.apply(&raw).map_err(EvaluationError::Features)?;
                (Some(standardiser), scaled)
            }
        };
        let frechet = if wants(&[MetricKind::Frechet]) {
            let side = Statistics::of(&features).and_then(|statistics| FrechetSide::new(&statistics));
            Some(side.map_err(EvaluationError::Features)?)
        } else {
            None
        };
        let points = Points::new(&features).map_err(EvaluationError::Features)?;
        let precision = if wants(&[MetricKind::Precision]) { config.neighbours } else { 0 };
        let density = wants(&[MetricKind::Density, MetricKind::Coverage]);
        let neighbours = precision.max(if density { config.density_neighbours } else { 0 });
        let manifold = match neighbours {
            0 => None,
            k => Some(Manifold::new(points.clone(), k).map_err(EvaluationError::Features)?),
        };
        Ok(Self { standardiser, frechet, points, manifold })
    }
}
