//! The networks by which samples are scored beside the study's judge.

use crate::assemble::Data;
use crate::error::{Halt, RunError};
use crate::inception_reference::{Inception, Place};
use cm_evaluator::{Diversity, EvaluationError, MetricConfig, SampleScorer, Score};
use cm_host::{Progress, StopFlag};
use cm_image::ImageBatch;
use cm_network::feature_net::load_lpips;
use cm_study::{ExperimentConfig, FeatureNetworkConfig, Plan, to_ron};
use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Pairs that LPIPS compares at once: VGG's first layers hold 26 MB of each at 224 x 224 pixels.
const PAIRS: usize = 16;

/// The networks of an evaluation, with what samples are compared with.
pub(crate) struct Networks {
    configs: Vec<FeatureNetworkConfig>,
    metric: MetricConfig,
    dataset: String,
    /// Made when samples are scored for the first time: training images may have to pass through.
    scorers: OnceCell<Vec<Box<dyn SampleScorer>>>,
    /// Where what the training images gave is kept.
    pub(crate) folder: Option<PathBuf>,
}

impl Networks {
    pub(crate) fn new(experiment: &ExperimentConfig) -> Self {
        Self {
            configs: experiment.evaluation.networks.clone(),
            metric: experiment.evaluation.metric.clone(),
            dataset: to_ron(&experiment.dataset),
            scorers: OnceCell::new(),
            folder: None,
        }
    }

    /// Scores of images as they are, by every network; `what` they are, for people.
    pub(crate) fn scores(
        &self,
        data: &Data,
        images: &ImageBatch,
        what: &str,
        stop: &StopFlag,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Score>, Halt> {
        let scorers = match self.scorers.get() {
            Some(scorers) => scorers,
            None => {
                let made = self.configs.iter().map(|config| self.scorer(config, data, stop, progress));
                let made = made.collect::<Result<_, _>>()?;
                self.scorers.get_or_init(|| made)
            }
        };
        let mut scores = Vec::new();
        for scorer in scorers {
            let network = scorer.network();
            progress.phase(&format!("{what}: through {network}"), images.count() as u64);
            let mut before = 0;
            let scored = scorer.score(images, &mut |done, _| {
                progress.advance((done - before) as u64, None);
                before = done;
                if stop.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            scores.extend(scored.map_err(|error| match error {
                EvaluationError::Stopped => Halt::Stopped,
                error => RunError::failed(format!("scores of {what} by {network}"), error).into(),
            })?);
            progress.finish_phase();
        }
        Ok(scores)
    }

    fn scorer(
        &self,
        config: &FeatureNetworkConfig,
        data: &Data,
        stop: &StopFlag,
        progress: &mut dyn Progress,
    ) -> Result<Box<dyn SampleScorer>, Halt> {
        Ok(match config {
            FeatureNetworkConfig::Inception(config) => {
                let place = Place { dataset: &self.dataset, folder: self.folder.as_deref() };
                Box::new(Inception::open(config)?.reference(&self.metric, &place, data, stop, progress)?)
            }
            FeatureNetworkConfig::Lpips(config) => {
                let lpips = load_lpips(config.network, &config.trunk_weights, config.heads.as_deref());
                let (lpips, _) = lpips.map_err(RunError::from)?;
                Box::new(Diversity::new(lpips, self.metric.seed, PAIRS))
            }
        })
    }
}

/// That the networks of a plan, and their files of statistics, can be had: before anything is trained.
///
/// # Errors
/// [`RunError`] with the first that cannot.
pub(crate) fn check(plan: &Plan) -> Result<(), RunError> {
    let mut seen: Vec<&FeatureNetworkConfig> = Vec::new();
    for config in plan.arms.iter().flat_map(|arm| &arm.experiment.evaluation.networks) {
        if seen.contains(&config) {
            continue;
        }
        match config {
            FeatureNetworkConfig::Inception(inception) => drop(Inception::open(inception)?),
            FeatureNetworkConfig::Lpips(lpips) => {
                drop(load_lpips(lpips.network, &lpips.trunk_weights, lpips.heads.as_deref())?);
            }
        }
        seen.push(config);
    }
    Ok(())
}
