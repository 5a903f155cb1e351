//! The run as it will be: when the number of noise levels changes, and what goes with it, before anything is trained.
//!
//! Durations given as shares are resolved here into images, and curricula into phases, with the same functions that
//! training uses. Deliberately absent: what it costs (`cost.rs`).

use crate::experiment_config::{ExperimentConfig, MethodConfig, TeacherSource};
use crate::first_stage_config::FirstStageConfig;
use crate::key::TeacherKey;
use crate::mid_training_config::MidTrainingConfig;
use crate::plan::Plan;
use cm_consistency::{ConsistencyConfig, Curriculum, CurriculumConfig, Spacing};
use cm_training::{Progress, Schedule, TrainConfig};

/// A stretch of a training.
#[derive(Clone, Debug, PartialEq)]
struct Stretch {
    from_image: u64,
    to_image: u64,
    steps: u64,
    levels: Levels,
    /// mu of the target at its start; `None` for a teacher.
    target_decay: Option<f32>,
    /// At its start.
    learning_rate: f32,
}

/// The noise levels of a stretch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Levels {
    /// There is no grid of levels.
    None,
    /// From this many intervals to so many, both included.
    Grid { first: usize, last: usize },
    /// Continuous pairs whose gap is this share of the upper level, for large levels.
    Gap(f64),
}

impl Levels {
    /// Whether a stretch goes on with `next`. A curriculum that adds one level at a time is cut where its intervals
    /// have doubled.
    fn joined(self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Grid { first, .. }, Self::Grid { last, .. }) if (first..2 * first).contains(&last) => {
                Some(Self::Grid { first, last })
            }
            _ => (self == next).then_some(self),
        }
    }
}

impl std::fmt::Display for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::None => write!(f, "-"),
            Self::Grid { first, last } if first == last => write!(f, "{}", first + 1),
            Self::Grid { first, last } => write!(f, "{}-{}", first + 1, last + 1),
            Self::Gap(share) => write!(f, "gap 1/{}", share.recip().round()),
        }
    }
}

impl Stretch {
    /// Steps for each interval of its finest grid.
    fn steps_per_interval(&self) -> Option<f64> {
        match self.levels {
            Levels::Grid { last, .. } => Some(self.steps as f64 / last as f64),
            Levels::None | Levels::Gap(_) => None,
        }
    }
}

/// The stretches of a training; `at` says levels and target decay of a step, and what its learning rate counts as progress.
fn stretches(config: &TrainConfig, at: impl Fn(Progress) -> (Levels, Option<f32>, Progress)) -> Vec<Stretch> {
    let (batch, total_images, steps) = (config.batch as u64, config.images(), config.steps());
    let progress = |step: u64| Progress { step, images: step * batch, total_images };
    let mut found: Vec<Stretch> = Vec::new();
    let mut first = 0;
    while first < steps {
        let (levels, target_decay, of_rate) = at(progress(first));
        let joined = |step: u64| levels.joined(at(progress(step)).0);
        let next = first_unjoined(first, steps, |step| joined(step).is_some());
        found.push(Stretch {
            from_image: first * batch,
            to_image: next * batch,
            steps: next - first,
            levels: joined(next - 1).unwrap_or(levels),
            target_decay,
            learning_rate: config.learning_rate.at(of_rate),
        });
        first = next;
    }
    found
}

