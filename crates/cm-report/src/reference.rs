//! The curves of a run that was measured before, to be laid under one's own: "is my run normal?" is answered by looking.
//!
//! A file of curves is CSV with some lines of `# key: value` before it: losses and residuals of every arm and teacher,
//! thinned to be small. Those of this repository's studies are in the program, and are found by the study's name and
//! question; a study names another file by its field `reference`.

use crate::error::ReportError;
use crate::findings::Findings;
use crate::record::Record;
use crate::thin::thin;
use cm_experiment::table::{align, number};
use cm_experiment::{Curve, EventFile};
use cm_host::{FileError, durable};
use cm_study::{PlannedRun, StudyConfig, TeacherSource};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The curves that are kept of this repository's studies, by their names.
const SHIPPED: [(&str, &str); 30] = [
    ("alphaflow", include_str!("../../../experiments/results/curves/alphaflow.csv")),
    ("autoguidance", include_str!("../../../experiments/results/curves/autoguidance.csv")),
    ("cifar10_small", include_str!("../../../experiments/results/curves/cifar10_small.csv")),
    ("cmt", include_str!("../../../experiments/results/curves/cmt.csv")),
    ("coupling", include_str!("../../../experiments/results/curves/coupling.csv")),
    ("distance", include_str!("../../../experiments/results/curves/distance.csv")),
    ("ect", include_str!("../../../experiments/results/curves/ect.csv")),
    ("ema", include_str!("../../../experiments/results/curves/ema.csv")),
    ("emoji64", include_str!("../../../experiments/results/curves/emoji64.csv")),
    ("family", include_str!("../../../experiments/results/curves/family.csv")),
    ("family_gmm2", include_str!("../../../experiments/results/curves/family_gmm2.csv")),
    ("first", include_str!("../../../experiments/results/curves/first.csv")),
    ("guidance", include_str!("../../../experiments/results/curves/guidance.csv")),
    ("ict", include_str!("../../../experiments/results/curves/ict.csv")),
    ("ict_changes", include_str!("../../../experiments/results/curves/ict_changes.csv")),
    ("imm", include_str!("../../../experiments/results/curves/imm.csv")),
    ("improved_meanflow", include_str!("../../../experiments/results/curves/improved_meanflow.csv")),
    ("lpips", include_str!("../../../experiments/results/curves/lpips.csv")),
    ("meanflow", include_str!("../../../experiments/results/curves/meanflow.csv")),
    ("mnist", include_str!("../../../experiments/results/curves/mnist.csv")),
    ("multistep", include_str!("../../../experiments/results/curves/multistep.csv")),
    ("progressive", include_str!("../../../experiments/results/curves/progressive.csv")),
    ("quickstart", include_str!("../../../experiments/results/curves/quickstart.csv")),
    ("schedule", include_str!("../../../experiments/results/curves/schedule.csv")),
    ("shortcut", include_str!("../../../experiments/results/curves/shortcut.csv")),
    ("soflow", include_str!("../../../experiments/results/curves/soflow.csv")),
    ("solver", include_str!("../../../experiments/results/curves/solver.csv")),
    ("steps", include_str!("../../../experiments/results/curves/steps.csv")),
    ("tcm", include_str!("../../../experiments/results/curves/tcm.csv")),
    ("weighting", include_str!("../../../experiments/results/curves/weighting.csv")),
];

/// Points of a curve in a file: as many as tell its course.
const POINTS: usize = 40;
/// Bytes of a file of curves at most.
const MOST_BYTES: u64 = 4 << 20;

/// Curves that were measured before.
#[derive(Debug)]
pub(crate) struct Reference {
    /// What made them, for people.
    made: String,
    question: String,
    /// What was trained, as hashes of plans, by arm and seed.
    plans: Vec<(String, String)>,
    curves: Vec<(String, u64, Curve)>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    group: String,
    seed: u64,
    curve: String,
    images: f64,
    value: f64,
}

