//! What a file was when it was written: its length, its rows, its BLAKE3 hash.

use crate::{FileError, durable};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What a file was when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Its name: below the folder that is sealed with `/` between the parts, or a path of something outside.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its lines, of a file whose lines are records (`.csv`, `.jsonl`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The BLAKE3 hash of its bytes.
    pub blake3: String,
}

/// Bytes read at a time: fewer would spend more on calls than on hashing.
const BUFFER: usize = 1 << 20;

impl Seal {
    /// Of a file with these bytes.
    pub fn of(file: &str, bytes: &[u8]) -> Self {
        let mut sealer = Sealer::default();
        sealer.update(bytes);
        sealer.seal(file)
    }

    /// Of the file of this name in a folder, read piece by piece.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn of_file(folder: &Path, file: &str) -> io::Result<Self> {
        let mut open = File::open(folder.join(file))?;
        let mut sealer = Sealer::default();
        let mut buffer = vec![0; BUFFER];
        loop {
            match open.read(&mut buffer)? {
                0 => return Ok(sealer.seal(file)),
                read => sealer.update(&buffer[..read]),
            }
        }
    }

    /// Whether the file in `folder` is still the one that was sealed, without holding it in memory.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if it is another or not there, [`FileError::Io`] if it cannot be read.
    pub fn check(&self, folder: &Path) -> Result<(), FileError> {
        let path = folder.join(&self.file);
        match Self::of_file(folder, &self.file) {
            Ok(found) => self.compare(&found).map_err(|reason| FileError::damaged(path, reason)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(FileError::damaged(path, format!("it is missing, and {} were written", self.extent())))
            }
            Err(error) => Err(FileError::io(path)(error)),
        }
    }

    /// The bytes of the file in `folder`, which are those that were sealed; `None` if it is not there.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if it is another, [`FileError::Io`] if it cannot be read.
    pub fn read(&self, folder: &Path) -> Result<Option<Vec<u8>>, FileError> {
        let path = folder.join(&self.file);
        let Some(bytes) = durable::read(&path)? else { return Ok(None) };
        match self.compare(&Self::of(&self.file, &bytes)) {
            Ok(()) => Ok(Some(bytes)),
            Err(reason) => Err(FileError::damaged(path, reason)),
        }
    }

    /// That a file found later is this one.
    ///
    /// # Errors
    /// In words, how it differs.
    pub fn compare(&self, found: &Self) -> Result<(), String> {
        if self.bytes != found.bytes {
            return Err(format!(
                "it has {}, and {} were written: it was cut, changed or exchanged",
                found.extent(),
                self.extent()
            ));
        }
        if self.blake3 == found.blake3 {
            return Ok(());
        }
        Err("its bytes are not those that were written: it was changed, damaged or exchanged".to_owned())
    }

    /// How much it holds, in words.
    pub fn extent(&self) -> String {
        match self.rows {
            Some(rows) => format!("{} bytes in {rows} rows", self.bytes),
            None => format!("{} bytes", self.bytes),
        }
    }
}

/// A seal of bytes as they come, of which it may be asked at any time.
#[derive(Clone, Debug, Default)]
pub struct Sealer {
    hasher: blake3::Hasher,
    bytes: u64,
    lines: u64,
}

impl Sealer {
    /// Goes on with these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.lines += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
    }

    /// The seal of a file of this name with all bytes so far.
    pub fn seal(&self, file: &str) -> Seal {
        let rows = [".csv", ".jsonl"].iter().any(|ending| file.ends_with(ending)).then_some(self.lines);
        let blake3 = self.hasher.finalize().to_hex().to_string();
        Seal { file: file.to_owned(), bytes: self.bytes, rows, blake3 }
    }
}

/// A value as indented JSON and a line break, with a hash of itself: in `place` stands the BLAKE3 hash of the JSON in which
/// nothing stands there. What was read back is as it was written if this gives the same bytes again.
pub fn self_sealed<T: Serialize + Clone>(value: &T, place: impl Fn(&mut T) -> &mut String) -> String {
    let json = |value: &T| serde_json::to_string_pretty(value).expect("texts and numbers are JSON");
    let mut whole = value.clone();
    place(&mut whole).clear();
    let hash = blake3::hash(json(&whole).as_bytes()).to_hex().to_string();
    *place(&mut whole) = hash;
    json(&whole) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_seal_is_that_of_the_published_hash_and_counts_rows() {
        let seal = Seal::of("a.csv", b"");
        // The test vector of BLAKE3 for no input.
        assert_eq!(seal.blake3, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!((seal.bytes, seal.rows), (0, Some(0)));
        assert_eq!(Seal::of("a.jsonl", b"1\n2\n3").rows, Some(2));
        assert_eq!(Seal::of("a.png", b"1\n2\n3").rows, None);
        let mut sealer = Sealer::default();
        b"some bytes\nin parts\n".chunks(3).for_each(|part| sealer.update(part));
        assert_eq!(sealer.seal("b.csv"), Seal::of("b.csv", b"some bytes\nin parts\n"));
    }

    #[test]
    fn files_longer_than_the_buffer_are_hashed_whole() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..2 * BUFFER + 17).map(|i| (i % 251) as u8).collect();
        fs::write(folder.path().join("long"), &bytes).unwrap();
        assert_eq!(Seal::of_file(folder.path(), "long").unwrap(), Seal::of("long", &bytes));
    }

    #[test]
    fn what_is_cut_changed_or_missing_is_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        fs::write(&path, "x\n1\n2\n").unwrap();
        let seal = Seal::of_file(folder.path(), "a.csv").unwrap();
        seal.check(folder.path()).unwrap();
        assert_eq!(seal.read(folder.path()).unwrap().unwrap(), b"x\n1\n2\n");
        for (text, part) in
            [("x\n1\n", "4 bytes in 2 rows, and 6 bytes in 3 rows"), ("x\n1\n3\n", "not those")]
        {
            fs::write(&path, text).unwrap();
            for error in [seal.check(folder.path()).unwrap_err(), seal.read(folder.path()).unwrap_err()] {
                assert!(error.is_input() && error.to_string().contains(part), "{error}");
                assert!(error.to_string().contains("a.csv"), "{error}");
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(seal.check(folder.path()).unwrap_err().to_string().contains("missing"));
        assert_eq!(seal.read(folder.path()).unwrap(), None);
    }
}
