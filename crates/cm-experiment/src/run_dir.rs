//! The folder of one training: of a run, of a teacher, of a mid-training.
//!
//! ```text
//! plan.ron  provenance.ron        what is trained; what began it
//! metrics.jsonl  curves.csv  timing.jsonl  events.out.tfevents.*  samples/*.png     the journal
//! continuations.jsonl             what went on with it, and from which step
//! products.csv                    who computed which product on a GPU, if they were timed
//! checkpoints/                    the last two while it is trained, then the last
//! snapshots/  stages/             of some methods
//! model.safetensors               the result
//! README.md                       of a run: the model card, for people; not sealed
//! scores.csv                      of a run; written last
//! manifest.json                   seals: first of plan and provenance, then, as the last act, of everything
//! ```
//!
//! A training is finished when its result is sealed. Whoever dies between result and manifest leaves a training that
//! makes the same result again from its last checkpoint.

use crate::checkpoints::Checkpoints;
use crate::error::RunError;
use crate::model_file::{MODEL_FILE, ModelKind};
use crate::products::{self, PRODUCTS};
use crate::sealed::SealedFolder;
use crate::table::{self, ReportRow};
use cm_host::{FileError, Identity, Manifest, Provenance, Seal, durable};
use cm_study::{from_ron, to_ron};
use cm_tensor::TensorFile;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Who went on with it.
pub(crate) const CONTINUATIONS: &str = "continuations.jsonl";
/// The files of a finished training, but for the event files.
const FILES: [&str; 7] =
    ["metrics.jsonl", "curves.csv", "timing.jsonl", CONTINUATIONS, PRODUCTS, MODEL_FILE, "scores.csv"];
/// Its folders.
const FOLDERS: [&str; 4] = ["checkpoints", "samples", "snapshots", "stages"];
/// What is sealed when it begins.
const BEGUN: [&str; 2] = ["plan.ron", "provenance.ron"];

/// The folder of one run or one teacher.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    of: Identity,
    seed: u64,
}

impl RunDir {
    /// The folder of what `of` says, made with its plan and provenance if it is not there.
    pub(crate) fn open(path: PathBuf, of: Identity, plan: &str, seed: u64) -> Result<Self, RunError> {
        for folder in [path.clone(), path.join("checkpoints"), path.join("samples")] {
            durable::create_folders(&folder).map_err(FileError::io(&folder))?;
        }
        let file = path.join("plan.ron");
        let sealed = SealedFolder::open(&path)?;
        match sealed.text("plan.ron")? {
            Some(found) if found == plan => {
                sealed.required()?;
                sealed.expect(&of)?;
                sealed.text("provenance.ron")?;
            }
            Some(_) => {
                let reason = "it holds another plan than the study's".to_owned();
                return Err(FileError::Damaged { path: file, reason }.into());
            }
            None => {
                let provenance = to_ron(&Provenance::of_this_process(seed));
                let path_of = path.join("provenance.ron");
                durable::write(&path_of, provenance.as_bytes()).map_err(FileError::io(&path_of))?;
                let files = vec![
                    Seal::of("plan.ron", plan.as_bytes()),
                    Seal::of("provenance.ron", provenance.as_bytes()),
                ];
                Manifest::new(of.clone(), Vec::new(), files).write(&path)?;
                // The last: a folder with a plan has all of these.
                durable::write(&file, plan.as_bytes()).map_err(FileError::io(&file))?;
            }
        }
        Ok(Self { path, of, seed })
    }

    /// The folder; the journal's files lie in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is trained here.
    pub(crate) fn identity(&self) -> &Identity {
        &self.of
    }

