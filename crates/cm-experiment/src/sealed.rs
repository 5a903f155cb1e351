//! A folder of results as it is read: what its manifest seals is compared with it, file by file, as it is asked for.
//!
//! The folder of a study, a run, a teacher, ... is sealed by whoever made it (`study_dir.rs`, `run_dir.rs`); all who
//! read results (`resume`, tables, reports, samples) do it through here. A result that the manifest does not name was
//! not finished and is none. A file that is missing is not an error here: it is made again. A folder without a
//! manifest is of a version that kept none: what is in it can be shown, with a word about that, and is not worked on.

use crate::error::FolderError;
use crate::table::{self, ReportRow};
use cm_host::{FileError, Identity, Manifest, Seal, durable};
use cm_study::{PlannedRun, TeacherKey};
use std::path::{Path, PathBuf};

/// A folder of results with its manifest.
#[derive(Debug)]
pub struct SealedFolder {
    path: PathBuf,
    manifest: Option<Manifest>,
}

impl SealedFolder {
    /// The folder, whatever it is of; it need not be there.
    ///
    /// # Errors
    /// [`FileError`] if its manifest is damaged or cannot be read.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Ok(Self { path: path.to_owned(), manifest: Manifest::read(path)? })
    }

    /// The folder of a run, whose results must be that run's.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`FileError::Damaged`] if they are of another run or another plan.
    pub fn of_run(path: &Path, run: &PlannedRun) -> Result<Self, FileError> {
        let folder = Self::open(path)?;
        folder.expect(&identity_of(run))?;
        Ok(folder)
    }

    /// Its manifest, if it has one.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Its manifest.
    ///
    /// # Errors
    /// [`FolderError::NoManifest`] if it has none.
    pub(crate) fn required(&self) -> Result<&Manifest, FolderError> {
        self.manifest.as_ref().ok_or_else(|| FolderError::NoManifest { path: self.path.clone() })
    }

    /// That its results, if they are sealed, are those of `of`, whatever the name of the folder.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if they are of another.
    pub fn expect(&self, of: &Identity) -> Result<(), FileError> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        of.compare(Some(&manifest.of.to_text()))
            .map_err(|reason| FileError::damaged(self.path.join(cm_host::MANIFEST), reason))
    }

    /// Whether a file is sealed and there.
    pub fn has(&self, file: &str) -> bool {
        self.is_sealed(file) && self.path.join(file).exists()
    }

    /// Whether a file is sealed.
    pub(crate) fn is_sealed(&self, file: &str) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.seal(file).is_some())
    }

    /// The bytes of a file, which are those that were sealed if it is sealed; `None` if it is not there.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if it was changed, with what to do; [`FileError::Io`] if it cannot be read.
    pub fn bytes(&self, file: &str) -> Result<Option<Vec<u8>>, FileError> {
        let sealed = self.manifest.as_ref().and_then(|manifest| Some((manifest, manifest.seal(file)?)));
        match sealed {
            Some((manifest, seal)) => {
                seal.read(&self.path).map_err(|error| with_remedy(error, &manifest.of, file))
            }
            None => durable::read(&self.path.join(file)),
        }
    }

    /// A file's text, as [`bytes`](Self::bytes).
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`FileError::Damaged`] if it is not UTF-8.
    pub fn text(&self, file: &str) -> Result<Option<String>, FileError> {
        let Some(bytes) = self.bytes(file)? else { return Ok(None) };
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|error| {
            self.damaged(file, format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
        })
    }

    /// The rows of `scores.csv` or `report.csv`; `None` if it is not there, or was not sealed and so not finished.
    ///
    /// # Errors
    /// As [`text`](Self::text), and [`FileError::Damaged`] if it is no such table.
    pub fn rows(&self, file: &str) -> Result<Option<Vec<ReportRow>>, FileError> {
        if self.manifest.is_some() && !self.is_sealed(file) {
            return Ok(None);
        }
        let Some(text) = self.text(file)? else { return Ok(None) };
        let rows = table::from_csv(&text);
        rows.map(Some).map_err(|error| self.damaged(file, error))
    }

    /// That a file here is not what it should be.
    pub(crate) fn damaged(&self, file: &str, reason: impl ToString) -> FileError {
        FileError::damaged(self.path.join(file), reason)
    }
}

