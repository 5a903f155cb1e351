//! A study made shorter by a factor: a rehearsal of every step of the way, whose numbers say nothing of the method.
//!
//! Everything that is counted in images becomes so many times less: trainings, warm-ups, half-lives, intervals, samples,
//! images on pictures, and the images that pass through networks of features. What a metric asks for at least is kept, and
//! a step for each part of a progressive distillation; there are two pictures at most, and the residual is worked out once.
//! Batches, networks and noise levels stay.

use crate::experiment_config::ExperimentConfig;
use crate::feature_network::{FeatureNetworkConfig, ReferenceConfig, TrainingReference};
use crate::guide_config::GuideConfig;
use cm_consistency::{CurriculumConfig, DistanceConfig};
use cm_datasets::Split;
use cm_training::{Duration, EmaConfig, TrainConfig};

/// Images on a picture of a rehearsal, where the study has as many.
const LEAST_GRID: usize = 4;

impl ExperimentConfig {
    /// The experiment, `by` times shorter; itself for 1.
    pub(crate) fn shortened(&self, by: u64) -> Self {
        let mut short = self.clone();
        if by <= 1 {
            return short;
        }
        let images = |count: &mut u64| *count = (*count / by).max(1);
        if let crate::TeacherSource::Trained(teacher) = &mut short.teacher {
            train(&mut teacher.train, by);
        }
        if let GuideConfig::Weaker(weaker) = &mut short.guide {
            images(&mut weaker.total_images);
        }
        if let Some(mid) = &mut short.mid_training {
            train(&mut mid.train, by);
            mid.trajectories = (mid.trajectories as u64 / by).max(1) as usize;
            distance(&mut mid.distance, by);
        }
        if let Some(stage) = &mut short.first_stage {
            train(&mut stage.train, by);
            distance(&mut stage.distance, by);
        }
        train(&mut short.consistency.train, by);
        if let CurriculumConfig::Halving(halving) = &short.consistency.curriculum {
            let (train, long) = (&mut short.consistency.train, self.consistency.train.total_images);
            train.total_images = train.total_images.max(halving.parts() * train.batch as u64).min(long);
        }
        distance(&mut short.consistency.distance, by);
        let logging = &mut short.logging;
        images(&mut logging.record_images);
        images(&mut logging.checkpoint_images);
        // As many looks as at the whole would take longer than the training that is left.
        let total = short.consistency.train.total_images;
        let looks = |every: &mut u64, least: u64| *every = (*every / by).max(least).max(1);
        logging.picture_images.iter_mut().for_each(|every| looks(every, total / 2));
        logging.residual_images.iter_mut().for_each(|every| looks(every, total));
        logging.grid = (logging.grid / by as usize).max(LEAST_GRID).min(logging.grid);
        let data = self.dataset.outline(Split::Train).map_or(0, |data| data.len);
        let evaluation = &mut short.evaluation;
        evaluation.every_images.iter_mut().for_each(images);
        let of_networks = evaluation.networks.iter().map(|network| network.min_images(&evaluation.metric));
        let of_judge = evaluation.metrics.iter().map(|metric| metric.min_images(&evaluation.metric));
        // A covariance takes two.
        let least = of_networks.chain(of_judge).max().unwrap_or(0).max(2);
        // Never more than there were.
        let fewer = |count: usize| (count as u64 / by).max(least as u64).min(count as u64) as usize;
        evaluation.samples = fewer(evaluation.samples);
        evaluation.every_samples = evaluation.every_samples.map(fewer);
        for network in &mut evaluation.networks {
            let FeatureNetworkConfig::Inception(config) = network else { continue };
            config.rows = fewer(config.rows);
            if let ReferenceConfig::Training(TrainingReference { most }) = &mut config.reference {
                *most = Some(fewer(most.unwrap_or(data).min(data)));
            }
        }
        short
    }
}

fn train(config: &mut TrainConfig, by: u64) {
    config.total_images = (config.total_images / by).max(1);
    if let Duration::Images(warmup) = &mut config.learning_rate.warmup {
        *warmup /= by;
    }
    for ema in &mut config.ema {
        if let EmaConfig::HalfLife(Duration::Images(half_life)) = ema {
            *half_life = (*half_life / by).max(1);
        }
    }
}

fn distance(config: &mut DistanceConfig, by: u64) {
    if let DistanceConfig::Features(features) = config {
        features.train_images = (features.train_images / by).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment_config::LoggingConfig;
    use crate::feature_network::InceptionConfig;
    use cm_consistency::HalvingConfig;
    use cm_evaluator::MetricKind;

    #[test]
    fn progressive_distillation_was_too_short_for_its_parts() {
        let halving = HalvingConfig { start: 4096, end: 1 };
        let mut experiment = ExperimentConfig::default();
        experiment.consistency.curriculum = CurriculumConfig::Halving(halving);
        let (parts, batch) = (halving.parts(), experiment.consistency.train.batch as u64);
        assert_eq!(experiment.shortened(1_000_000).consistency.train.total_images, parts * batch);
        assert_eq!(experiment.shortened(10).consistency.train.total_images, 40_960_000);
        // Never more than there were.
        experiment.consistency.train.total_images = batch;
        assert_eq!(experiment.shortened(10).consistency.train.total_images, batch);
    }

    #[test]
    fn what_counts_images_is_shorter_and_metrics_have_what_they_need() {
        let mut experiment = ExperimentConfig::default();
        assert_eq!(experiment.shortened(1), experiment);
        experiment.evaluation.metrics = vec![MetricKind::Frechet, MetricKind::Kid];
        experiment.evaluation.networks = vec![FeatureNetworkConfig::Inception(InceptionConfig::default())];
        experiment.consistency.train.ema = vec![EmaConfig::HalfLife(Duration::Images(500_000))];
        let short = experiment.shortened(1000);
        assert_eq!(short.consistency.train.total_images, 409_600);
        assert_eq!(short.consistency.train.batch, experiment.consistency.train.batch);
        assert_eq!(short.consistency.train.ema, [EmaConfig::HalfLife(Duration::Images(500))]);
        assert_eq!(short.logging.record_images, 2);
        let LoggingConfig { picture_images, residual_images, grid, .. } = short.logging;
        assert_eq!((picture_images, residual_images, grid), (None, Some(409_600), 4));
        // Ten groups of two for the kernel distance, more than a thousandth of the 1,500 digits.
        assert_eq!(short.evaluation.samples, 50);
        let network = short.evaluation.networks[0].inception().unwrap();
        assert_eq!(network.rows, 20);
        assert_eq!(network.reference, ReferenceConfig::Training(TrainingReference { most: Some(20) }));
    }
}