/// Whether a curve is one that is kept: a loss, or a residual at some noise level.
fn is_kept(name: &str) -> bool {
    name.ends_with("/loss") || name.contains("/residual/")
}

/// What a run trains, in sixteen hexadecimal digits.
fn plan_of(run: &PlannedRun) -> String {
    cm_experiment::identity_of(run).plan[..16].to_owned()
}

impl Reference {
    /// The curves of a study's finished runs, of the first seed of each arm.
    fn measured(findings: &Findings) -> Self {
        let all = || findings.runs.iter().chain(&findings.teachers);
        let of = |record: &Record| {
            let kept = record.curves.iter().filter(|curve| is_kept(&curve.name));
            let kept =
                kept.map(|Curve { name, points }| Curve { name: name.clone(), points: thin(points, POINTS) });
            kept.map(|curve| (record.group.clone(), record.seed, curve)).collect::<Vec<_>>()
        };
        let first = |record: &&Record| {
            all().find(|other| other.group == record.group).is_some_and(|other| other.seed == record.seed)
        };
        let mut made: Vec<String> = Vec::new();
        for of_run in all().filter_map(|record| record.provenance.as_ref()) {
            let changed = if of_run.dirty == Some(true) { ", changed" } else { "" };
            let (version, commit) = (&of_run.version, of_run.commit.get(..12).unwrap_or(&of_run.commit));
            let text = format!("cm {version}, commit {commit}{changed}, {}", of_run.instruction_set);
            if !made.contains(&text) {
                made.push(text);
            }
        }
        Self {
            made: made.join("; "),
            question: findings.plan.question.clone(),
            plans: findings.plan.runs().map(|run| (run.name(), plan_of(&run))).collect(),
            curves: all().filter(first).flat_map(of).collect(),
        }
    }

    fn to_text(&self) -> String {
        let mut text = format!("# question: {}\n# made: {}\n", self.question, self.made);
        self.plans.iter().for_each(|(run, plan)| text += &format!("# plan {run}: {plan}\n"));
        let mut writer = csv::Writer::from_writer(text.into_bytes());
        for (group, seed, curve) in &self.curves {
            for &(images, value) in &curve.points {
                // Four digits are more than a figure shows.
                let value = format!("{value:.3e}").parse().unwrap_or(value);
                let row = Row { group: group.clone(), seed: *seed, curve: curve.name.clone(), images, value };
                writer.serialize(row).expect("a row has no nested fields and memory does not fail");
            }
        }
        String::from_utf8(writer.into_inner().expect("memory does not fail")).expect("texts and numbers")
    }

    fn from_text(text: &str) -> Result<Self, csv::Error> {
        let mut found =
            Self { made: String::new(), question: String::new(), plans: Vec::new(), curves: Vec::new() };
        for line in text.lines().map_while(|line| line.strip_prefix("# ")) {
            match line.split_once(": ") {
                Some(("made", made)) => made.clone_into(&mut found.made),
                Some(("question", question)) => question.clone_into(&mut found.question),
                Some((key, plan)) => {
                    let run = key.strip_prefix("plan ").unwrap_or_default();
                    found.plans.push((run.to_owned(), plan.to_owned()));
                }
                None => {}
            }
        }
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
        for row in reader.deserialize() {
            let Row { group, seed, curve, images, value } = row?;
            let same = |(of, by, known): &&mut (String, u64, Curve)| {
                (of.as_str(), *by, known.name.as_str()) == (group.as_str(), seed, curve.as_str())
            };
            match found.curves.iter_mut().find(same) {
                Some((.., known)) => known.points.push((images, value)),
                None => {
                    let curve = Curve { name: curve, points: vec![(images, value)] };
                    found.curves.push((group, seed, curve));
                }
            }
        }
        Ok(found)
    }

