//! Where results are: one folder for a study, one for each run, one for each teacher.
//!
//! ```text
//! runs/STUDY/
//!   study.ron  plan.ron           the file as written; the plan it stands for
//!   ARM/seed-N/                   a run: see `run_dir.rs`
//!   mid-training/HASH/            the same, for a mid-training that several arms share
//!   first-stage/HASH/             the same, for a first consistency training
//!   teachers/HASH/                the same, for a teacher that several runs share
//!   report.csv  report.md         written when all runs are finished
//!   manifest.json                 seals of these and of the inputs: data sets, weights; written with the plan, and
//!                                 last of all
//!   .lock                         held while a process works here
//! ```
//!
//! A study whose `report.csv` is sealed is finished. Nothing is overwritten unless [it is asked for](StudyDir::replace): a
//! folder that holds anything else
//! than the same plan is an error, and so is one whose plan, study file, report or inputs are not those that were
//! sealed.

mod replaced;

use crate::error::{FolderError, RunError};
use crate::run_dir::RunDir;
use crate::sealed::{STUDY, SealedFolder, TEACHER, identity_of};
use crate::table::{self, ReportRow};
use crate::{inputs, paired};
use cm_host::{FileError, Identity, MANIFEST, Manifest, Seal, durable};
use cm_study::{Plan, PlannedRun, Study, TeacherKey, is_file_name};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The folder of a study, held by this process.
#[derive(Debug)]
pub struct StudyDir {
    path: PathBuf,
    /// Held open for its lock, which goes with the process however that ends.
    _lock: File,
}

/// What was found where a study's results are to go.
#[derive(Debug)]
pub enum Opened {
    /// Nothing: a folder to work in.
    New(StudyDir),
    /// The finished results of the same plan.
    Finished {
        /// The folder.
        path: PathBuf,
        /// Its table.
        table: String,
    },
}

impl StudyDir {
    /// The folder `out/STUDY` for a study that is run for the first time. Finds out before any work whether results
    /// can be written.
    ///
    /// # Errors
    /// [`FolderError`] if they cannot, another process works there, or the folder holds something else than finished
    /// results of the same plan.
    pub fn create(study: &Study, out: &Path) -> Result<Opened, RunError> {
        let path = out.join(&study.name);
        let plan = study.plan.to_ron();
        match fs::read(path.join("plan.ron")) {
            Ok(_) => return Self::found(path, study, &plan),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(FileError::NotWritable { path, source }.into()),
        }
        durable::create_folders(&path)
            .map_err(|source| FileError::NotWritable { path: path.clone(), source })?;
        let lock = lock(&path)?;
        let others = fs::read_dir(&path).map_err(FileError::io(&path))?;
        for entry in others {
            let name = entry.map_err(FileError::io(&path))?.file_name();
            let name = name.to_string_lossy();
            // A process that ended before its plan was written leaves only these.
            if !name.starts_with('.') && name != "study.ron" && name != MANIFEST {
                let reason = format!("`{name}` in it is nothing of a study's");
                return Err(FolderError::Stranger { path, reason }.into());
            }
        }
        let inputs = inputs::of(&study.plan)?;
        let files = vec![Seal::of("study.ron", study.text.as_bytes()), Seal::of("plan.ron", plan.as_bytes())];
        let manifest = Manifest::new(Identity::new(STUDY, &study.name, &plan), inputs, files);
        let not_writable = |source| FileError::NotWritable { path: path.clone(), source };
        durable::write(&path.join("study.ron"), study.text.as_bytes()).map_err(not_writable)?;
        manifest.write(&path)?;
        // The last: a folder with a plan is a study.
        durable::write(&path.join("plan.ron"), plan.as_bytes()).map_err(not_writable)?;
        Ok(Opened::New(Self { path, _lock: lock }))
    }

