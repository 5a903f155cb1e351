//! From what a study file says to what will be done: every arm resolved, every rule checked.
//!
//! A [`Plan`] is complete: nothing in it is implicit, and it says the same when written and read back. The rules here
//! are those that join crates (which teacher a method needs, which metrics fit the data); each component's own ranges
//! are checked by its crate. Deliberately absent: files and their positions (`load.rs`).

use crate::change::Change;
use crate::check;
use crate::config::{ArmConfig, ArmsConfig, ExperimentConfig, StudyConfig};
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
    crate::parse::options().to_string_pretty(value, pretty).expect("configurations are plain structs and enums") + "\n"
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
}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), allowed: allowed.into() }
    }
}

/// A plan and what its author may want to know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The plan.
    pub plan: Plan,
    /// Remarks that are not errors, such as a change to the value the base already has.
    pub notes: Vec<String>,
}

impl StudyConfig {
    /// The plan of this study.
    ///
    /// # Errors
    /// Every problem of the study.
    pub fn build(&self) -> Result<Checked, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut notes = Vec::new();
        for (index, seed) in self.seeds.iter().enumerate() {
            if self.seeds[..index].contains(seed) {
                let message = format!("seed {seed} is given twice");
                problems.push(Problem::new(format!("seeds[{index}]"), message, "each seed once"));
            }
        }
        if self.seeds.is_empty() {
            problems.push(Problem::new("seeds", "no seed is given", "at least one, as in [0]"));
        }
        let arms = self.combine(&mut problems);
        let base_problems = check::problems(&self.base);
        let mut planned: Vec<PlannedArm> = Vec::new();
        for arm in &arms {
            let experiment = resolve(&self.base, arm, &mut problems, &mut notes);
            for problem in check::problems(&experiment) {
                let path = if base_problems.contains(&problem) {
                    format!("base.{}", problem.path)
                } else {
                    arm.blame(&problem.path)
                };
                problems.push(Problem { path, ..problem });
            }
            if let Some(twin) = planned.iter().find(|other| other.experiment == experiment) {
                let message = format!("arm `{}` is the same experiment as arm `{}`", arm.name, twin.name);
                problems.push(Problem::new(arm.path(), message, "arms that differ"));
            }
            planned.push(PlannedArm { name: arm.name.clone(), experiment });
        }
        let mut unique: Vec<Problem> = Vec::new();
        for problem in problems {
            if !unique.contains(&problem) {
                unique.push(problem);
            }
        }
        if !unique.is_empty() {
            return Err(unique);
        }
        let plan = Plan { question: self.question.clone(), seeds: self.seeds.clone(), arms: planned };
        Ok(Checked { plan, notes })
    }

    /// The arms with their changes and where those stand in the file.
    fn combine<'a>(&'a self, problems: &mut Vec<Problem>) -> Vec<Arm<'a>> {
        let written = |arm: &'a ArmConfig, path: String| Arm {
            name: arm.name.clone(),
            changes: arm.changes.iter().enumerate().map(|(i, c)| (format!("{path}.changes[{i}]"), c)).collect(),
            paths: vec![path],
        };
        let axes: Vec<Vec<Arm<'a>>> = match &self.arms {
            ArmsConfig::Star(arms) => {
                vec![arms.iter().enumerate().map(|(i, arm)| written(arm, format!("arms[{i}]"))).collect()]
            }
            ArmsConfig::Grid(axes) => (axes.iter().enumerate())
                .map(|(a, axis)| {
                    axis.iter().enumerate().map(|(i, arm)| written(arm, format!("arms[{a}][{i}]"))).collect()
                })
                .collect(),
        };
        for axis in &axes {
            check_names(axis, problems);
        }
        if axes.iter().all(Vec::is_empty) {
            return vec![Arm { name: "base".to_owned(), changes: vec![], paths: vec![] }];
        }
        axes.into_iter()
            .filter(|axis| !axis.is_empty())
            .reduce(|rows, axis| {
                rows.iter().flat_map(|row| axis.iter().map(|column| row.join(column))).collect()
            })
            .unwrap_or_default()
    }
}

/// An arm, perhaps of several axes, with the places of its parts.
#[derive(Clone)]
struct Arm<'a> {
    name: String,
    changes: Vec<(String, &'a Change)>,
    paths: Vec<String>,
}

impl Arm<'_> {
    fn join(&self, other: &Self) -> Self {
        Self {
            name: format!("{}_{}", self.name, other.name),
            changes: [&self.changes[..], &other.changes[..]].concat(),
            paths: [&self.paths[..], &other.paths[..]].concat(),
        }
    }

    /// Where to point if nothing of the arm is to blame in particular.
    fn path(&self) -> String {
        self.paths.last().cloned().unwrap_or_else(|| "base".to_owned())
    }

    /// The change that decided what stands at `path` of the experiment; the arm if none did.
    fn blame(&self, path: &str) -> String {
        let decides = |change: &Change| {
            let own = change.path();
            path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let last = self.changes.iter().rev().find(|(_, change)| decides(change));
        last.map_or_else(
            || self.path(),
            |(place, change)| {
                // The change's own inside: in `Distance(PseudoHuber(c: -1))`, `c`.
                format!("{place}{}", &path[change.path().len()..])
            },
        )
    }
}

fn check_names(axis: &[Arm<'_>], problems: &mut Vec<Problem>) {
    const ALLOWED: &str = "letters, digits, `-`, `_` and `.`, not starting with `.`";
    for (index, arm) in axis.iter().enumerate() {
        let path = format!("{}.name", arm.path());
        if !is_file_name(&arm.name) {
            let message = if arm.name.is_empty() {
                "an arm has no name".to_owned()
            } else {
                format!("the name `{}` does not make a folder", arm.name)
            };
            problems.push(Problem::new(&path, message, ALLOWED));
        }
        if axis[..index].iter().any(|other| other.name == arm.name) {
            problems.push(Problem::new(path, format!("two arms are called `{}`", arm.name), "each name once"));
        }
    }
}

/// Whether a name can be a folder on every system.
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 100
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn resolve(
    base: &ExperimentConfig,
    arm: &Arm<'_>,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) -> ExperimentConfig {
    let mut experiment = base.clone();
    for (index, (place, change)) in arm.changes.iter().enumerate() {
        let before = experiment.clone();
        if let Err(error) = change.apply(&mut experiment) {
            problems.push(Problem::new(place, error.to_string(), "changes that fit the arm's method"));
        } else if experiment == before {
            let what = change.path();
            notes.push(format!("arm `{}`: its change of `{what}` is what the base already has", arm.name));
        }
        if let Some((_, later)) = arm.changes[index + 1..].iter().find(|(_, later)| later.path() == change.path()) {
            let message = format!("a later change of `{}` undoes this one", later.path());
            problems.push(Problem::new(place, message, "each knob once in an arm"));
        }
    }
    experiment
}
