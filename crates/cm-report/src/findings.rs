//! All that a page shows, read from the folder of a study or of one of its runs.

use crate::error::ReportError;
use crate::grid::Grid;
use crate::record::Record;
use cm_experiment::{FolderError, ReportRow, SealedFolder};
use cm_host::FileError;
use cm_study::{ArmCost, ExperimentConfig, Plan, PlannedArm, PlannedRun, TeacherKey, grid_of};
use std::fs;
use std::path::{Path, PathBuf};

/// What was asked, planned and found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// The study's question, or its name.
    pub(crate) title: String,
    /// The study's name; of a run without a study around it, the run's.
    pub(crate) name: String,
    /// What the page is of: `study gmm2`, `run cd/seed-0 of the study quickstart`.
    pub(crate) subject: String,
    /// The comment at the head of the study's file.
    pub(crate) header: Vec<HeaderLine>,
    /// The study's file as written; empty if it is not at hand.
    pub(crate) study: String,
    /// The plan as it lies in the folder.
    pub(crate) plan_text: String,
    pub(crate) plan: Plan,
    /// Where its arms lie, if it is a grid over fields.
    pub(crate) grid: Option<Grid>,
    pub(crate) costs: Vec<ArmCost>,
    /// One for each run that has begun, in the plan's order of arms.
    pub(crate) runs: Vec<Record>,
    /// What several runs share.
    pub(crate) teachers: Vec<Record>,
    pub(crate) rows: Vec<ReportRow>,
    /// Runs without scores.
    pub(crate) missing: Vec<String>,
    /// It is of a version that kept no manifests: nothing says that its results are as they were.
    pub(crate) unsealed: bool,
}

/// A part of the comment at the head of a study's file.
#[derive(Debug, PartialEq)]
pub(crate) struct HeaderLine {
    /// `Run`, `Data`, `Expect`, ...; none for a plain paragraph.
    pub(crate) label: Option<String>,
    pub(crate) text: String,
}

impl Findings {
    /// Reads what there is.
    pub(crate) fn read(folder: &Path) -> Result<Self, ReportError> {
        let no_study = |reason: String| FolderError::NoStudy { path: folder.to_owned(), reason };
        fs::metadata(folder.join("plan.ron")).map_err(|error| no_study(error.to_string()))?;
        let sealed = SealedFolder::open(folder)?;
        let plan_text = sealed.text("plan.ron")?.unwrap_or_default();
        match Plan::from_ron(&plan_text) {
            Ok(plan) => Self::of_study(folder, &sealed, plan, plan_text),
            Err(error) => match PlannedRun::from_ron(&plan_text) {
                Ok(run) => Self::of_run(folder, &sealed, run, plan_text),
                Err(_) => Err(no_study(error.to_string()).into()),
            },
        }
    }

    /// What is known of a study that was never run.
    pub(crate) fn planned(name: &str, plan: Plan, study: &str) -> Self {
        Self {
            title: if plan.question.is_empty() { name.to_owned() } else { plan.question.clone() },
            name: name.to_owned(),
            subject: format!("study {name}"),
            header: header(study),
            study: study.to_owned(),
            plan_text: plan.to_ron(),
            costs: plan.cost(),
            runs: Vec::new(),
            teachers: Vec::new(),
            missing: plan.runs().map(|run| run.name()).collect(),
            grid: None,
            plan,
            rows: Vec::new(),
            unsealed: false,
        }
    }

