//! What will be done, or why it cannot be.
//!
//! A [`Plan`] is complete: nothing in it is implicit, and it says the same when written and read back. Deliberately
//! absent: how it comes from a study (`arms.rs`), the rules (`check.rs`), files and their positions (`load.rs`).

use crate::experiment_config::ExperimentConfig;
use crate::notation::{from_ron, to_ron};
use crate::problem::Problem;
use ron::error::SpannedError;
use serde::{Deserialize, Serialize};

/// What a study will do: its arms, each with each seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The question the study answers; may be empty.
    pub question: String,
    /// The seeds, each once.
    pub seeds: Vec<u64>,
    /// How many times shorter than the study it is; 1 is the whole of it, and not written.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub shortened_by: u64,
    /// The arms in the order of the file.
    pub arms: Vec<PlannedArm>,
}

/// The length of a plan that says nothing about it.
fn whole() -> u64 {
    1 // plans of versions that knew no rehearsals
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_whole(shortened_by: &u64) -> bool {
    *shortened_by == whole()
}

/// One arm with all its changes made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedArm {
    /// Its name, unique and fit for a folder.
    pub name: String,
    /// The resolved experiment.
    pub experiment: ExperimentConfig,
}

/// One run of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedRun {
    /// The arm's name.
    pub arm: String,
    /// The run's seed.
    pub seed: u64,
    /// The resolved experiment.
    pub experiment: ExperimentConfig,
}

impl PlannedRun {
    /// What people call it: `l1/seed-0`.
    pub fn name(&self) -> String {
        format!("{}/seed-{}", self.arm, self.seed)
    }

    /// The run as RON, every value written out.
    pub fn to_ron(&self) -> String {
        to_ron(self)
    }

    /// Reads what [`to_ron`](Self::to_ron) wrote.
    ///
    /// # Errors
    /// The parser's answer if it is something else.
    pub fn from_ron(text: &str) -> Result<Self, SpannedError> {
        from_ron(text)
    }
}

impl Plan {
    /// The runs: for each seed all arms, so that a study that is stopped early has whole comparisons.
    pub fn runs(&self) -> impl Iterator<Item = PlannedRun> {
        self.seeds.iter().flat_map(|&seed| {
            self.arms.iter().map(move |arm| PlannedRun {
                arm: arm.name.clone(),
                seed,
                experiment: arm.experiment.clone(),
            })
        })
    }

    /// The plan as RON, every value written out.
    pub fn to_ron(&self) -> String {
        to_ron(self)
    }

    /// Reads what [`to_ron`](Self::to_ron) wrote.
    ///
    /// # Errors
    /// The parser's answer if it is something else.
    pub fn from_ron(text: &str) -> Result<Self, SpannedError> {
        from_ron(text)
    }
}

/// A plan and what its author may want to know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The plan.
    pub plan: Plan,
    /// Remarks that are not errors, such as a change to the value the base already has.
    pub notes: Vec<String>,
    /// What must be there before it can be run, and is not.
    pub absent: Vec<Problem>,
}

/// Whether a name can be a folder on every system.
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 100
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
