//! What a study file says, as data: raw, unchecked, with every default beside its type. Deliberately absent: what arms
//! come to (`arms.rs`) and reading (`load.rs`).

use crate::change::Change;
use crate::experiment_config::ExperimentConfig;
use crate::problem::Problem;
use crate::published::PublishedValue;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::PathBuf;

/// A study file: one question, one base, and arms that say what they change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudyConfig {
    /// The question the study answers; the title of its report.
    pub question: String,
    /// Every arm runs once with each of these seeds: any whole numbers, each once. All together are at most
    /// [`MOST_RUNS`](Self::MOST_RUNS) runs.
    pub seeds: Vec<u64>,
    /// Everything that counts images is made so many times less, at least 1: a rehearsal of every step of the way,
    /// whose numbers say nothing of the method. What metrics ask for at least is kept, and a step for each part of a
    /// progressive distillation.
    pub shortened_by: u64,
    /// A file of curves that `cm report --curves` wrote, laid under the study's own to see whether they are normal; decides
    /// nothing. None: those that the program has of its own studies.
    pub reference: Option<PathBuf>,
    /// What all arms start from.
    pub base: ExperimentConfig,
    /// What is compared.
    pub arms: ArmsConfig,
}

impl StudyConfig {
    /// Arms times seeds at most: a table that nobody reads, and a name for each run in one folder.
    pub const MOST_RUNS: usize = 4096;

    /// What is wrong with the seeds and the length.
    pub(crate) fn seed_problems(&self) -> Vec<Problem> {
        let mut known = HashSet::new();
        let again = self.seeds.iter().enumerate().filter(|(_, seed)| !known.insert(**seed));
        let again = again.map(|(index, seed)| {
            Problem::new(format!("seeds[{index}]"), format!("seed {seed} is given twice"), "each seed once")
        });
        let mut problems: Vec<Problem> = again.collect();
        if self.shortened_by == 0 {
            problems.push(Problem::new(
                "shortened_by",
                "shortened_by is 0",
                "at least 1, which is the whole study",
            ));
        }
        if self.seeds.is_empty() {
            problems.push(Problem::new("seeds", "no seed is given", "at least one, as in [0]"));
        }
        problems
    }

    /// A complaint about more runs than that, of axes of so many arms.
    pub(crate) fn too_many_runs(&self, axes: impl Iterator<Item = usize>) -> Option<Problem> {
        let (seeds, most) = (self.seeds.len(), Self::MOST_RUNS);
        let arms = axes.filter(|&arms| arms > 0).fold(1, usize::saturating_mul);
        let runs = arms.saturating_mul(seeds);
        let path = if seeds > most { "seeds" } else { "arms" };
        let message = format!("{arms} arms with {seeds} seeds are {runs} runs");
        (runs > most).then(|| Problem::new(path, message, format!("at most {most} runs; or several studies")))
    }
}

impl Default for StudyConfig {
    fn default() -> Self {
        Self {
            question: String::new(),           // none: a single run needs no question
            seeds: vec![0],                    // one run; studies that compare give three or more
            shortened_by: 1,                   // not at all
            reference: None,                   // the program's own
            base: ExperimentConfig::default(), // beside that type
            arms: ArmsConfig::default(),       // beside that type
        }
    }
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ArmsConfig {
    /// Each arm is the base with its own changes. No arm at all: the base itself, called `base`.
    Star(Vec<ArmConfig>),
    /// Every combination of one arm from each axis, names joined with `_`, changes in the order of the axes.
    Grid(Vec<Vec<ArmConfig>>),
}

impl StudyConfig {
    /// What was published of its arms, each with the arm's name.
    pub fn published(&self) -> Vec<(&str, &PublishedValue)> {
        match &self.arms {
            ArmsConfig::Star(arms) => (arms.iter())
                .flat_map(|arm| arm.published.iter().map(|value| (arm.name.as_str(), value)))
                .collect(),
            ArmsConfig::Grid(_) => Vec::new(),
        }
    }
}

impl Default for ArmsConfig {
    fn default() -> Self {
        Self::Star(Vec::new()) // the base alone
    }
}

/// A name and what it changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArmConfig {
    /// Name of the arm's folder and of its lines in tables: letters, digits, `-`, `_`, `.`; unique. Must be
    /// given.
    pub name: String,
    /// The changes, made one after the other.
    pub changes: Vec<Change>, // none: the base as it is
    /// What was published of it, for `cm table` to put beside what is measured. Only for the arms of a star.
    pub published: Vec<PublishedValue>, // ours: nothing
}