    fn of_study(
        folder: &Path,
        sealed: &SealedFolder,
        plan: Plan,
        plan_text: String,
    ) -> Result<Self, ReportError> {
        let name = name_of(folder);
        let mut runs = Vec::new();
        let mut rows = Vec::new();
        let mut missing = Vec::new();
        for run in plan.runs() {
            let of_run = folder.join(run.name());
            match SealedFolder::of_run(&of_run, &run)?.rows("scores.csv")? {
                Some(found) => rows.extend(found),
                None => missing.push(run.name()),
            }
            runs.extend(Record::read(&of_run, &run.arm, run.seed)?);
        }
        let place = |record: &Record| plan.arms.iter().position(|arm| arm.name == record.group);
        runs.sort_by_key(place);
        if let Some(report) = sealed.rows("report.csv")? {
            rows = report;
        }
        let study = sealed.text("study.ron")?.unwrap_or_default();
        Ok(Self {
            title: if plan.question.is_empty() { name.clone() } else { plan.question.clone() },
            subject: format!("study {name}"),
            name,
            header: header(&study),
            grid: Grid::of(&study, &plan),
            study,
            plan_text,
            costs: plan.cost(),
            runs,
            teachers: teachers(folder, &plan)?,
            plan,
            rows,
            missing,
            unsealed: sealed.manifest().is_none(),
        })
    }

    fn of_run(
        folder: &Path,
        sealed: &SealedFolder,
        run: PlannedRun,
        plan_text: String,
    ) -> Result<Self, ReportError> {
        let full = fs::canonicalize(folder).map_err(FileError::io(folder))?;
        // A run that was copied elsewhere has no study around it.
        let around = full.parent().and_then(Path::parent).filter(|around| around.join("study.ron").is_file());
        let around_it = around.map(SealedFolder::open).transpose()?;
        let of_study = |file: &str| around_it.as_ref().map_or(Ok(None), |around| around.text(file));
        let study = of_study("study.ron")?.unwrap_or_default();
        let of_study = of_study("plan.ron")?;
        let of_study = of_study.and_then(|text| Plan::from_ron(&text).ok());
        let (question, shortened_by) =
            of_study.map_or_else(|| (String::new(), 1), |plan| (plan.question, plan.shortened_by));
        let name = run.name();
        let PlannedRun { arm, seed, experiment } = run;
        let arms = vec![PlannedArm { name: arm.clone(), experiment }];
        let plan = Plan { question, seeds: vec![seed], shortened_by, arms };
        let rows = sealed.rows("scores.csv")?;
        let subject = match around {
            Some(around) => format!("run {name} of the study {}", name_of(around)),
            None => format!("run {name}"),
        };
        Ok(Self {
            title: if plan.question.is_empty() { name.clone() } else { plan.question.clone() },
            name: around.map_or_else(|| name.clone(), name_of),
            subject,
            header: header(&study),
            study,
            plan_text,
            costs: plan.cost(),
            runs: Record::read(folder, &arm, seed)?.into_iter().collect(),
            teachers: around.map_or(Ok(Vec::new()), |around| teachers(around, &plan))?,
            grid: None,
            plan,
            missing: if rows.is_none() { vec![name] } else { Vec::new() },
            rows: rows.unwrap_or_default(),
            unsealed: sealed.manifest().is_none(),
        })
    }

    /// What must be said of results that nothing vouches for.
    pub(crate) fn doubt(&self) -> Option<String> {
        self.unsealed.then(|| {
            format!(
                "{}: no manifest.json: a version that kept none has written it, or it was removed, and nothing says that \
                 its results are as they were",
                self.subject
            )
        })
    }

    /// The experiment of an arm.
    pub(crate) fn experiment(&self, arm: &str) -> Option<&ExperimentConfig> {
        self.plan.arms.iter().find(|planned| planned.name == arm).map(|planned| &planned.experiment)
    }

    /// What the curves say that went wrong.
    pub(crate) fn signs(&self) -> Vec<String> {
        let of_run = |record: &Record| {
            let experiment = self.experiment(&record.group)?;
            let whose = format!("{}/seed-{}", record.group, record.seed);
            Some(
                cm_experiment::signs(experiment, &record.curves)
                    .into_iter()
                    .map(move |sign| format!("{whose}: {sign}")),
            )
        };
        self.runs.iter().filter_map(of_run).flatten().collect()
    }

    /// Names of what is drawn in one colour: arms in the plan's order, then teachers.
    pub(crate) fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.plan.arms.iter().map(|arm| arm.name.as_str()).collect();
        groups.extend(self.teachers.iter().map(|record| record.group.as_str()));
        groups
    }
}