    /// The curves to be laid under a study's own: those its file names, or the program's of the same study.
    pub(crate) fn of(findings: &Findings) -> Result<Option<Self>, ReportError> {
        if let Some(path) = StudyConfig::as_far_as_readable(&findings.study).reference {
            let length = fs::metadata(&path).map_err(FileError::io(&path))?.len();
            if length > MOST_BYTES {
                return Err(FileError::damaged(&path, "it is too long for a file of curves").into());
            }
            let text = fs::read_to_string(&path).map_err(FileError::io(&path))?;
            let found = Self::from_text(&text).map_err(|error| FileError::damaged(&path, error))?;
            return Ok(Some(found));
        }
        let shipped = SHIPPED.iter().find(|(name, _)| *name == findings.name);
        let found = shipped.and_then(|(_, text)| Self::from_text(text).ok());
        Ok(found.filter(|found| found.question == findings.plan.question))
    }

    /// The curve of a group by its name.
    pub(crate) fn curve(&self, group: &str, name: &str) -> Option<&[(f64, f64)]> {
        let of = |(of, _, curve): &&(String, u64, Curve)| of == group && curve.name == name;
        self.curves.iter().find(of).map(|(.., curve)| curve.points.as_slice())
    }

    /// What it is, for people: what made it, and whether it is of the same plan.
    pub(crate) fn described(&self, findings: &Findings) -> String {
        let other: Vec<String> = (findings.plan.runs())
            .filter(|run| {
                let known = self.plans.iter().find(|(name, _)| *name == run.name());
                known.is_some_and(|(_, plan)| *plan != plan_of(run))
            })
            .map(|run| run.name())
            .collect();
        match &other[..] {
            [] => format!("the reference is of the same plan, measured by {}", self.made),
            other => format!(
                "the reference was measured by {}, and is of another plan than {}",
                self.made,
                other.join(", ")
            ),
        }
    }
}

/// Writes the curves of the finished study in `folder` to `out`, as others lay them under their own.
///
/// # Errors
/// [`ReportError`] if it is no study, is not finished, or the file cannot be written.
pub fn write_curves(folder: &Path, out: &Path) -> Result<PathBuf, ReportError> {
    let findings = Findings::read(folder)?;
    if !findings.missing.is_empty() {
        let reason = format!("not finished: {}", findings.missing.join(", "));
        return Err(FileError::damaged(folder, reason).into());
    }
    let text = Reference::measured(&findings).to_text();
    durable::write(out, text.as_bytes()).map_err(FileError::io(out))?;
    Ok(out.to_owned())
}

/// A run's last losses and residuals beside those of the reference at as many images, for the terminal, and the
/// reference as event files for TensorBoard in `reference/` of the folder; `None` if there is no reference.
///
/// # Errors
/// [`ReportError`] if the folder is no study, or the reference cannot be read or laid there.
pub fn beside_reference(folder: &Path) -> Result<Option<String>, ReportError> {
    let findings = Findings::read(folder)?;
    let Some(reference) = Reference::of(&findings)? else { return Ok(None) };
    reference.lay(folder, &findings)?;
    let mut cells =
        vec![["trained", "curve", "images", "here", "reference", "ratio"].map(str::to_owned).to_vec()];
    for record in findings.teachers.iter().chain(&findings.runs) {
        for curve in record.curves.iter().filter(|curve| curve.name.ends_with("/loss")) {
            let Some(&(images, here)) = curve.points.last() else { continue };
            let Some(there) =
                reference.curve(&record.group, &curve.name).and_then(|points| at(points, images))
            else {
                continue;
            };
            let trained = format!("{}, seed {}", record.group, record.seed);
            let mut row = vec![trained, curve.name.clone(), images.to_string()];
            row.extend([number(here, here), number(there, there), number(here / there, 1.0)]);
            cells.push(row);
        }
    }
    if cells.len() < 2 {
        return Ok(None);
    }
    Ok(Some(format!("{}\n{}.\n", align(&cells, 2), reference.described(&findings))))
}

