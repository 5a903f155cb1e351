//! Samples scored by a further network of features, beside the study's own judge.

use super::{EvaluationError, SampleScorer, batches, check_finite};
use crate::comparison::{SetCollector, SetMetric, SetPart, SetReference, SetScore, SetSummary};
use crate::features::{ActivationExtractor, InceptionResize};
use crate::metric::MetricConfig;
use crate::report::Score;
use cm_image::ImageBatch;
use std::ops::ControlFlow;

/// What samples are compared with by the features of an Inception network, prepared once for any number of them.
pub struct NetworkReference {
    extractor: Box<dyn ActivationExtractor>,
    sets: SetReference,
    metrics: Vec<SetMetric>,
    published: bool,
    resize: InceptionResize,
    split: usize,
    batch: usize,
}

impl NetworkReference {
    /// Prepares to compare by `metrics` with a set that `reference` tells of, whose features are `extractor`'s.
    /// `published` says that these are the published weights, without which nothing is called FID, after `resize`;
    /// `split` images make a split of the class score; `batch` images at a time go through the network.
    ///
    /// # Errors
    /// [`EvaluationError::Comparison`] if something that a metric needs of the reference is not known.
    ///
    /// # Panics
    /// If `split` or `batch` is 0.
    pub fn new(
        extractor: Box<dyn ActivationExtractor>,
        metrics: &[SetMetric],
        reference: SetSummary,
        config: &MetricConfig,
        (published, resize): (bool, InceptionResize),
        (split, batch): (usize, usize),
    ) -> Result<Self, EvaluationError> {
        assert!(split > 0 && batch > 0, "splits and batches have images");
        let sets = SetReference::new(metrics, reference, config)?;
        Ok(Self { extractor, sets, metrics: metrics.to_vec(), published, resize, split, batch })
    }
}

impl SampleScorer for NetworkReference {
    fn network(&self) -> &'static str {
        "the Inception network"
    }

    fn score(
        &self,
        images: &ImageBatch,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<Score>, EvaluationError> {
        check_finite(images, "samples")?;
        let parts: Vec<SetPart> = self.metrics.iter().map(|metric| metric.needs().0).collect();
        let mut collector = SetCollector::new(self.extractor.as_ref(), &parts, self.split);
        for range in batches(images.count(), self.batch) {
            collector.push(&images.slice(range))?;
            if progress(collector.count(), images.count()).is_break() {
                return Err(EvaluationError::Stopped);
            }
        }
        let scores = self.sets.scores(collector.finish()?)?;
        let named = |SetScore { metric, value, spread }: SetScore| {
            let name = metric.by_inception(self.published, self.resize);
            Score::new(&name, images.count(), value, spread)
        };
        Ok(scores.into_iter().map(named).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::compare;
    use crate::features::NetworkJudge;
    use crate::metric::FeatureScaling;
    use cm_image::ImageShape;

    fn images(count: usize, seed: u64) -> ImageBatch {
        let mut random = cm_image::random::Random::new(seed);
        ImageBatch::from_fn(ImageShape::new(8, 8, 1), count, |_, image| {
            image.fill_with(|| 2.0 * random.uniform() - 1.0);
        })
    }

    #[test]
    fn scores_are_those_of_two_sets_and_a_stop_is_seen_in_every_batch() {
        let judge = NetworkJudge::digits().unwrap();
        let metrics = [SetMetric::Frechet, SetMetric::ClassScore, SetMetric::Recall];
        let config = MetricConfig { scaling: FeatureScaling::Raw, ..Default::default() };
        let summary = |images: &ImageBatch| {
            let parts = [SetPart::Rows, SetPart::ClassScore];
            let mut collector = SetCollector::new(&judge, &parts, 20);
            collector.push(images).unwrap();
            collector.finish().unwrap()
        };
        let (samples, data) = (images(50, 1), images(70, 2));
        let named = (false, InceptionResize::Tf1Bilinear);
        let reference = {
            let judge = Box::new(NetworkJudge::digits().unwrap());
            NetworkReference::new(judge, &metrics, summary(&data), &config, named, (20, 7)).unwrap()
        };
        let mut seen = Vec::new();
        let scores = reference
            .score(&samples, &mut |done, of| {
                seen.push((done, of));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!((seen.len(), seen.last()), (8, Some(&(50, 50))));
        let by_hand = compare(&metrics, summary(&samples), summary(&data), &config).unwrap();
        for (ours, by_hand) in scores.iter().zip(&by_hand) {
            // Batches of another size are products of another order of sums.
            assert!((ours.value - by_hand.value).abs() <= 1e-8 * by_hand.value, "{ours:?} {by_hand:?}");
        }
        assert_eq!(scores[0].metric, "other-inception-frechet-50");
        let stopped = reference.score(&samples, &mut |_, _| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(EvaluationError::Stopped)), "{stopped:?}");
    }
}
