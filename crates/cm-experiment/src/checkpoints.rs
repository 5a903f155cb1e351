//! The last two checkpoints of a training.
//!
//! `checkpoints/state.safetensors` is the newest, `state-before.safetensors` the one before it, until the training is
//! done. A newest one that is damaged is passed over for the older; one of another training is told. Each says whose it
//! is, and holds the seals of all that had been written down when it was written ([`Journal`](crate::Journal)), so that
//! records which were cut or changed since are told too. Deliberately absent: what is in it (`phase.rs`).

use crate::error::RunError;
use crate::journal::Seen;
use crate::tensor_file::{read, write_file};
use cm_host::{FileError, Identity, Seal, durable};
use cm_tensor::{CheckpointError, TensorFile};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The name of the one before the newest.
const OLDER: &str = "state-before.safetensors";
/// The entry of a checkpoint that says whose it is.
const OF: &str = "of";
/// The entry with the seals.
const RECORDS: &str = "records";
/// The entry of a checkpoint behind which the method was still to be looked at.
const LOOKING: &str = "looking";
/// What to do about a checkpoint that cannot be used.
const REMEDY: &str = "remove the folder of checkpoints, and `cm resume` begins this training again";

/// A checkpoint that was read.
pub(crate) struct Checkpoint {
    pub(crate) path: PathBuf,
    pub(crate) content: TensorFile,
    /// Steps done.
    pub(crate) step: u64,
    /// What had been written down.
    pub(crate) records: Vec<Seal>,
    /// The method was still to be looked at after that step.
    pub(crate) looking: bool,
    /// Why the newest one was passed over.
    pub(crate) note: Option<String>,
}

impl Checkpoint {
    /// What it has seen of the journal.
    pub(crate) fn seen(&self) -> Seen<'_> {
        Seen { step: self.step, seals: &self.records, looking: self.looking }
    }
}

/// Where the checkpoints of a training are.
pub(crate) struct Checkpoints {
    newest: PathBuf,
    older: PathBuf,
    of: Identity,
    /// The newest one is no worthy successor of the older.
    damaged: bool,
}

impl Checkpoints {
    /// Those in a folder, of the training that `of` says.
    pub(crate) fn new(folder: &Path, of: &Identity) -> Self {
        Self {
            newest: folder.join("state.safetensors"),
            older: folder.join(OLDER),
            of: of.clone(),
            damaged: false,
        }
    }

    /// The newest checkpoint that is whole; `None` if there is none at all.
    pub(crate) fn read(&mut self) -> Result<Option<Checkpoint>, FileError> {
        let damage = match read(&self.newest) {
            Ok(Some(content)) => return self.checked(&self.newest, content, None).map(Some),
            Ok(None) => None,
            Err(FileError::Damaged { path, reason }) => Some((path, reason)),
            Err(error) => return Err(error),
        };
        self.damaged = damage.is_some();
        match (read(&self.older), damage) {
            (Ok(Some(content)), damage) => {
                let note = damage.map(|(path, reason)| {
                    format!("{}: {reason}; going on from the checkpoint before it", path.display())
                });
                self.checked(&self.older, content, note).map(Some)
            }
            (Ok(None), None) => Ok(None),
            (Ok(None) | Err(_), Some((path, reason))) => {
                Err(FileError::Damaged { path, reason: format!("{reason}; {REMEDY}") })
            }
            (Err(error), None) => Err(error),
        }
    }

    fn checked(
        &self,
        path: &Path,
        content: TensorFile,
        note: Option<String>,
    ) -> Result<Checkpoint, FileError> {
        let refused = |reason: &str| FileError::damaged(path, format!("{reason}; {REMEDY}"));
        let text = |key: &str| content.metadata.get(key).map(String::as_str);
        self.of.compare(text(OF)).map_err(|reason| refused(&reason))?;
        let records = text(RECORDS).and_then(|text| serde_json::from_str(text).ok());
        let lacks = |key: &str| refused(&CheckpointError::Entry(key.to_owned()).to_string());
        let records = records.ok_or_else(|| lacks(RECORDS))?;
        let step = content.parse("step").map_err(|_| lacks("step"))?;
        let looking = content.metadata.contains_key(LOOKING);
        Ok(Checkpoint { path: path.to_owned(), content, step, records, looking, note })
    }

