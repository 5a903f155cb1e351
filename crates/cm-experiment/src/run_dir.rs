//! Where results are: one folder for a study, one for each run, one for each teacher.
//!
//! ```text
//! runs/STUDY/
//!   study.ron  plan.ron           the file as written; the plan it stands for
//!   ARM/seed-N/                   plan.ron  provenance.ron  metrics.jsonl  curves.csv  timing.jsonl
//!                                 events.out.tfevents.*  checkpoints/  samples/*.png  model.safetensors
//!                                 scores.csv (written last)
//!   mid-training/HASH/            the same, for a mid-training that several arms share
//!   teachers/HASH/                the same, for a teacher that several runs share
//!   report.csv  report.md         written last of all
//!   .lock                         held while a process works here
//! ```
//!
//! A run whose `scores.csv` is there is finished; so is a study whose `report.csv` is there. Nothing is overwritten
//! silently: a folder that holds anything else than the same plan is an error.

use crate::error::{FolderError, RunError};
use crate::paired;
use crate::table::{self, ReportRow};
use cm_host::{FileError, Provenance, durable};
use cm_study::{Plan, PlannedRun, Study, TeacherKey, is_file_name, to_ron};
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
        match fs::read_to_string(path.join("plan.ron")) {
            Ok(found) if found != plan => return Err(FolderError::OtherPlan { path }.into()),
            Ok(_) if path.join("report.csv").exists() => {
                let table = report_of(&path)?;
                return Ok(Opened::Finished { path, table });
            }
            Ok(_) => {
                // A process that works there is the better explanation of an unfinished study.
                lock(&path)?;
                return Err(FolderError::Unfinished { path }.into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(FileError::NotWritable { path, source }.into()),
        }
        durable::create_folders(&path)
            .map_err(|source| FileError::NotWritable { path: path.clone(), source })?;
        let lock = lock(&path)?;
        let others = fs::read_dir(&path).map_err(FileError::io(&path))?;
        for entry in others {
            let name = entry.map_err(FileError::io(&path))?.file_name();
            // A process that ended before its plan was written leaves only these.
            if !name.to_string_lossy().starts_with('.') && name != "study.ron" {
                return Err(FolderError::OtherPlan { path }.into());
            }
        }
        for (name, text) in [("study.ron", &study.text), ("plan.ron", &plan)] {
            durable::write(&path.join(name), text.as_bytes())
                .map_err(|source| FileError::NotWritable { path: path.clone(), source })?;
        }
        Ok(Opened::New(Self { path, _lock: lock }))
    }

    /// The folder of a study that was stopped, and the study itself as it was planned, whatever became of its file.
    ///
    /// # Errors
    /// [`FolderError`] if it is no study's folder, cannot be written, or another process works there.
    pub fn reopen(path: &Path) -> Result<(Self, Study), RunError> {
        let no_study = |reason: String| FolderError::NoStudy { path: path.to_owned(), reason };
        let read =
            |name: &str| fs::read_to_string(path.join(name)).map_err(|error| no_study(error.to_string()));
        let plan = Plan::from_ron(&read("plan.ron")?).map_err(|error| no_study(error.to_string()))?;
        let text = read("study.ron")?;
        let full = fs::canonicalize(path).map_err(|error| no_study(error.to_string()))?;
        let name = full.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let lock = lock(path)?;
        let study =
            Study { path: path.join("study.ron"), name, text, plan, notes: Vec::new(), absent: Vec::new() };
        Ok((Self { path: path.to_owned(), _lock: lock }, study))
    }

    /// The plan of the study in a folder, finished or not.
    ///
    /// # Errors
    /// [`FolderError::NoStudy`] if it is no study's folder.
    pub(crate) fn plan_of(path: &Path) -> Result<Plan, RunError> {
        let no_study = |reason: String| FolderError::NoStudy { path: path.to_owned(), reason };
        let text = fs::read_to_string(path.join("plan.ron")).map_err(|error| no_study(error.to_string()))?;
        Ok(Plan::from_ron(&text).map_err(|error| no_study(error.to_string()))?)
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
        RunDir::open(path, &run.to_ron(), run.seed)
    }

    /// The folder of a teacher, shared by all runs with the same key, made if it is not there.
    ///
    /// # Errors
    /// As [`run_dir`](Self::run_dir).
    pub fn teacher_dir(&self, key: &TeacherKey) -> Result<RunDir, RunError> {
        RunDir::open(self.path.join("teachers").join(&key.hash), &key.decided_by, key.seed)
    }

    /// The folder of a mid-training, shared by all runs with the same key, made if it is not there.
    ///
    /// # Errors
    /// As [`run_dir`](Self::run_dir).
    pub(crate) fn mid_training_dir(&self, key: &TeacherKey) -> Result<RunDir, RunError> {
        RunDir::open(self.path.join("mid-training").join(&key.hash), &key.decided_by, key.seed)
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
        let path = self.path.join("report.md");
        durable::write(&path, text.as_bytes()).map_err(FileError::io(&path))?;
        let path = self.path.join("report.csv");
        durable::write(&path, table::to_csv(rows).as_bytes()).map_err(FileError::io(&path))?;
        Ok(table)
    }
}

