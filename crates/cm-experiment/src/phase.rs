//! One piece of training inside a run: batches, journal, checkpoints, stopping, going on.

use crate::checkpoints::{Checkpoint, Checkpoints};
use crate::continuation;
use crate::error::{Halt, RunError};
use crate::journal::Journal;
use crate::loss_bins::LossBins;
use crate::processes;
use crate::products;
use crate::run_dir::RunDir;
use crate::seed::NamedSeeds;
use cm_datasets::{Dataset, DatasetError, Loader, Prefetch};
use cm_diffusion::SigmaRange;
use cm_host::{FileError, Progress, StopFlag};
use cm_study::LoggingConfig;
use cm_tensor::{CheckpointError, TensorFile};
use cm_training::{Batch, Control, StepReport, TrainConfig, TrainError, TrainStep, train};
use std::time::Instant;
use std::{mem, thread};

/// What does not change while it trains.
pub(crate) struct Phase<'a> {
    /// What people call it: `l1/seed-0: student`.
    pub(crate) name: String,
    /// First part of its curves' names: `student`.
    pub(crate) prefix: &'static str,
    pub(crate) folder: &'a RunDir,
    pub(crate) config: &'a TrainConfig,
    pub(crate) logging: &'a LoggingConfig,
    pub(crate) seeds: NamedSeeds,
    /// The noise levels over which losses are told apart.
    pub(crate) range: SigmaRange,
    pub(crate) data: &'a dyn Dataset,
    pub(crate) stop: &'a StopFlag,
}

impl Phase<'_> {
    /// Trains what nobody looks at on the way, as [`train`](Self::train).
    pub(crate) fn train_unseen<S: TrainStep>(
        &self,
        method: &mut S,
        progress: &mut dyn Progress,
    ) -> Result<(), Halt> {
        self.train(method, progress, |_, _| false, |_, _, _, _| Ok(()))
    }

    /// Trains `method` from its last checkpoint, or from the start, to the end. `look` sees the method after the steps
    /// for which it is `due`, and may draw and record. Asked to stop, it leaves a checkpoint. A look takes long and may be
    /// broken off, so it has a checkpoint before it, from which it is done again.
    ///
    /// The journal is brought to the disk before the checkpoint that stands for it, so after a crash it holds at
    /// least what the checkpoint has seen, and what is beyond is cut off when the run goes on. If it holds less, or
    /// anything else, it was changed, and that is an error.
    pub(crate) fn train<S: TrainStep>(
        &self,
        method: &mut S,
        progress: &mut dyn Progress,
        due: impl Fn(&S, Moment) -> bool,
        mut look: impl FnMut(&S, Moment, &mut Journal, &mut dyn Progress) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let steps = self.config.steps();
        let batch = self.config.batch as u64;
        let mut losses = LossBins::new(self.range);
        let mut checkpoints = Checkpoints::new(&self.folder.checkpoints(), self.folder.identity());
        let mut done = checkpoints.read()?;
        products::take_up(self.folder.path(), &self.name, progress)?;
        if let Some(done) = &mut done {
            // As large as the method, which has it from here.
            let content = mem::take(&mut done.content);
            let damaged = |error: CheckpointError| FileError::damaged(&done.path, error);
            method.load(&content).map_err(damaged)?;
            let text = content.metadata.get(LOSSES).and_then(|text| losses.restore(text));
            text.ok_or_else(|| damaged(CheckpointError::Entry(LOSSES.into())))?;
            done.note.iter().for_each(|note| progress.note(&format!("{}: {note}", self.name)));
        }
        let seen = done.as_ref().map(Checkpoint::seen);
        let first_step = seen.map_or(0, |seen| seen.step);
        let broken_off = seen.is_some_and(|seen| seen.looking);
        if let Some(seen) = seen.filter(|_| first_step >= steps && !broken_off) {
            return Ok(Journal::check(self.folder.path(), seen.seals).map_err(RunError::from)?);
        }
        self.folder.begin()?;
        let journal = Journal::open(self.folder.path(), seen)?;
        if done.is_some() {
            continuation::record(self.folder, first_step)?;
        }
        let mut loader = Loader::new(self.data, self.config.batch, self.seeds.shuffle)
            .map_err(|error| self.failed(error))?;
        if self.config.horizontal_flips {
            loader = loader.with_horizontal_flips();
        }
        progress.phase(&self.name, steps * batch);
        if first_step > 0 {
            progress.advance(first_step * batch, None);
            progress.note(&format!("{}: going on after step {first_step} of {steps}", self.name));
        }
        let mut since = (Instant::now(), first_step * batch);
        let seeds = (self.seeds.noise, self.seeds.dropout);
        let mut records = Records { phase: self, checkpoints, journal, losses };
        let mut end_step = |method: &S,
                            moment: Moment,
                            records: &mut Records,
                            progress: &mut dyn Progress| {
            if due(method, moment) {
                self.stop.while_stoppable(|| look(method, moment, &mut records.journal, progress))?;
            }
            // All processes stop after the same step.
            let stop = processes::any(self.stop.is_requested()).map_err(|error| self.failed(error))?;
            if stop || moment.step == steps || is_due(moment.images, batch, self.logging.checkpoint_images) {
                records.keep(method, false)?;
            }
            Ok::<_, PhaseError>(if stop { Control::Stop } else { Control::Continue })
        };
        let training = || {
            if broken_off {
                let moment = Moment { step: first_step, images: first_step * batch };
                let control = end_step(method, moment, &mut records, progress)?;
                if control == Control::Stop {
                    return Ok(control);
                }
            }
            let after = |report: &StepReport, method: &S| {
                progress.advance(batch, Some(report.loss));
                records.losses.add(&report.losses);
                if report.step == steps || is_due(report.images, batch, self.logging.record_images) {
                    records.record(report)?;
                    let (start, images) = mem::replace(&mut since, (Instant::now(), report.images));
                    let rate = (report.images - images) as f64 / start.elapsed().as_secs_f64();
                    records.journal.timing(report.step, "images_per_second", rate).map_err(RunError::from)?;
                }
                let moment = Moment { step: report.step, images: report.images };
                if due(method, moment) {
                    records.keep(method, true)?;
                }
                end_step(method, moment, &mut records, progress)
            };
            thread::scope(|scope| {
                let batches = Prefetch::start(scope, loader, first_step..steps);
                let batch = |step| {
                    let (images, labels) = batches.batch_at(step)?;
                    Ok(Batch { images, labels })
                };
                train(method, self.config, first_step, seeds, batch, after)
            })
        };
        let end = (self.stop.while_finishing(training)).map_err(|error| match error {
            PhaseError::Halt(halt) => halt,
            PhaseError::Train(error) => self.failed(error).into(),
            PhaseError::Data(error) => self.failed(error).into(),
        })?;
        progress.finish_phase();
        match end {
            Control::Continue => Ok(()),
            Control::Stop => Err(Halt::Stopped),
        }
    }

    fn failed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RunError {
        RunError::failed(format!("training {}", self.name), error)
    }
}