    /// Writes one from which the method is looked at first; what that records is not in it.
    pub(crate) fn write_before_look(
        &mut self,
        mut content: TensorFile,
        records: &[Seal],
    ) -> Result<(), RunError> {
        content.metadata.insert(LOOKING.into(), String::new());
        self.write(content, records)
    }

    /// Writes the newest one; the one that was becomes the older.
    pub(crate) fn write(&mut self, mut content: TensorFile, records: &[Seal]) -> Result<(), RunError> {
        content.metadata.insert(OF.into(), self.of.to_text());
        let records = serde_json::to_string(records).expect("texts and numbers are JSON");
        content.metadata.insert(RECORDS.into(), records);
        if !self.damaged {
            keep(&self.newest, &self.older).map_err(FileError::io(&self.older))?;
        }
        write_file(&self.newest, &content)?;
        self.damaged = false;
        Ok(())
    }

    /// Leaves the newest one alone in a folder, of a training that is done.
    pub(crate) fn end(folder: &Path) -> Result<(), FileError> {
        let older = folder.join(OLDER);
        durable::remove(&older).map_err(FileError::io(older))
    }
}

/// Gives a file a second name, which stays when the first becomes another file's: at no time is there none.
fn keep(newest: &Path, older: &Path) -> io::Result<()> {
    if !newest.exists() {
        return Ok(());
    }
    durable::remove(older)?;
    // Not every file system has second names.
    fs::hard_link(newest, older).or_else(|_| fs::copy(newest, older).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Identity {
        Identity::new("student", name, "(plan)")
    }

    fn at(step: u64) -> TensorFile {
        let metadata = [("step".to_owned(), step.to_string())].into();
        TensorFile { arrays: vec![("a".into(), vec![1], vec![step as f32])], metadata }
    }

    #[test]
    fn two_are_kept_and_a_damaged_newest_falls_back_to_the_older() {
        let scratch = tempfile::tempdir().unwrap();
        let open = || Checkpoints::new(scratch.path(), &of("cd"));
        assert!(open().read().unwrap().is_none());
        let mut checkpoints = open();
        for step in [3, 6, 8] {
            checkpoints.write(at(step), &[Seal::of("metrics.jsonl", b"x")]).unwrap();
        }
        let found = open().read().unwrap().unwrap();
        assert_eq!((found.step, found.records.len(), found.note), (8, 1, None));
        let bytes = fs::read(&checkpoints.newest).unwrap();
        fs::write(&checkpoints.newest, &bytes[..bytes.len() / 2]).unwrap();
        let mut again = open();
        let found = again.read().unwrap().unwrap();
        assert_eq!(found.step, 6);
        assert!(found.note.unwrap().contains("state.safetensors: not a whole safetensors file"));
        // The damaged one does not take the older's place.
        again.write(at(7), &[]).unwrap();
        let steps = |checkpoints: &Checkpoints| {
            [&checkpoints.newest, &checkpoints.older]
                .map(|path| read(path).unwrap().unwrap().metadata["step"].clone())
        };
        assert_eq!(steps(&again), ["7", "6"]);
        fs::remove_file(&again.newest).unwrap();
        assert_eq!(open().read().unwrap().unwrap().step, 6);
        Checkpoints::end(scratch.path()).unwrap();
        Checkpoints::end(scratch.path()).unwrap();
        assert!(open().read().unwrap().is_none());
    }

    #[test]
    fn without_an_older_one_damage_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints::new(scratch.path(), &of("cd"));
        checkpoints.write(at(3), &[]).unwrap();
        fs::write(&checkpoints.newest, "").unwrap();
        let error = checkpoints.read().err().unwrap();
        assert!(error.is_input() && error.to_string().contains(REMEDY), "{error}");
    }

    #[test]
    fn a_checkpoint_of_another_run_is_told_and_not_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let mut cd = Checkpoints::new(scratch.path(), &of("cd"));
        cd.write(at(3), &[]).unwrap();
        cd.write(at(6), &[]).unwrap();
        let told = |name: &str| Checkpoints::new(scratch.path(), &of(name)).read().err().unwrap().to_string();
        assert!(told("ct").contains("state.safetensors: it is of the student cd"), "{}", told("ct"));
        // So is one of a version that did not say whose it is.
        write_file(&cd.newest, &at(6)).unwrap();
        assert!(told("cd").contains("does not say"), "{}", told("cd"));
    }
}
