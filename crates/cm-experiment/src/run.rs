//! One run of a study: what its parts share. Deliberately absent: the parts (`teacher.rs`, `student.rs`,
//! `mid_training.rs`) and their order (`execute.rs`).

use crate::context::Context;
use crate::error::{Halt, RunError};
use crate::phase::{Moment, Phase, is_due};
use crate::run_dir::RunDir;
use crate::seed::NamedSeeds;
use crate::study_dir::StudyDir;
use crate::table::ReportRow;
use cm_diffusion::{Labels, Sampler};
use cm_evaluator::{EvaluationError, Reference, Score, draw_delivered, image_seeds};
use cm_host::{Progress, StopFlag};
use cm_image::{ImageBatch, picture};
use cm_study::{ExperimentConfig, PlannedRun, Problems};
use cm_tensor::devices;
use cm_training::TrainConfig;
use std::ops::ControlFlow;

/// One run and where it works: its pieces, each of which goes on from its last checkpoint.
pub struct Run<'a> {
    pub(crate) dir: &'a StudyDir,
    pub(crate) planned: &'a PlannedRun,
    pub(crate) stop: &'a StopFlag,
}

impl<'a> Run<'a> {
    /// A run of the study in `dir`. From now on this process computes networks as it wants them computed.
    ///
    /// # Errors
    /// [`RunError::Request`] if this process cannot.
    pub fn new(dir: &'a StudyDir, planned: &'a PlannedRun, stop: &'a StopFlag) -> Result<Self, RunError> {
        if let Err(error) = planned.experiment.precision.set() {
            let mut problems = Problems::default();
            problems.add("precision", error.to_string(), "F32");
            problems.check()?;
        }
        cm_host::computes_on(devices::described());
        Ok(Self { dir, planned, stop })
    }
}

impl Run<'_> {
    pub(crate) fn experiment(&self) -> &ExperimentConfig {
        &self.planned.experiment
    }

    pub(crate) fn failed<E>(&self, what: &str) -> impl FnOnce(E) -> RunError
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let what = format!("{what} of {}", self.planned.name());
        |error| RunError::failed(what, error)
    }

    /// A training that belongs to this run: its name and the first part of its curves' names, where it is kept, and what
    /// it draws from.
    pub(crate) fn phase<'a>(
        &'a self,
        context: &'a Context,
        folder: &'a RunDir,
        (name, prefix): (String, &'static str),
        config: &'a TrainConfig,
        seeds: NamedSeeds,
    ) -> Phase<'a> {
        let (logging, data) = (&self.experiment().logging, context.data.train.as_ref());
        Phase { name, prefix, folder, config, logging, seeds, range: context.range, data, stop: self.stop }
    }

    /// Scores of so many samples by a sampler, by the study's judge and by its networks of features; `look` sees the
    /// samples.
    pub(crate) fn score(
        &self,
        context: &Context,
        reference: &Reference<'_>,
        (sampler, samples, seed): (&dyn Sampler, usize, u64),
        what: &str,
        progress: &mut dyn Progress,
        look: &dyn Fn(&ImageBatch) -> Result<(), RunError>,
    ) -> Result<Vec<Score>, Halt> {
        progress.phase(&format!("{what}: samples"), samples as u64);
        let mut before = 0;
        let images = draw_delivered(reference, sampler, samples, seed, &mut |drawn, _| {
            progress.advance((drawn - before) as u64, None);
            before = drawn;
            if self.stop.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .map_err(|error| match error {
            EvaluationError::Stopped => Halt::Stopped,
            error => self.failed("the evaluation")(error).into(),
        })?;
        progress.finish_phase();
        let seeds = image_seeds(seed, samples);
        let mut scores = reference.score(&images, Some(&seeds)).map_err(self.failed("the evaluation"))?;
        scores.extend(context.networks.scores(&context.data, &images, what, self.stop, progress)?);
        look(&images)?;
        Ok(scores)
    }

    pub(crate) fn rows(
        &self,
        scores: &[Score],
        model: &str,
        sampler: &str,
        nfe: usize,
        seed: u64,
    ) -> Vec<ReportRow> {
        let row = |score: &Score| ReportRow {
            arm: self.planned.arm.clone(),
            seed,
            model: model.into(),
            sampler: sampler.into(),
            nfe,
            metric: score.metric.clone(),
            value: score.value,
            samples: score.samples,
        };
        scores.iter().map(row).collect()
    }

    /// Whether a picture is drawn after a step: at the end always.
    pub(crate) fn picture_is_due(&self, moment: Moment, config: &TrainConfig) -> bool {
        let every = self.experiment().logging.picture_images;
        moment.step == config.steps()
            || every.is_some_and(|every| is_due(moment.images, config.batch as u64, every))
    }

    /// A contact sheet of images, in the order of their classes; a scatter plot of points in the plane; nothing for
    /// what cannot be drawn.
    pub(crate) fn picture(
        &self,
        sampler: &dyn Sampler,
        labels: Labels,
        seeds: NamedSeeds,
    ) -> Result<Option<ImageBatch>, RunError> {
        let Some(count) = picture::wanted(sampler.shape(), self.experiment().logging.grid) else {
            return Ok(None);
        };
        let mut seeds = cm_evaluator::image_seeds(seeds.sample, count);
        seeds.sort_by_key(|&seed| labels.of(&[seed]).pop());
        let mut images = sampler.sample(&seeds).map_err(self.failed("the picture"))?;
        if let Some(rule) = self.experiment().quantisation() {
            images = rule.delivered(images);
        }
        picture::draw(&images).map(Some).map_err(self.failed("the picture"))
    }
}