/// The first step of `first + 1..end` that is not joined with `first`, or `end`. Levels change in one direction only, so
/// that what is joined comes before what is not, and a run of any length takes a few dozen looks.
fn first_unjoined(first: u64, end: u64, joined: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (first + 1, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if joined(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

fn student(experiment: &ExperimentConfig) -> Vec<Stretch> {
    of_consistency(experiment, &experiment.consistency)
}

/// The consistency training between the teacher's and the student's.
fn first_stage(experiment: &ExperimentConfig) -> Vec<Stretch> {
    let of = |stage: &FirstStageConfig| of_consistency(experiment, &stage.training(&experiment.consistency));
    experiment.first_stage.as_ref().map_or_else(Vec::new, of)
}

fn of_consistency(experiment: &ExperimentConfig, config: &ConsistencyConfig) -> Vec<Stretch> {
    match experiment.method {
        MethodConfig::ContinuousDistillation(_) | MethodConfig::ContinuousTraining(_) => {
            return stretches(&config.train, |progress| (Levels::None, None, progress));
        }
        MethodConfig::Distillation(_)
        | MethodConfig::Training
        | MethodConfig::ProgressiveDistillation
        | MethodConfig::Shortcut(_)
        | MethodConfig::TwoTime(_)
        | MethodConfig::InductiveMomentMatching(_) => {}
    }
    let curriculum = Curriculum { levels: config.curriculum, target: config.target };
    let without_levels =
        matches!(experiment.method, MethodConfig::TwoTime(_) | MethodConfig::InductiveMomentMatching(_));
    stretches(&config.train, |progress| {
        let (spacing, target_decay) = curriculum.at(progress);
        let levels = match spacing {
            Spacing::Levels(_) if without_levels => Levels::None,
            Spacing::Levels(num_levels) => {
                Levels::Grid { first: num_levels.get() - 1, last: num_levels.get() - 1 }
            }
            Spacing::Stage(stage) => match config.curriculum {
                CurriculumConfig::Continuous(continuous) => {
                    Levels::Gap(f64::from(continuous.q).powi(-(stage as i32 + 1)))
                }
                CurriculumConfig::Fixed(_)
                | CurriculumConfig::Progressive(_)
                | CurriculumConfig::Doubling(_)
                | CurriculumConfig::Halving(_) => Levels::None,
            },
        };
        match config.curriculum {
            // Its target is a teacher, and each stage has the learning rate of a run of its own.
            CurriculumConfig::Halving(halving) => (levels, None, halving.at(progress).progress(progress)),
            CurriculumConfig::Fixed(_)
            | CurriculumConfig::Progressive(_)
            | CurriculumConfig::Doubling(_)
            | CurriculumConfig::Continuous(_) => (levels, Some(target_decay), progress),
        }
    })
}

fn teacher(experiment: &ExperimentConfig) -> Vec<Stretch> {
    match &experiment.teacher {
        TeacherSource::Trained(teacher) => {
            stretches(&teacher.train, |progress| (Levels::None, None, progress))
        }
        TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => Vec::new(),
    }
}

/// The training between the teacher's and the student's, which regresses and has no levels.
fn mid_training(experiment: &ExperimentConfig) -> Vec<Stretch> {
    let of = |mid: &MidTrainingConfig| stretches(&mid.train, |progress| (Levels::None, None, progress));
    experiment.mid_training.as_ref().map_or_else(Vec::new, of)
}

/// Optimiser steps that each interval of a grid wants at a batch of `batch` images: 200 at 128 or less, 40 at 1,024 or
/// more, between them on a straight line of both logarithms. A rule of thumb from published trainings without a
/// teacher on small budgets; below it, more levels made samples worse.
fn wanted_steps_per_interval(batch: usize) -> f64 {
    let place = ((batch as f64 / 128.0).ln() / 8f64.ln()).clamp(0.0, 1.0);
    200.0 * 0.2f64.powf(place)
}

/// What [`wanted_steps_per_interval`] says, in words.
const RULE: &str = "about 40 steps for each interval at a batch of 1024 or more, 200 at 128 or less, between them on \
                    a straight line of both logarithms";

impl Plan {
    /// When the noise levels, the target's decay and the learning rate change, as a table: one line for each phase of
    /// each teacher, each mid-training and each arm; arms that agree share theirs. A curriculum that adds one level at a time has a
    /// line for each doubling.
    pub fn schedule(&self) -> String {
        let mut parts: Vec<(Vec<&str>, Vec<Stretch>)> = Vec::new();
        let mut add =
            |name, stretches: Vec<Stretch>| match parts.iter_mut().find(|(_, known)| *known == stretches) {
                Some((names, _)) if !names.contains(&name) => names.push(name),
                Some(_) => {}
                None if stretches.is_empty() => {}
                None => parts.push((vec![name], stretches)),
            };
        let mut teachers: Vec<TeacherKey> = Vec::new();
        for arm in &self.arms {
            let weaker = arm.experiment.weaker();
            for (name, experiment) in
                [("teacher", Some(&arm.experiment)), ("weaker teacher", weaker.as_ref())]
            {
                let Some((experiment, key)) = experiment.and_then(|of| Some((of, TeacherKey::of(of)?)))
                else {
                    continue;
                };
                if !teachers.contains(&key) {
                    add(name, teacher(experiment));
                    teachers.push(key);
                }
            }
        }
        for arm in &self.arms {
            add("mid-training", mid_training(&arm.experiment));
            add("first stage", first_stage(&arm.experiment));
            add(&arm.name, student(&arm.experiment));
        }
        let mut rows = vec![HEADER.map(str::to_owned)];
        for (names, stretches) in &parts {
            let name = match names.as_slice() {
                [first, second, third, _, ..] => {
                    format!("{first}, {second}, {third} and {} more", names.len() - 3)
                }
                few => few.join(", "),
            };
            rows.extend(stretches.iter().map(|stretch| row(&name, stretch)));
        }
        aligned(&rows)
    }

    /// Curricula that are too fast for their number of levels. Only training without a teacher is warned of, for that is
    /// where the rule was seen.
    pub(crate) fn hasty(&self) -> Vec<String> {
        let of_arm = |arm: &crate::PlannedArm| {
            match arm.experiment.method {
                MethodConfig::Training => {}
                MethodConfig::Distillation(_)
                | MethodConfig::ProgressiveDistillation
                | MethodConfig::Shortcut(_)
                | MethodConfig::ContinuousDistillation(_)
                | MethodConfig::ContinuousTraining(_)
                | MethodConfig::TwoTime(_)
                | MethodConfig::InductiveMomentMatching(_) => return None,
            }
            let batch = arm.experiment.consistency.train.batch;
            let wanted = wanted_steps_per_interval(batch);
            let stretches = student(&arm.experiment);
            // Levels added one at a time hurry through the first few by design; where they end is what counts.
            let first = match arm.experiment.consistency.curriculum {
                CurriculumConfig::Progressive(_) => stretches.len().saturating_sub(1),
                CurriculumConfig::Fixed(_)
                | CurriculumConfig::Doubling(_)
                | CurriculumConfig::Continuous(_)
                | CurriculumConfig::Halving(_) => 0,
            };
            let short = stretches
                .into_iter()
                .skip(first)
                .filter_map(|stretch| Some((stretch.steps_per_interval()?, stretch)))
                .filter(|(steps, _)| *steps < wanted)
                .min_by(|(a, _), (b, _)| a.total_cmp(b));
            short.map(|(steps, stretch)| {
                format!(
                    "arm {}: {steps:.0} steps for each interval while N is {} (images {} to {}), but a batch of \
                     {batch} wants {wanted:.0}: {RULE}; fewer levels, more images or a larger batch would do",
                    arm.name, stretch.levels, stretch.from_image, stretch.to_image
                )
            })
        };
        self.arms.iter().filter_map(of_arm).collect()
    }
}

const HEADER: [&str; 8] =
    ["phase", "from image", "to image", "N", "steps", "steps per interval", "mu", "learning rate"];

fn row(name: &str, stretch: &Stretch) -> [String; 8] {
    let Stretch { from_image, to_image, steps, levels, target_decay, learning_rate } = stretch;
    [
        name.to_owned(),
        from_image.to_string(),
        to_image.to_string(),
        levels.to_string(),
        steps.to_string(),
        stretch.steps_per_interval().map_or("-".into(), |steps| format!("{steps:.1}")),
        target_decay.map_or("-".into(), |decay| format!("{decay:.5}")),
        format!("{learning_rate:.3e}"),
    ]
}

/// A Markdown table: the first column to the left, numbers to the right.
fn aligned(rows: &[[String; 8]]) -> String {
    let mut widths = [0; 8];
    for row in rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("| {cell:<width$} |"),
            _ => format!(" {cell:>width$} |"),
        });
        text += &(cells.collect::<String>() + "\n");
        if index == 0 {
            let rules = widths.iter().enumerate().map(|(column, width)| match column {
                0 => format!("|:{}|", "-".repeat(width + 1)),
                _ => format!("{}:|", "-".repeat(width + 1)),
            });
            text += &(rules.collect::<String>() + "\n");
        }
    }
    text
}

#[cfg(test)]
mod tests;