    /// What a folder is that holds a plan already.
    fn found(path: PathBuf, study: &Study, plan: &str) -> Result<Opened, RunError> {
        let sealed = SealedFolder::open(&path)?;
        if sealed.text("plan.ron")?.as_deref() != Some(plan) {
            return Err(FolderError::OtherPlan { path }.into());
        }
        let manifest = sealed.required()?;
        if sealed.has("report.csv") {
            sealed.text("study.ron")?;
            inputs::compare(&study.plan, &manifest.inputs, &path)?;
            let table = report_of(&path)?;
            return Ok(Opened::Finished { path, table });
        }
        // A process that works there is the better explanation of an unfinished study.
        lock(&path)?;
        Err(FolderError::Unfinished { path }.into())
    }

    /// The folder of a study that was stopped, and the study itself as it was planned, whatever became of its file.
    ///
    /// # Errors
    /// [`FolderError`] if it is no study's folder, its inputs were changed, it cannot be written, or another process
    /// works there; [`FileError::Damaged`] if its plan or its study file were changed.
    pub fn reopen(path: &Path) -> Result<(Self, Study), RunError> {
        let no_study = |reason: String| FolderError::NoStudy { path: path.to_owned(), reason };
        let (sealed, plan) = planned(path)?;
        let manifest = sealed.required()?;
        let text = sealed.text("study.ron")?.ok_or_else(|| {
            let reason = "it is missing: put it back, or run the study anew with another --out";
            FileError::damaged(path.join("study.ron"), reason)
        })?;
        let full = fs::canonicalize(path).map_err(|error| no_study(error.to_string()))?;
        let name = full.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let lock = lock(path)?;
        inputs::compare(&plan, &manifest.inputs, path)?;
        let study =
            Study { path: path.join("study.ron"), name, text, plan, notes: Vec::new(), absent: Vec::new() };
        Ok((Self { path: path.to_owned(), _lock: lock }, study))
    }

    /// The plan of the study in a folder, finished or not.
    ///
    /// # Errors
    /// [`FolderError::NoStudy`] if it is no study's folder, [`FolderError::NoManifest`] if nothing says that it is the
    /// plan it began with, [`FileError::Damaged`] if it is not.
    pub fn plan_of(path: &Path) -> Result<Plan, RunError> {
        let (sealed, plan) = planned(path)?;
        sealed.required()?;
        Ok(plan)
    }

    /// That the inputs of its plan, data sets and weights, are those it began with.
    ///
    /// # Errors
    /// [`FolderError::InputChanged`] if they are not.
    pub fn check_inputs(&self) -> Result<(), RunError> {
        let (sealed, plan) = planned(&self.path)?;
        inputs::compare(&plan, &sealed.required()?.inputs, &self.path)
    }

