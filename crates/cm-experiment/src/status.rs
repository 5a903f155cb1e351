//! Where each training of a study stands, read from its folder while somebody works there or nobody does.

use crate::error::RunError;
use crate::model_file::MODEL_FILE;
use crate::sealed::SealedFolder;
use crate::study_dir::StudyDir;
use crate::table::align;
use cm_host::FileError;
use cm_study::{ArmCost, Plan, PlannedRun, TeacherKey, TrainingCost, duration};
use serde::Deserialize;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainingState {
    /// Nothing of it is there.
    Pending,
    /// It is trained, or was and goes on from a checkpoint.
    Begun,
    /// It has a model; a run's is yet to be scored.
    Trained,
    /// All of it is there.
    Finished,
}

impl TrainingState {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Begun => "begun",
            Self::Trained => "trained",
            Self::Finished => "finished",
        }
    }
}

/// A training of a study, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingStatus {
    /// `cd/seed-0`, or `teachers/HASH`.
    pub name: String,
    /// Where it stands.
    pub state: TrainingState,
    /// Steps that were written down, of how many.
    pub steps: (u64, u64),
    /// Images a second when it was last written down.
    pub rate: Option<f64>,
    /// Operations for an image and in all, with what goes before (mid-training, first stage) where it is a run's.
    operations: (f64, f64),
}

/// Where a study stands.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyStatus {
    /// Whether a process works on it.
    pub is_worked_on: bool,
    /// Its trainings, in the order in which they are done.
    pub trainings: Vec<TrainingStatus>,
}

/// Where the study in a folder stands; nothing is touched.
///
/// # Errors
/// As [`StudyDir::plan_of`], and [`FileError`] if a part of it cannot be read.
pub fn status(study: &Path) -> Result<StudyStatus, RunError> {
    let plan = StudyDir::plan_of(study)?;
    let is_worked_on = match File::open(study.join(".lock")) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => return Err(FileError::Io { path: study.join(".lock"), source }.into()),
    };
    Ok(StudyStatus { is_worked_on, trainings: trainings(study, &plan)? })
}

fn trainings(study: &Path, plan: &Plan) -> Result<Vec<TrainingStatus>, FileError> {
    let costs = plan.cost();
    let mut all: Vec<TrainingStatus> = Vec::new();
    for run in plan.runs() {
        let Some(cost) = costs.iter().find(|cost| cost.arm == run.arm) else { continue };
        for (key, cost) in TeacherKey::all_of(&run.experiment).iter().zip(cost.teachers()) {
            let name = format!("teachers/{}", key.hash);
            if all.iter().all(|training| training.name != name) {
                let state = |folder: &SealedFolder| folder.has(MODEL_FILE).then_some(TrainingState::Finished);
                all.push(of_training(study, name, (cost, cost.flops), state)?);
            }
        }
        all.push(of_run(study, &run, cost)?);
    }
    Ok(all)
}

fn of_run(study: &Path, run: &PlannedRun, cost: &ArmCost) -> Result<TrainingStatus, FileError> {
    let state = |folder: &SealedFolder| match (folder.has("scores.csv"), folder.has(MODEL_FILE)) {
        (true, _) => Some(TrainingState::Finished),
        (false, true) => Some(TrainingState::Trained),
        (false, false) => None,
    };
    of_training(study, run.name(), (cost.student, cost.student_operations()), state)
}

fn of_training(
    study: &Path,
    name: String,
    (cost, operations): (TrainingCost, f64),
    ended: impl Fn(&SealedFolder) -> Option<TrainingState>,
) -> Result<TrainingStatus, FileError> {
    let path = study.join(&name);
    let folder = SealedFolder::open(&path)?;
    let (written, rate) = last_timing(&path)?;
    let (state, step) = match ended(&folder) {
        Some(state) => (state, cost.steps),
        None if path.join("plan.ron").exists() => (TrainingState::Begun, written),
        None => (TrainingState::Pending, 0),
    };
    let of_image = cost.flops / cost.images.max(1) as f64;
    Ok(TrainingStatus { name, state, steps: (step, cost.steps), rate, operations: (of_image, operations) })
}

#[derive(Deserialize)]
struct Timing {
    step: u64,
    what: String,
    seconds: f64,
}

/// The last step that was written down, and images a second then. What is being written is left out.
fn last_timing(folder: &Path) -> Result<(u64, Option<f64>), FileError> {
    let path = folder.join("timing.jsonl");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, None)),
        Err(source) => return Err(FileError::Io { path, source }),
    };
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Timing>(line).ok());
    let last = lines.into_iter().find(|timing| timing.what == "images_per_second");
    Ok(last.map_or((0, None), |timing| (timing.step, Some(timing.seconds))))
}

impl TrainingStatus {
    /// The share of its steps that are done.
    pub fn share(&self) -> f64 {
        let (step, steps) = self.steps;
        step as f64 / steps.max(1) as f64
    }

    /// Operations that are left, scores aside.
    fn left(&self) -> f64 {
        (1.0 - self.share()) * self.operations.1
    }

    /// Seconds to its end at the last rate, scores aside; nothing where no rate is known or nothing is left.
    pub fn seconds_left(&self) -> Option<f64> {
        let speed = self.rate.filter(|rate| *rate > 0.0)? * self.operations.0;
        (self.state == TrainingState::Begun && speed > 0.0).then(|| self.left() / speed)
    }
}

impl StudyStatus {
    /// The share of all training that is done, by operations.
    pub fn share(&self) -> f64 {
        let of = |pick: fn(&TrainingStatus) -> f64| self.trainings.iter().map(pick).sum::<f64>();
        1.0 - of(TrainingStatus::left) / of(|training| training.operations.1).max(f64::MIN_POSITIVE)
    }

    /// Seconds to the end of all trainings at the speed of the last one that was begun, scores aside.
    pub fn seconds_left(&self) -> Option<f64> {
        let speed = |training: &TrainingStatus| Some(training.rate? * training.operations.0);
        let speed = self.trainings.iter().rev().find_map(speed).filter(|speed| *speed > 0.0)?;
        let left: f64 = self.trainings.iter().map(TrainingStatus::left).sum();
        (left > 0.0).then(|| left / speed)
    }

    /// A table of the trainings, and a line on the whole.
    pub fn table(&self) -> String {
        let header = ["training", "state", "left", "done", "step", "of"].map(str::to_owned).to_vec();
        let rows = self.trainings.iter().map(|training| {
            let (step, steps) = training.steps;
            let left = training.seconds_left().map_or_else(|| "-".to_owned(), duration);
            let share = format!("{:.0}%", (100.0 * training.share()).floor());
            vec![
                training.name.clone(),
                training.state.name().to_owned(),
                left,
                share,
                step.to_string(),
                steps.to_string(),
            ]
        });
        let mut text = align(&std::iter::once(header).chain(rows).collect::<Vec<_>>(), 2);
        let ended =
            self.trainings.iter().filter(|training| training.state == TrainingState::Finished).count();
        let percent = (100.0 * self.share()).floor();
        text += &format!(
            "\n{ended} of {} finished, {percent:.0}% of the arithmetic of training",
            self.trainings.len()
        );
        if let Some(left) = self.seconds_left() {
            text += &format!("; about {} left for the rest at the last speed, scores aside", duration(left));
        }
        text + "\n"
    }
}

#[cfg(test)]
mod tests;