/// The value of a curve at so many images, between two of its points by a straight line; `None` beyond its ends.
fn at(points: &[(f64, f64)], images: f64) -> Option<f64> {
    let after = points.iter().position(|point| point.0 >= images)?;
    let (x, y) = points[after];
    match after.checked_sub(1).map(|before| points[before]) {
        Some((from, value)) if x > from => Some(value + (y - value) * (images - from) / (x - from)),
        Some(_) => Some(y),
        None => (x == images).then_some(y),
    }
}

impl Reference {
    /// Lays event files beside the runs, with the names of their curves.
    fn lay(&self, folder: &Path, findings: &Findings) -> Result<(), ReportError> {
        let mut groups: Vec<&str> = self.curves.iter().map(|(group, ..)| group.as_str()).collect();
        groups.dedup();
        for group in groups {
            let Some(batch) = batch_of(findings, group) else { continue };
            let path = folder.join("reference").join(group);
            // It is the same whoever lays it there.
            if path.exists() {
                continue;
            }
            durable::create_folders(&path).map_err(FileError::io(&path))?;
            let mut points: Vec<(u64, &str, f64)> = (self.curves.iter().filter(|(of, ..)| of == group))
                .flat_map(|(.., curve)| {
                    let step = move |images: f64| (images / batch as f64).round() as u64;
                    curve
                        .points
                        .iter()
                        .map(move |&(images, value)| (step(images), curve.name.as_str(), value))
                })
                .collect();
            points.sort_by_key(|(step, ..)| *step);
            let write = || {
                let mut events = EventFile::create(&path, 0)?;
                points.iter().try_for_each(|&(step, name, value)| events.scalar(step, name, value))?;
                events.sync()
            };
            write().map_err(FileError::io(&path))?;
        }
        Ok(())
    }
}

/// Images of a step of a group's training.
fn batch_of(findings: &Findings, group: &str) -> Option<usize> {
    if let Some(experiment) = findings.experiment(group) {
        return Some(experiment.consistency.train.batch);
    }
    let teacher = &findings.plan.arms.first()?.experiment.teacher;
    match teacher {
        TeacherSource::Trained(teacher) if group == "teacher" => Some(teacher.train.batch),
        TeacherSource::Trained(_) | TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_read_back_with_what_made_them() {
        let curve = |name: &str, points: &[(f64, f64)]| Curve { name: name.into(), points: points.to_vec() };
        let reference = Reference {
            made: "cm 0.1.0, commit abc, avx2".into(),
            question: "can it: yes?".into(),
            plans: vec![("cd/seed-0".into(), "0123456789abcdef".into())],
            curves: vec![
                ("teacher".into(), 0, curve("teacher/loss", &[(64.0, 0.5), (128.0, 0.25)])),
                ("cd".into(), 0, curve("student/residual/00_from_0.02", &[(64.0, 1e-3)])),
            ],
        };
        let read = Reference::from_text(&reference.to_text()).unwrap();
        assert_eq!(
            (&read.made, &read.question, &read.plans),
            (&reference.made, &reference.question, &reference.plans)
        );
        assert_eq!(read.curves, reference.curves);
        assert_eq!(read.curve("teacher", "teacher/loss").and_then(|points| at(points, 96.0)), Some(0.375));
        assert_eq!(at(&[(64.0, 0.5), (128.0, 0.25)], 129.0), None);
        assert_eq!(at(&[(64.0, 0.5)], 63.0), None);
        assert!(Reference::from_text("group,seed\n1,2\n").is_err());
    }

    #[test]
    fn the_programs_curves_are_those_of_the_repository() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/results/curves");
        let mut files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(files, SHIPPED.map(|(name, _)| name));
        for (name, text) in SHIPPED {
            let read = Reference::from_text(text).unwrap();
            assert!(!read.curves.is_empty() && text.len() < 200_000, "{name}: {} bytes", text.len());
            assert!(!read.question.is_empty() && read.made.contains("commit"), "{name}");
        }
    }
}