    /// The seed of the training.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The folder as it is read.
    pub(crate) fn sealed(&self) -> Result<SealedFolder, FileError> {
        SealedFolder::open(&self.path)
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
    /// [`FileError`] if they are not those that were sealed, cannot be read, or are another run's.
    pub fn scores(&self) -> Result<Option<Vec<ReportRow>>, FileError> {
        let sealed = self.sealed()?;
        if let Some(rows) = sealed.rows("scores.csv")? {
            return Ok(Some(rows));
        }
        // Those of a process that died before it could seal them are made again; but they must be of this run.
        let path = self.path.join("scores.csv");
        let name = |row: &ReportRow| format!("{}/seed-{}", row.arm, row.seed);
        let rows = fs::read_to_string(&path).ok().and_then(|text| table::from_csv(&text).ok());
        match rows.iter().flatten().find(|row| name(row) != self.of.name) {
            Some(row) => {
                let reason = format!("it is of the run {}, and no manifest names it: remove it", name(row));
                Err(FileError::damaged(path, reason))
            }
            None => Ok(None),
        }
    }

    /// Writes its scores; it is then finished.
    ///
    /// # Errors
    /// [`FileError::Io`] if they cannot be written.
    pub fn write_scores(&self, rows: &[ReportRow]) -> Result<(), RunError> {
        let path = self.path.join("scores.csv");
        durable::write(&path, table::to_csv(rows).as_bytes()).map_err(FileError::io(&path))?;
        Ok(self.seal()?)
    }

    /// Its model if it is finished.
    pub(crate) fn model(&self, kind: ModelKind) -> Result<Option<TensorFile>, FileError> {
        let sealed = self.sealed()?;
        if !sealed.is_sealed(MODEL_FILE) {
            return Ok(None);
        }
        let Some(bytes) = sealed.bytes(MODEL_FILE)? else { return Ok(None) };
        let path = self.path.join(MODEL_FILE);
        let file = TensorFile::decode(&bytes).map_err(|error| FileError::damaged(&path, error))?;
        match file.metadata.get("model").and_then(|text| from_ron::<ModelKind>(text).ok()) {
            Some(found) if found == kind => Ok(Some(file)),
            Some(_) | None => Err(FileError::damaged(path, format!("it is no model of a {}", self.of.kind))),
        }
    }

    /// Says that it is being trained: of what was finished before, nothing stays sealed but how it began.
    pub(crate) fn begin(&self) -> Result<(), FileError> {
        let sealed = self.sealed()?;
        let begun = begun(&sealed);
        if sealed.manifest().is_some_and(|manifest| manifest.files.len() > begun.len()) {
            Manifest::new(self.of.clone(), Vec::new(), begun).write(&self.path)?;
        }
        Ok(())
    }

    /// Seals everything in it, as the last act of a training that is done.
    pub(crate) fn seal(&self) -> Result<(), FileError> {
        products::keep(&self.path)?;
        Checkpoints::end(&self.checkpoints())?;
        let mut files = begun(&self.sealed()?);
        for file in self.finished_files()? {
            let path = self.path.join(&file);
            files.push(Seal::of_file(&self.path, &file).map_err(FileError::io(path))?);
        }
        Manifest::new(self.of.clone(), Vec::new(), files).write(&self.path)
    }

    /// Seals event files that came after the training was done; what was sealed stays as it was.
    pub(crate) fn seal_later_events(&self) -> Result<(), RunError> {
        let sealed = self.sealed()?;
        let mut files = sealed.required()?.files.clone();
        for name in names(&self.path)?.into_iter().filter(|name| of_journal(name) && !sealed.is_sealed(name))
        {
            files.push(Seal::of_file(&self.path, &name).map_err(FileError::io(self.path.join(&name)))?);
        }
        Ok(Manifest::new(self.of.clone(), Vec::new(), files).write(&self.path)?)
    }

    /// The names of all that is sealed at the end.
    fn finished_files(&self) -> Result<Vec<String>, FileError> {
        let mut found: Vec<String> =
            FILES.iter().filter(|file| self.path.join(file).is_file()).map(|&file| file.to_owned()).collect();
        found.extend(names(&self.path)?.into_iter().filter(|name| of_journal(name)));
        for folder in FOLDERS {
            found.extend(names(&self.path.join(folder))?.into_iter().map(|name| format!("{folder}/{name}")));
        }
        Ok(found)
    }
}

/// Whether a file is one of events.
fn of_journal(name: &str) -> bool {
    name.starts_with("events.out.")
}

/// The seals it began with.
fn begun(sealed: &SealedFolder) -> Vec<Seal> {
    let seal = |file: &&str| sealed.manifest().and_then(|manifest| manifest.seal(file).cloned());
    BEGUN.iter().filter_map(seal).collect()
}

/// The names of the files in a folder, but for hidden ones; none if it is not there.
fn names(folder: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::io(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::io(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && !name.starts_with('.') {
            found.push(name);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FolderError;

    fn open(path: &Path) -> Result<RunDir, RunError> {
        let of = Identity::new("student", "a/seed-3", "(plan)");
        RunDir::open(path.join("run"), of, "(plan)", 3)
    }

    #[test]
    fn a_run_is_finished_when_its_scores_are_sealed_and_not_before() {
        let scratch = tempfile::tempdir().unwrap();
        let run = open(scratch.path()).unwrap();
        fs::write(run.path().join("metrics.jsonl"), "{}\n").unwrap();
        fs::write(run.checkpoints().join("state-before.safetensors"), "older").unwrap();
        fs::write(run.path().join("scores.csv"), table::to_csv(&[])).unwrap();
        assert_eq!(run.scores().unwrap(), None, "the process died before it could seal them");
        run.write_scores(&[]).unwrap();
        assert_eq!(open(scratch.path()).unwrap().scores().unwrap(), Some(vec![]));
        let sealed = run.sealed().unwrap();
        let files: Vec<&str> =
            sealed.manifest().unwrap().files.iter().map(|seal| seal.file.as_str()).collect();
        assert_eq!(files, ["metrics.jsonl", "plan.ron", "provenance.ron", "scores.csv"]);
        // What is trained again is not finished.
        run.begin().unwrap();
        assert_eq!(run.scores().unwrap(), None);
    }

    #[test]
    fn scores_of_another_run_are_told_before_any_work() {
        let scratch = tempfile::tempdir().unwrap();
        let run = open(scratch.path()).unwrap();
        let row = "b,0,student,one-step,1,frechet-10,0.5,10\n";
        fs::write(run.path().join("scores.csv"), format!("{}\n{row}", table::REPORT_HEADER)).unwrap();
        let told = run.scores().unwrap_err();
        assert!(
            told.is_input() && told.to_string().contains("scores.csv: it is of the run b/seed-0"),
            "{told}"
        );
    }

    #[test]
    fn an_edited_provenance_and_a_manifest_of_another_run_are_told() {
        let scratch = tempfile::tempdir().unwrap();
        let run = open(scratch.path()).unwrap();
        let path = run.path().join("provenance.ron");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(env!("CARGO_PKG_VERSION"), "0.0.9")).unwrap();
        let told = open(scratch.path()).unwrap_err().to_string();
        assert!(told.contains("provenance.ron") && told.contains("remove the folder"), "{told}");
        fs::write(&path, text).unwrap();
        let other = Identity::new("student", "b/seed-3", "(plan)");
        Manifest::new(other, vec![], vec![]).write(run.path()).unwrap();
        let told = open(scratch.path()).unwrap_err().to_string();
        assert!(told.contains("manifest.json: it is of the student b/seed-3"), "{told}");
        fs::remove_file(run.path().join("manifest.json")).unwrap();
        assert!(matches!(open(scratch.path()), Err(RunError::Folder(FolderError::NoManifest { .. }))));
    }
}
