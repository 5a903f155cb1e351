//! The manifest of a folder of results: whose they are, and a seal of each.
//!
//! It is one file, `manifest.json`, replaced in one step as the last act of whatever made the results, so that what is
//! in it was whole on the disk before. It holds a hash of itself. Deliberately absent: what is sealed when, and what
//! is done about a file that was changed; that is for whoever owns the folder.

use crate::seal::self_sealed;
use crate::{FileError, Seal, durable};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The name of the file.
pub const MANIFEST: &str = "manifest.json";
/// The version of its layout.
const FORMAT: u32 = 1;

/// Whose results a folder or a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// What kind of thing, such as `student` or `teacher`.
    pub kind: String,
    /// Its name among its kind, such as `cd/seed-0`.
    pub name: String,
    /// The BLAKE3 hash of the plan it follows.
    pub plan: String,
}

impl Identity {
    /// Of a thing that follows the plan with this text.
    pub fn new(kind: &str, name: &str, plan: &str) -> Self {
        let plan = blake3::hash(plan.as_bytes()).to_hex().to_string();
        Self { kind: kind.to_owned(), name: name.to_owned(), plan }
    }

    /// As one line.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("three texts are JSON")
    }

    /// That something which says it is of `found` is of this; `found` is what [`to_text`](Self::to_text) made.
    ///
    /// # Errors
    /// In words, what it is of instead.
    pub fn compare(&self, found: Option<&str>) -> Result<(), String> {
        let own = format!("{} {}", self.kind, self.name);
        let Some(found) = found.and_then(|text| serde_json::from_str::<Self>(text).ok()) else {
            return Err(format!("it does not say that it is of the {own}: an older version wrote it"));
        };
        if found == *self {
            return Ok(());
        }
        match (found.kind == self.kind, found.name == self.name) {
            (true, true) => Err(format!("it is of the {own} of another plan")),
            (..) => {
                Err(format!("it is of the {} {}, and that of the {own} belongs here", found.kind, found.name))
            }
        }
    }
}

/// Whose results a folder holds, and a seal of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// Whose results they are.
    pub of: Identity,
    /// What they were made from, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Seal>,
    /// The results, by name, in the order of their names.
    pub files: Vec<Seal>,
    /// The BLAKE3 hash of all of this, with nothing in this place.
    seal: String,
}

impl Manifest {
    /// A manifest of these files.
    pub fn new(of: Identity, inputs: Vec<Seal>, mut files: Vec<Seal>) -> Self {
        files.sort_by(|a, b| a.file.cmp(&b.file));
        Self { format: FORMAT, of, inputs, files, seal: String::new() }
    }

    /// The manifest in a folder; `None` if there is none.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if it is not as it was written, [`FileError::Io`] if it cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        let path = folder.join(MANIFEST);
        let parsed = durable::read(&path)?.map(|bytes| Self::parse(&bytes)).transpose();
        parsed.map_err(|reason| FileError::damaged(path, reason))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let found: Self = serde_json::from_slice(bytes).map_err(|error| format!("no manifest: {error}"))?;
        if found.format != FORMAT {
            return Err(format!("format {}, and {FORMAT} is known", found.format));
        }
        if found.to_text().as_bytes() != bytes {
            return Err("its hash does not match: it was changed or damaged after it was written".to_owned());
        }
        Ok(found)
    }

    /// Replaces the manifest in a folder, in one step.
    ///
    /// # Errors
    /// [`FileError::Io`] if the file system refuses.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        let path = folder.join(MANIFEST);
        durable::write(&path, self.to_text().as_bytes()).map_err(FileError::io(&path))
    }

    /// The seal of a file, if it has one.
    pub fn seal(&self, file: &str) -> Option<&Seal> {
        self.files.iter().find(|seal| seal.file == file)
    }

    fn to_text(&self) -> String {
        self_sealed(self, |manifest| &mut manifest.seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn example() -> Manifest {
        let files = vec![Seal::of("b.csv", b"1\n2\n"), Seal::of("a.bin", b"123")];
        Manifest::new(Identity::new("student", "cd/seed-0", "(plan)"), vec![Seal::of("/data", b"x")], files)
    }

    #[test]
    fn a_manifest_is_read_back_with_its_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), None);
        example().write(folder.path()).unwrap();
        let found = Manifest::read(folder.path()).unwrap().unwrap();
        assert_eq!(
            (&found.of, &found.inputs, &found.files),
            (&example().of, &example().inputs, &example().files)
        );
        assert_eq!(found.files[0].file, "a.bin");
        assert_eq!(found.seal("b.csv"), Some(&Seal::of("b.csv", b"1\n2\n")));
        assert_eq!(found.seal("c"), None);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        let bytes = example().to_text().into_bytes();
        Manifest::parse(&bytes).unwrap();
        for len in 0..bytes.len() {
            assert!(Manifest::parse(&bytes[..len]).is_err(), "cut to {len} bytes");
        }
        for bit in 0..8 * bytes.len() {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::parse(&bytes).is_err(), "bit {bit} flipped");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), &bytes[1..]).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(error.is_input() && error.to_string().contains(MANIFEST), "{error}");
    }

    #[test]
    fn what_belongs_elsewhere_says_where() {
        let own = Identity::new("student", "cd/seed-0", "(plan)");
        own.compare(Some(&own.to_text())).unwrap();
        for (other, part) in [
            (Identity::new("student", "ct/seed-0", "(plan)"), "of the student ct/seed-0"),
            (Identity::new("teacher", "0a", "(plan)"), "of the teacher 0a"),
            (Identity::new("student", "cd/seed-0", "(other)"), "another plan"),
        ] {
            let told = own.compare(Some(&other.to_text())).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
        assert!(own.compare(None).unwrap_err().contains("does not say"));
    }
}
