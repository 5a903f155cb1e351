//! The folder of a sweep and its task list.

use crate::error::SweepError;
use cm_experiment::{FolderError, SealedFolder, StudyDir};
use cm_host::{FileError, MANIFEST, ResultFolder, durable};
use cm_study::{
    GridAxis, InputErrors, Override, Plan, PlannedRun, Study, TeacherKey, apply_overrides, baseline_key,
    check, grid_head, grid_name, grid_points, is_file_name, label, read_text,
};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The file with the scores of a task.
pub(crate) const SCORES: &str = "scores.csv";

/// What a task does.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Trains the teacher of a run, if it has one to train, and scores held-out data and the teacher.
    Baselines(PlannedRun),
    /// Trains and scores a student.
    Run(PlannedRun),
}

/// One task of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its number, from 0.
    pub index: usize,
    /// What people call it: `l1/seed-0`, `baselines/HASH`.
    pub name: String,
    /// What it does.
    pub work: Work,
    /// The task that trains the teacher this one needs; started together, one would wait for the other.
    pub after: Option<usize>,
}

/// A sweep's folder, opened.
#[derive(Clone, Debug)]
pub struct Sweep {
    path: PathBuf,
    plan: Plan,
    tasks: Vec<Task>,
}

/// The study of a sweep: for each combination of the axes' values, all arms of the file with some fields set.
///
/// # Errors
/// [`InputErrors`] with every problem of the first combination that has any.
pub fn plan_sweep(
    file: &Path,
    overrides: &[Override],
    axes: &[GridAxis],
    name: Option<&str>,
) -> Result<Study, InputErrors> {
    let (file_name, text) = read_text(file)?;
    let text = apply_overrides(file, &text, overrides)?;
    let name = name.unwrap_or(&file_name);
    if !is_file_name(name) {
        let message = format!("the sweep's folder would be called `{name}`");
        return Err(InputErrors::whole_file(
            Path::new("--name"),
            message,
            "letters, digits, `-`, `_` and `.`",
        ));
    }
    let mut study: Option<(Plan, Vec<String>)> = None;
    for point in grid_points(axes) {
        let all = [overrides, &point.overrides].concat();
        let checked = check(&label(file, &all), &apply_overrides(file, &text, &point.overrides)?)?;
        let mut plan = checked.plan;
        for arm in &mut plan.arms {
            let own = if arm.name == "base" && !point.name.is_empty() { "" } else { &arm.name };
            arm.name = grid_name(own, &point.name);
        }
        let (whole, notes) = study.get_or_insert_with(|| (Plan { arms: vec![], ..plan.clone() }, vec![]));
        for arm in plan.arms {
            if let Some(twin) = whole.arms.iter().find(|other| other.experiment == arm.experiment) {
                let message = format!("`{}` and `{}` are the same experiment", twin.name, arm.name);
                let allowed = "a grid of different values, over fields that no arm sets itself";
                return Err(InputErrors::whole_file(&label(file, &all), message, allowed));
            }
            whole.arms.push(arm);
        }
        notes.extend(checked.notes);
    }
    let (plan, mut notes) = study.unwrap_or_else(|| unreachable!("a grid has at least one point"));
    notes.dedup();
    Ok(Study {
        path: file.to_owned(),
        name: name.to_owned(),
        text: grid_head(axes) + &text,
        plan,
        notes,
        absent: Vec::new(),
    })
}

impl Sweep {
    /// The folder `out/NAME` for a study, made with its task list if it is not there; with `overwrite`, in place of a study
    /// that is.
    ///
    /// # Errors
    /// [`FolderError`] if it cannot be written or holds anything else than this sweep; with `overwrite`, anything else than
    /// a study.
    pub fn create(study: &Study, out: &Path, overwrite: bool) -> Result<Self, SweepError> {
        let path = out.join(&study.name);
        if overwrite {
            drop(StudyDir::replace(study, out)?);
        }
        let results = ResultFolder::new(&path, &["study.ron", "plan.ron", MANIFEST, "tasks.csv", ".lock"])?;
        match fs::read_to_string(path.join("plan.ron")) {
            Ok(found) if found != study.plan.to_ron() => return Err(FolderError::OtherPlan { path }.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(StudyDir::create(study, out)?);
            }
            Err(source) => return Err(FileError::NotWritable { path, source }.into()),
        }
        let tasks = tasks(&study.plan);
        let inside = ResultFolder::new(&path.join("tasks"), &[])?;
        let list: String = tasks.iter().map(|task| format!("{},{}\n", task.index, task.name)).collect();
        let file = path.join("tasks.csv");
        durable::write(&file, format!("task,name\n{list}").as_bytes()).map_err(FileError::io(&file))?;
        inside.keep();
        results.keep();
        Ok(Self { path, plan: study.plan.clone(), tasks })
    }

    /// The sweep in a folder.
    ///
    /// # Errors
    /// [`FolderError::NoStudy`] if there is none.
    pub fn open(path: &Path) -> Result<Self, SweepError> {
        let no_study = |reason: String| FolderError::NoStudy { path: path.to_owned(), reason };
        let plan = StudyDir::plan_of(path)?;
        if !path.join("tasks.csv").is_file() {
            let reason = "it has no tasks.csv: `cm sweep plan` makes one".to_owned();
            return Err(no_study(reason).into());
        }
        let tasks = tasks(&plan);
        Ok(Self { path: path.to_owned(), plan, tasks })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The plan of its runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What there is to do.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// A file of a task: `lock`, `ron` or `log`.
    pub(crate) fn file(&self, task: usize, kind: &str) -> PathBuf {
        self.path.join("tasks").join(format!("{task:04}.{kind}"))
    }

    /// Where a task's scores are when it is finished.
    pub(crate) fn results(&self, task: &Task) -> PathBuf {
        self.path.join(&task.name)
    }

    /// Whether a task's scores are there and sealed. Whoever works on a task finds out what is wrong with its folder.
    pub(crate) fn is_finished(&self, task: &Task) -> bool {
        SealedFolder::open(&self.results(task)).is_ok_and(|folder| folder.has(SCORES))
    }
}

/// Baselines first, in the order in which runs need them, then the runs.
fn tasks(plan: &Plan) -> Vec<Task> {
    let mut baselines: Vec<(String, PlannedRun)> = Vec::new();
    for run in plan.runs() {
        let key = baseline_key(&run.experiment);
        if baselines.iter().all(|(other, _)| *other != key) {
            baselines.push((key, run));
        }
    }
    let name = |key: &str| format!("baselines/{}", &blake3::hash(key.as_bytes()).to_hex()[..16]);
    // The first baseline with the same teacher trains it.
    let teacher = |run: &PlannedRun| TeacherKey::of(&run.experiment);
    let trains = |run: &PlannedRun| {
        let wanted = teacher(run)?;
        baselines.iter().position(|(_, other)| teacher(other).as_ref() == Some(&wanted))
    };
    let mut tasks: Vec<Task> = Vec::new();
    for (index, (key, run)) in baselines.iter().enumerate() {
        let after = trains(run).filter(|&first| first != index);
        tasks.push(Task { index, name: name(key), work: Work::Baselines(run.clone()), after });
    }
    for run in plan.runs() {
        let after = trains(&run);
        tasks.push(Task { index: tasks.len(), name: run.name(), work: Work::Run(run), after });
    }
    tasks
}

impl Work {
    /// The run it belongs to.
    pub(crate) fn run(&self) -> &PlannedRun {
        match self {
            Self::Baselines(run) | Self::Run(run) => run,
        }
    }
}