/// What a training writes down.
struct Records<'a> {
    phase: &'a Phase<'a>,
    checkpoints: Checkpoints,
    journal: Journal,
    losses: LossBins,
}

impl Records<'_> {
    /// A step's numbers, with the losses by noise level since the last that was recorded.
    fn record(&mut self, report: &StepReport) -> Result<(), RunError> {
        let name = |part: &str| format!("{}/{part}", self.phase.prefix);
        let mut values = vec![
            (name("loss"), report.loss),
            (name("gradient_norm"), report.gradient_norm),
            (name("learning_rate"), f64::from(report.learning_rate)),
        ];
        values.extend(report.scalars.iter().map(|&(part, value)| (name(part), value)));
        values.extend(self.losses.take().into_iter().map(|(part, value)| (name(&part), value)));
        let values: Vec<(&str, f64)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        Ok(self.journal.record(report.step, report.images, &values)?)
    }

    /// A checkpoint; `looking`: the method is looked at next.
    fn keep<S: TrainStep>(&mut self, method: &S, looking: bool) -> Result<(), RunError> {
        self.journal.sync()?;
        products::keep(self.phase.folder.path())?;
        let content = content(method, &self.losses);
        let write = if looking { Checkpoints::write_before_look } else { Checkpoints::write };
        write(&mut self.checkpoints, content, &self.journal.seals())
    }
}

/// A step that was taken, and the images seen with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) step: u64,
    pub(crate) images: u64,
}

/// Whether a multiple of `every` lies in the `batch` images that end with image `images`.
pub(crate) fn is_due(images: u64, batch: u64, every: u64) -> bool {
    images / every > (images - batch) / every
}

enum PhaseError {
    Halt(Halt),
    Train(TrainError),
    Data(DatasetError),
}

impl From<Halt> for PhaseError {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<RunError> for PhaseError {
    fn from(error: RunError) -> Self {
        Self::Halt(error.into())
    }
}

impl From<TrainError> for PhaseError {
    fn from(error: TrainError) -> Self {
        Self::Train(error)
    }
}

impl From<DatasetError> for PhaseError {
    fn from(error: DatasetError) -> Self {
        Self::Data(error)
    }
}

/// The key of a checkpoint's [`LossBins`].
const LOSSES: &str = "loss_by_level";

fn content<S: TrainStep>(method: &S, losses: &LossBins) -> TensorFile {
    let mut file = TensorFile::default();
    method.save(&mut file);
    file.metadata.insert(LOSSES.into(), losses.to_text());
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_due_once_for_each_interval() {
        let due: Vec<u64> =
            (1..=10).map(|step| step * 64).filter(|&images| is_due(images, 64, 100)).collect();
        assert_eq!(due, [128, 256, 320, 448, 512, 640]);
        assert!((1..=5).all(|step| is_due(step * 64, 64, 1)));
    }
}