/// The table of the results in a study's folder, finished or not.
///
/// # Errors
/// [`FolderError::NoStudy`] if it is no study's folder, [`RunError`] if a result cannot be read.
pub(crate) fn report_of(path: &Path) -> Result<String, RunError> {
    let report = path.join("report.csv");
    if report.exists() {
        return Ok(result(&read_rows(&report)?));
    }
    let no_study = |reason: String| FolderError::NoStudy { path: path.to_owned(), reason };
    let text = fs::read_to_string(path.join("plan.ron")).map_err(|error| no_study(error.to_string()))?;
    let plan = Plan::from_ron(&text).map_err(|error| no_study(error.to_string()))?;
    let mut rows = Vec::new();
    for run in plan.runs() {
        let scores = path.join(run.name()).join("scores.csv");
        if scores.exists() {
            rows.extend(read_rows(&scores)?);
        }
    }
    Ok(result(&rows))
}

/// The table of a study and, where seeds can be paired, that of the differences of its arms.
fn result(rows: &[ReportRow]) -> String {
    let differences = paired::differences_text(rows).map_or_else(String::new, |text| format!("\n{text}"));
    table::markdown(rows) + &differences
}

/// The rows of `report.csv` or of a run's `scores.csv`.
///
/// # Errors
/// [`FileError`] if they cannot be read.
pub fn read_rows(path: &Path) -> Result<Vec<ReportRow>, FileError> {
    let text = fs::read_to_string(path).map_err(FileError::io(path))?;
    table::from_csv(&text).map_err(|error| FileError::damaged(path, error))
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

/// The folder of one run or one teacher.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    fn open(path: PathBuf, plan: &str, seed: u64) -> Result<Self, RunError> {
        for folder in [path.clone(), path.join("checkpoints"), path.join("samples")] {
            durable::create_folders(&folder).map_err(FileError::io(&folder))?;
        }
        let file = path.join("plan.ron");
        match fs::read_to_string(&file) {
            Ok(found) if found == plan => return Ok(Self { path }),
            Ok(_) => {
                let reason = "it holds another plan than the study's".to_owned();
                return Err(FileError::Damaged { path: file, reason }.into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(FileError::Io { path: file, source }.into()),
        }
        let provenance = path.join("provenance.ron");
        durable::write(&provenance, to_ron(&Provenance::of_this_process(seed)).as_bytes())
            .map_err(FileError::io(&provenance))?;
        durable::write(&file, plan.as_bytes()).map_err(FileError::io(&file))?;
        Ok(Self { path })
    }

    /// The folder; the journal's files lie in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Where its pictures are.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples")
    }

    /// Its scores if it is finished.
    ///
    /// # Errors
    /// [`RunError`] if they are there but cannot be read.
    pub fn scores(&self) -> Result<Option<Vec<ReportRow>>, FileError> {
        let path = self.path.join("scores.csv");
        if path.exists() { read_rows(&path).map(Some) } else { Ok(None) }
    }

    /// Writes its scores; it is then finished.
    ///
    /// # Errors
    /// [`FileError::Io`] if they cannot be written.
    pub fn write_scores(&self, rows: &[ReportRow]) -> Result<(), RunError> {
        let path = self.path.join("scores.csv");
        Ok(durable::write(&path, table::to_csv(rows).as_bytes()).map_err(FileError::io(&path))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_network::{MlpConfig, NetworkConfig};
    use cm_study::{ArmConfig, ArmsConfig, ExperimentConfig, StudyConfig, TeacherSource};

    fn study(seeds: &[u64]) -> Study {
        let base =
            ExperimentConfig { network: NetworkConfig::Mlp(MlpConfig::default()), ..Default::default() };
        let arms = ArmsConfig::Star(vec![ArmConfig { name: "a".into(), changes: vec![], published: vec![] }]);
        let config = StudyConfig { seeds: seeds.to_vec(), base, arms, ..Default::default() };
        let plan = config.build().unwrap().plan;
        Study {
            path: "s.ron".into(),
            name: "s".into(),
            text: "( )".into(),
            plan,
            notes: vec![],
            absent: vec![],
        }
    }

    fn new(opened: Opened) -> StudyDir {
        match opened {
            Opened::New(dir) => dir,
            Opened::Finished { path, .. } => panic!("{} is finished", path.display()),
        }
    }

    fn row(seed: u64) -> ReportRow {
        let text = |text: &str| text.to_owned();
        ReportRow {
            arm: text("a"),
            seed,
            model: text("student"),
            sampler: text("one-step"),
            nfe: 1,
            metric: text("frechet-10"),
            value: 0.5,
            samples: 10,
        }
    }

    #[test]
    fn a_study_is_created_interrupted_reopened_and_finished() {
        let out = tempfile::tempdir().unwrap();
        let study = study(&[0, 1]);
        let dir = new(StudyDir::create(&study, out.path()).unwrap());
        let busy = StudyDir::create(&study, out.path()).err().unwrap();
        assert!(matches!(busy, RunError::File(FileError::Busy { .. })), "{busy}");
        let run = study.plan.runs().next().unwrap();
        let run_dir = dir.run_dir(&run).unwrap();
        assert!(run_dir.scores().unwrap().is_none());
        run_dir.write_scores(&[row(0)]).unwrap();
        drop(dir);

        let unfinished = StudyDir::create(&study, out.path()).err().unwrap();
        assert!(matches!(unfinished, RunError::Folder(FolderError::Unfinished { .. })), "{unfinished}");
        let path = out.path().join("s");
        assert!(report_of(&path).unwrap().contains("0.5000"), "the results so far");
        let (dir, reopened) = StudyDir::reopen(&path).unwrap();
        assert_eq!((&reopened.plan, &reopened.name, &reopened.text), (&study.plan, &study.name, &study.text));
        assert_eq!(dir.run_dir(&run).unwrap().scores().unwrap().unwrap(), [row(0)]);
        let table = dir.write_report("", &[row(0), row(1)]).unwrap();
        drop(dir);
        let finished = StudyDir::create(&study, out.path()).unwrap();
        assert!(matches!(finished, Opened::Finished { table: found, .. } if found == table));
    }

    #[test]
    fn another_plan_is_not_mixed_in() {
        let out = tempfile::tempdir().unwrap();
        drop(StudyDir::create(&study(&[0]), out.path()).unwrap());
        let other = StudyDir::create(&study(&[1]), out.path()).err().unwrap();
        assert!(matches!(other, RunError::Folder(FolderError::OtherPlan { .. })), "{other}");
        assert!(other.is_input());
    }

    #[test]
    fn runs_with_the_same_teacher_share_its_folder() {
        let mut experiment = study(&[0]).plan.arms.remove(0).experiment;
        let key = TeacherKey::of(&experiment).unwrap();
        experiment.consistency.train.batch += 1;
        assert_eq!(TeacherKey::of(&experiment).unwrap(), key, "the student does not decide the teacher");
        experiment.teacher_seed += 1;
        assert_ne!(TeacherKey::of(&experiment).unwrap().hash, key.hash);
        experiment.teacher = TeacherSource::None;
        assert_eq!(TeacherKey::of(&experiment), None);
    }
}