    /// The folder of a study whose runs several processes do, each holding a lock for its run: such processes keep out
    /// those that want the study for themselves, and no others.
    ///
    /// # Errors
    /// [`FolderError`] if it cannot be written, or one process works on the whole study.
    pub fn share(path: &Path) -> Result<Self, RunError> {
        let not_writable = |source| FileError::NotWritable { path: path.to_owned(), source };
        let file = File::create(path.join(".lock")).map_err(not_writable)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(FileError::Busy { path: path.to_owned() }.into()),
            Err(TryLockError::Error(source)) => Err(not_writable(source).into()),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of one run, made with its plan and provenance if it is not there.
    ///
    /// # Errors
    /// [`FileError::Io`] if it cannot be made, [`FileError::Damaged`] if it holds another run's plan.
    pub fn run_dir(&self, run: &PlannedRun) -> Result<RunDir, RunError> {
        debug_assert!(is_file_name(&run.arm), "plans have such names only");
        let path = self.path.join(&run.arm).join(format!("seed-{}", run.seed));
        RunDir::open(path, identity_of(run), &run.to_ron(), run.seed)
    }

    /// The folder of a teacher, shared by all runs with the same key, made if it is not there.
    ///
    /// # Errors
    /// As [`run_dir`](Self::run_dir).
    pub fn teacher_dir(&self, key: &TeacherKey) -> Result<RunDir, RunError> {
        self.shared(TEACHER, "teachers", key)
    }

    /// The folder of a mid-training, shared by all runs with the same key, made if it is not there.
    ///
    /// # Errors
    /// As [`run_dir`](Self::run_dir).
    pub(crate) fn mid_training_dir(&self, key: &TeacherKey) -> Result<RunDir, RunError> {
        self.shared("mid-training", "mid-training", key)
    }

    /// The folder of a first stage, shared by all runs with the same key, made if it is not there.
    ///
    /// # Errors
    /// As [`run_dir`](Self::run_dir).
    pub(crate) fn first_stage_dir(&self, key: &TeacherKey) -> Result<RunDir, RunError> {
        self.shared("first stage", "first-stage", key)
    }

    fn shared(&self, kind: &str, parent: &str, key: &TeacherKey) -> Result<RunDir, RunError> {
        let of = Identity::new(kind, &key.hash, &key.decided_by);
        RunDir::open(self.path.join(parent).join(&key.hash), of, &key.decided_by, key.seed)
    }

    /// The folder of something else that runs share, such as a classifier, by its name.
    ///
    /// # Errors
    /// [`FileError::Io`] if it cannot be made.
    pub fn shared_dir(&self, name: &str) -> Result<PathBuf, RunError> {
        let path = self.path.join("shared").join(name);
        durable::create_folders(&path).map_err(FileError::io(&path))?;
        Ok(path)
    }

    /// Writes `report.csv` and `report.md` and returns the table. The study is then finished.
    ///
    /// # Errors
    /// [`FileError::Io`] if they cannot be written.
    pub fn write_report(&self, question: &str, rows: &[ReportRow]) -> Result<String, RunError> {
        let table = result(rows);
        let title = if question.is_empty() { "Report" } else { question };
        let text = format!(
            "# {title}\n\n{table}\nMean and, over several seeds, standard deviation. Scores of different numbers of samples do not compare.\n"
        );
        let csv = table::to_csv(rows);
        let sealed = SealedFolder::open(&self.path)?;
        let begun = sealed.required()?;
        let mut files: Vec<Seal> =
            ["study.ron", "plan.ron"].iter().filter_map(|file| begun.seal(file).cloned()).collect();
        for (file, text) in [("report.md", &text), ("report.csv", &csv)] {
            let path = self.path.join(file);
            durable::write(&path, text.as_bytes()).map_err(FileError::io(&path))?;
            files.push(Seal::of(file, text.as_bytes()));
        }
        Manifest::new(begun.of.clone(), begun.inputs.clone(), files).write(&self.path)?;
        Ok(table)
    }
}

/// The folder of a study as it is read, and its plan.
fn planned(path: &Path) -> Result<(SealedFolder, Plan), RunError> {
    let no_study = |reason: String| FolderError::NoStudy { path: path.to_owned(), reason };
    // Whatever the file system says, a folder without a plan is no study's.
    fs::metadata(path.join("plan.ron")).map_err(|error| no_study(error.to_string()))?;
    let sealed = SealedFolder::open(path)?;
    let text = sealed.text("plan.ron")?.unwrap_or_default();
    let plan = Plan::from_ron(&text).map_err(|error| no_study(error.to_string()))?;
    Ok((sealed, plan))
}

/// The table of the finished results in a study's folder.
///
/// # Errors
/// [`FolderError::NoStudy`] if it is no study's folder, [`RunError`] if a result cannot be read.
pub(crate) fn report_of(path: &Path) -> Result<String, RunError> {
    let (sealed, plan) = planned(path)?;
    if let Some(rows) = sealed.rows("report.csv")? {
        return Ok(result(&rows));
    }
    let mut rows = Vec::new();
    for run in plan.runs() {
        let folder = SealedFolder::of_run(&path.join(run.name()), &run)?;
        rows.extend(folder.rows("scores.csv")?.into_iter().flatten());
    }
    Ok(result(&rows))
}

/// The table of a study and, where seeds can be paired, that of the differences of its arms.
fn result(rows: &[ReportRow]) -> String {
    let differences = paired::differences_text(rows).map_or_else(String::new, |text| format!("\n{text}"));
    table::markdown(rows) + &differences
}

/// Takes the folder's lock, or says who is in the way.
fn lock(path: &Path) -> Result<File, FileError> {
    let not_writable = |source| FileError::NotWritable { path: path.to_owned(), source };
    let file = File::create(path.join(".lock")).map_err(not_writable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FileError::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(not_writable(source)),
    }
}

#[cfg(test)]
mod tests;