fn name_of(folder: &Path) -> String {
    let full = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    full.file_name().map_or_else(|| "study".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The teachers, mid-trainings and first stages of a plan that have begun.
fn teachers(folder: &Path, plan: &Plan) -> Result<Vec<Record>, ReportError> {
    let mut found: Vec<(&str, PathBuf, TeacherKey)> = Vec::new();
    let mut add = |what: &'static str, parent: &str, key: TeacherKey| {
        let path = folder.join(parent).join(&key.hash);
        if !found.iter().any(|(_, other, _)| *other == path) {
            found.push((what, path, key));
        }
    };
    for arm in &plan.arms {
        for key in TeacherKey::all_of(&arm.experiment) {
            add("teacher", "teachers", key);
        }
        if let Some(config) = &arm.experiment.mid_training {
            for &seed in &plan.seeds {
                let key = TeacherKey::of_mid_training(&arm.experiment, config, seed);
                add("mid-training", "mid-training", key);
            }
        }
        if let Some(config) = &arm.experiment.first_stage {
            for &seed in &plan.seeds {
                let key = TeacherKey::of_first_stage(&arm.experiment, config, seed);
                add("first stage", "first-stage", key);
            }
        }
    }
    let alone = |what: &str| found.iter().filter(|(other, ..)| *other == what).count() == 1;
    let named = |(what, path, key): &(&str, PathBuf, TeacherKey)| {
        let group = if alone(what) { (*what).to_owned() } else { format!("{what} {}", key.hash) };
        Record::read(path, &group, key.seed)
    };
    found.iter().filter_map(|teacher| named(teacher).transpose()).collect()
}

/// The comment at the head of a study's file: the grid's axes, paragraphs, and lines `Label: text` with the lines that go
/// on with them.
fn header(study: &str) -> Vec<HeaderLine> {
    let axes = grid_of(study);
    let grid: Vec<String> =
        axes.iter().map(|axis| format!("{} over {}", axis.path, axis.values.join(", "))).collect();
    let grid =
        (!grid.is_empty()).then(|| HeaderLine { label: Some("Grid".to_owned()), text: grid.join("; ") });
    let mut parts: Vec<HeaderLine> = grid.into_iter().collect();
    let mut open = false;
    let own = study.lines().skip(axes.len()).collect::<Vec<_>>().join("\n");
    let study = own.as_str();
    for line in study.lines().map_while(|line| line.strip_prefix("//")) {
        let indented = line.starts_with("   ");
        let line = line.trim();
        if line.is_empty() {
            open = false;
            continue;
        }
        let label = line.split_once(':').filter(|(label, _)| {
            !indented && label.len() < 16 && label.chars().all(char::is_alphabetic) && !label.is_empty()
        });
        match (label, parts.last_mut()) {
            (Some((label, text)), _) => {
                parts.push(HeaderLine { label: Some(label.to_owned()), text: text.trim().to_owned() });
            }
            (None, Some(last)) if open => last.text += &format!(" {line}"),
            (None, _) => parts.push(HeaderLine { label: None, text: line.to_owned() }),
        }
        open = true;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_study_is_paragraphs_and_labelled_lines() {
        let study = "// Can it?\n// It may: see Table 1.\n//\n// Run:     cm run a.ron\n// Expect:  one ahead of two,\n//          and: three behind.\n(\n// not this\n)\n";
        let line = |label: Option<&str>, text: &str| HeaderLine {
            label: label.map(str::to_owned),
            text: text.to_owned(),
        };
        let expected = [
            line(None, "Can it? It may: see Table 1."),
            line(Some("Run"), "cm run a.ron"),
            line(Some("Expect"), "one ahead of two, and: three behind."),
        ];
        assert_eq!(header(study), expected);
        assert_eq!(header("( )"), []);
        let grid = header(&format!("// grid: base.a=[1, 2]\n// grid: base.b=[L1]\n{study}"));
        assert_eq!(grid[0], line(Some("Grid"), "base.a over 1, 2; base.b over L1"));
        assert_eq!(grid[1..], expected);
    }
}
