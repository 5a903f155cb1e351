//! What will be done, or why it cannot be.
//!
//! A [`Plan`] is complete: nothing in it is implicit, and it says the same when written and read back. Deliberately
//! absent: how it comes from a study (`arms.rs`), the rules (`check.rs`), files and their positions (`load.rs`).

use crate::config::ExperimentConfig;
use serde::{Deserialize, Serialize};

/// What a study will do: its arms, each with each seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The question the study answers; may be empty.
    pub question: String,
    /// The seeds, each once.
    pub seeds: Vec<u64>,
    /// The arms in the order of the file.
    pub arms: Vec<PlannedArm>,
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
    /// `ron`'s answer if it is something else.
    pub fn from_ron(text: &str) -> Result<Self, ron::error::SpannedError> {
        crate::parse::options().from_str(text)
    }
}

/// Pretty RON with the options with which this crate reads it.
pub(crate) fn to_ron(value: &impl Serialize) -> String {
    let pretty = ron::ser::PrettyConfig::new().compact_arrays(true);
    crate::parse::options()
        .to_string_pretty(value, pretty)
        .expect("configurations are plain structs and enums")
        + "\n"
}

/// One thing wrong with a study, before it has a place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The path of what is wrong, such as `base.consistency.distance.c` or `arms[1].changes[0]`.
    pub path: String,
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// What is allowed.
    pub allowed: String,
    /// Whether all that is wrong is a file or folder that is not there: the study can be planned, and not run.
    pub absent: bool,
}

impl Problem {
    pub(crate) fn new(
        path: impl Into<String>,
        message: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), message: message.into(), allowed: allowed.into(), absent: false }
    }

    /// A file or folder that is not there.
    pub(crate) fn absent(
        path: impl Into<String>,
        message: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self { absent: true, ..Self::new(path, message, allowed) }
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
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 100
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