/// What the results of a run say that they are of.
pub fn identity_of(run: &PlannedRun) -> Identity {
    Identity::new("student", &run.name(), &run.to_ron())
}

/// What the results of a teacher's training say that they are of.
pub(crate) fn identity_of_teacher(key: &TeacherKey) -> Identity {
    Identity::new(TEACHER, &key.hash, &key.decided_by)
}

/// Seals files of a folder, of something that has no more of a folder than these; whoever made them has brought them
/// to the disk.
///
/// # Errors
/// [`FileError::Io`] if the file system refuses.
pub fn seal(folder: &Path, of: Identity, files: &[&str]) -> Result<(), FileError> {
    let seal = |file: &&str| Seal::of_file(folder, file).map_err(FileError::io(folder.join(file)));
    let seals = files.iter().map(seal).collect::<Result<_, _>>()?;
    Manifest::new(of, Vec::new(), seals).write(folder)
}

/// What is wrong with a file of a folder, and what to do about it.
pub(crate) fn with_remedy(error: FileError, of: &Identity, file: &str) -> FileError {
    let remedy = match (of.kind.as_str(), file) {
        (STUDY, "report.csv" | "report.md") => "remove it, and `cm resume` of this folder makes it again",
        (STUDY, _) => "put it back as it was, or run the study anew with another --out",
        (..) => {
            "put it back, or remove the folder it lies in, and `cm resume` of the study does that part again"
        }
    };
    match error {
        FileError::Damaged { path, reason } => {
            FileError::Damaged { path, reason: format!("{reason}; {remedy}") }
        }
        other @ (FileError::Io { .. } | FileError::NotWritable { .. } | FileError::Busy { .. }) => other,
    }
}

/// The kind of a study's folder.
pub(crate) const STUDY: &str = "study";

/// The kind of a teacher's folder.
pub(crate) const TEACHER: &str = "teacher";

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn scores_that_were_not_sealed_are_none_and_those_that_were_cut_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.csv");
        let text = table::to_csv(&[]);
        fs::write(&path, &text).unwrap();
        let open = || SealedFolder::open(folder.path()).unwrap();
        assert_eq!(open().rows("scores.csv").unwrap(), Some(vec![]), "of a version without manifests");
        assert!(matches!(open().required(), Err(FolderError::NoManifest { .. })));
        let of = Identity::new("student", "cd/seed-0", "");
        Manifest::new(of.clone(), vec![], vec![]).write(folder.path()).unwrap();
        assert_eq!(open().rows("scores.csv").unwrap(), None, "not finished");
        Manifest::new(of.clone(), vec![], vec![Seal::of("scores.csv", text.as_bytes())])
            .write(folder.path())
            .unwrap();
        assert_eq!(open().rows("scores.csv").unwrap(), Some(vec![]));
        assert!(open().has("scores.csv"));
        fs::write(&path, "").unwrap();
        let told = open().rows("scores.csv").unwrap_err().to_string();
        assert!(told.contains("scores.csv: it has 0 bytes") && told.contains("cm resume"), "{told}");
        fs::remove_file(&path).unwrap();
        assert_eq!(open().rows("scores.csv").unwrap(), None, "to be made again");
        assert!(!open().has("scores.csv"));
        open().expect(&of).unwrap();
        let told = open().expect(&Identity::new("student", "ct/seed-0", "")).unwrap_err().to_string();
        assert!(told.contains("manifest.json") && told.contains("cd/seed-0"), "{told}");
    }

    #[test]
    fn a_text_that_is_not_utf8_is_told_where() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("study.ron"), b"(question: \xff)").unwrap();
        let told = SealedFolder::open(folder.path()).unwrap().text("study.ron").unwrap_err().to_string();
        assert!(told.contains("study.ron: not UTF-8 from byte 11 on"), "{told}");
    }
}
