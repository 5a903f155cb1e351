//! A set of images summarised a few at a time.

use super::{ComparisonError, SetPart, SetSummary};
use crate::features::{ActivationExtractor, Activations, FeatureMatrix};
use crate::metric::class_score::ClassScore;
use crate::metric::classification::Classification;
use crate::metric::{MetricError, Points};
use crate::statistics::RunningStatistics;
use cm_image::ImageBatch;
use std::sync::Arc;

/// Summarises a set of images that come a few at a time. Its memory does not grow with the set, but for the rows if they
/// are kept.
pub struct SetCollector<'a> {
    extractor: &'a dyn ActivationExtractor,
    statistics: RunningStatistics,
    spatial: Option<RunningStatistics>,
    class_score: Option<ClassScore>,
    classes: Option<Classification>,
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
        let classes = |part| extractor.classes().filter(|_| wants(part));
        let empty = FeatureMatrix::new(dim, Vec::new()).ok().filter(|_| wants(SetPart::Rows));
        Self {
            extractor,
            statistics: RunningStatistics::new(dim),
            spatial: spatial.map(RunningStatistics::new),
            class_score: classes(SetPart::ClassScore).map(|classes| ClassScore::new(classes, split)),
            classes: classes(SetPart::Classes).map(Classification::new),
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
    /// [`ComparisonError`] if the network fails, gives what is no number, or not one row for each image.
    pub fn push(&mut self, images: &ImageBatch) -> Result<(), ComparisonError> {
        let activations = self.extractor.activations(images)?;
        let (given, expected) = (activations.features.rows(), images.count());
        if given != expected {
            return Err(MetricError::Rows { given, expected }.into());
        }
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
        if let (Some(classes), Some(probabilities)) = (&mut self.classes, &activations.probabilities) {
            classes.push(probabilities)?;
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
            classes: self.classes,
        })
    }
}
