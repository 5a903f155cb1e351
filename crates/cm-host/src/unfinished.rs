//! What is being made and is not yet whole: it goes when the work fails, and when the process is told to end at once.
//!
//! One list for the process, since a signal comes to the process. Whoever [abandons](abandon) it removes what is on it
//! and never lets go of it, so that nothing half-made is given its name after that.

use crate::FileError;
use crate::folder::{create_folders, folder_of, sync_folder};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

static LIST: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// A file.
    File(PathBuf),
    /// A folder with all that is in it.
    Tree(PathBuf),
    /// A folder, if nothing is in it.
    Empty(PathBuf),
}

impl Entry {
    /// Removes it. The first error of the work is the one to tell; what cannot be removed does no harm.
    fn remove(&self) {
        match self {
            Self::File(path) => drop(fs::remove_file(path)),
            Self::Empty(path) => drop(fs::remove_dir(path)),
            // Another thread may still be writing into it: its next file finds no folder.
            Self::Tree(path) => drop((0..100).find(|_| fs::remove_dir_all(path).is_ok() || !path.exists())),
        }
    }
}

fn list() -> MutexGuard<'static, Vec<Entry>> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all that is unfinished. From then on whoever wants to begin or finish something waits for the end of the
/// process, which is the caller's to bring about.
pub fn abandon() {
    let list = list();
    list.iter().rev().for_each(Entry::remove);
    std::mem::forget(list);
}

/// Something that is being made. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub(crate) struct Unfinished(Vec<Entry>);

impl Unfinished {
    /// A new file; what a process that was killed has left of it is overwritten.
    pub(crate) fn file(path: &Path) -> io::Result<(Self, File)> {
        let mut list = list();
        let file = File::create(path)?;
        let entry = Entry::File(path.to_owned());
        list.push(entry.clone());
        Ok((Self(vec![entry]), file))
    }

    /// A folder that was just made, or is, by `make`, with all that will be in it.
    fn tree<T>(path: &Path, make: impl FnOnce() -> Result<T, FileError>) -> Result<(Self, T), FileError> {
        let mut list = list();
        let made = make()?;
        let entry = Entry::Tree(path.to_owned());
        list.push(entry.clone());
        Ok((Self(vec![entry]), made))
    }

    /// Folders that are made one in the other, and files that will be in the last.
    fn folders(
        make: impl FnOnce() -> io::Result<Vec<PathBuf>>,
        files: impl Iterator<Item = PathBuf>,
    ) -> io::Result<Self> {
        let mut list = list();
        let made = make()?;
        let files = files.filter(|_| !made.is_empty()).map(Entry::File);
        let entries: Vec<Entry> = made.iter().cloned().map(Entry::Empty).chain(files).collect();
        list.extend(entries.iter().cloned());
        Ok(Self(entries))
    }

    /// Gives it its name, by which it is whole.
    pub(crate) fn finish(mut self, from: &Path, to: &Path) -> io::Result<()> {
        let mut list = list();
        fs::rename(from, to)?;
        self.strike(&mut list);
        self.0.clear();
        Ok(())
    }

    /// It is whole as it is.
    pub(crate) fn keep(mut self) {
        self.strike(&mut list());
        self.0.clear();
    }

    fn strike(&self, list: &mut Vec<Entry>) {
        for entry in &self.0 {
            if let Some(place) = list.iter().rposition(|listed| listed == entry) {
                list.remove(place);
            }
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            let mut list = list();
            self.0.iter().rev().for_each(Entry::remove);
            self.strike(&mut list);
        }
    }
}

/// A file that appears under its name when all of it is written. Dropped before that, it goes.
#[derive(Debug)]
pub struct NewFile {
    unfinished: Unfinished,
    partial: PathBuf,
    path: PathBuf,
}

impl NewFile {
    /// Begins the file `path` under a hidden name beside it; what is there already stays until the end.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn begin(path: &Path) -> io::Result<(Self, File)> {
        let partial = hidden(path)?;
        let (unfinished, file) = Unfinished::file(&partial)?;
        Ok((Self { unfinished, partial, path: path.to_owned() }, file))
    }

    /// Gives it its name, once its bytes are on the disk.
    ///
    /// # Errors
    /// Whatever the file system answers; then nothing of it is left.
    pub fn finish(self) -> io::Result<()> {
        self.unfinished.finish(&self.partial, &self.path)?;
        sync_folder(folder_of(&self.path))
    }
}

/// The hidden name beside `path` under which it is made.
fn hidden(path: &Path) -> io::Result<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?);
    name.push(".partial");
    Ok(folder_of(path).join(name))
}

/// A folder for several results. Dropped before they are [kept](Self::keep), those of them that are in it go, and the
/// folder, if it was made for them.
#[derive(Debug)]
#[must_use = "results that are not kept are removed"]
pub struct ResultFolder(Unfinished);

impl ResultFolder {
    /// The folder, made with those above it if it is not there, for files of these names. In a folder that was there,
    /// each file is whole or as it was.
    ///
    /// # Errors
    /// [`FileError::NotWritable`].
    pub fn new(path: &Path, files: &[&str]) -> Result<Self, FileError> {
        let files = files.iter().map(|name| path.join(name));
        let made = Unfinished::folders(|| create_folders(path), files);
        made.map(Self).map_err(FileError::not_writable(path))
    }

    /// All results are there.
    pub fn keep(self) {
        self.0.keep();
    }
}

/// A folder that appears under its name when all that belongs into it is written. While it is made, it has a hidden
/// name beside that, and keeps out other processes that would make the same.
#[derive(Debug)]
pub struct NewFolder {
    unfinished: Unfinished,
    partial: PathBuf,
    path: PathBuf,
    /// Held open for its lock, which goes with the process however that ends.
    lock: Option<File>,
}

impl NewFolder {
    /// Begins the folder `path`, which is not there; what a process that was killed has left of it is removed.
    ///
    /// # Errors
    /// [`FileError::Busy`] if another process makes it, [`FileError::NotWritable`].
    pub fn begin(path: &Path) -> Result<Self, FileError> {
        let not_writable = |error: io::Error| FileError::not_writable(path)(error);
        let partial = hidden(path).map_err(not_writable)?;
        let mut unfinished = Unfinished::folders(|| create_folders(folder_of(&partial)), std::iter::empty())
            .map_err(not_writable)?;
        let (mut inside, lock) = Unfinished::tree(&partial, || {
            let lock = taken(&partial).map_err(not_writable)?;
            let Some(lock) = lock else { return Err(FileError::Busy { path: path.to_owned() }) };
            // The other process may have finished just before.
            if path.exists() {
                let there = io::Error::new(io::ErrorKind::AlreadyExists, "it is there already");
                drop(fs::remove_dir(&partial));
                return Err(not_writable(there));
            }
            Ok(lock)
        })?;
        unfinished.0.append(&mut inside.0);
        Ok(Self { unfinished, partial, path: path.to_owned(), lock })
    }

    /// Where its contents are written.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Gives it its name. Its files have been brought to the disk; its entries are here.
    ///
    /// # Errors
    /// [`FileError::Io`]; then nothing of it is left.
    pub fn finish(self) -> Result<(), FileError> {
        let Self { unfinished, partial, path, lock } = self;
        let done = sync_folder(&partial)
            .and_then(|()| unfinished.finish(&partial, &path))
            .and_then(|()| sync_folder(folder_of(&path)));
        drop(lock);
        done.map_err(FileError::io(&path))
    }
}

/// The empty folder at `path`, made or emptied, with its lock; `None` if another process holds that.
#[cfg(unix)]
fn taken(path: &Path) -> io::Result<Option<Option<File>>> {
    use std::os::unix::fs::MetadataExt;
    loop {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let folder = match File::open(path) {
            // Whoever held it has finished it or given it up in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            folder => folder?,
        };
        match folder.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let (own, there) = (folder.metadata()?, fs::metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => fs::remove_dir_all(entry.path())?,
                    false => fs::remove_file(entry.path())?,
                }
            }
            return Ok(Some(Some(folder)));
        }
    }
}

/// As on Unix, but without a lock.
#[cfg(not(unix))]
fn taken(path: &Path) -> io::Result<Option<Option<File>>> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    fs::create_dir(path).map(|()| Some(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn results_that_are_not_kept_go_with_the_folders_made_for_them() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let results = ResultFolder::new(&folder, &["one.txt", "two.txt"]).unwrap();
        fs::write(folder.join("one.txt"), "1").unwrap();
        drop(results);
        assert!(names(root.path()).is_empty());
        let results = ResultFolder::new(&folder, &["one.txt"]).unwrap();
        fs::write(folder.join("one.txt"), "1").unwrap();
        results.keep();
        assert_eq!(names(&folder), ["one.txt"]);
        // What was there before stays.
        drop(ResultFolder::new(&folder, &["one.txt"]).unwrap());
        assert_eq!(names(&folder), ["one.txt"]);
    }

    #[test]
    fn somebody_else_s_file_keeps_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a");
        let results = ResultFolder::new(&folder, &["one.txt"]).unwrap();
        fs::write(folder.join("other.txt"), "x").unwrap();
        drop(results);
        assert_eq!(names(&folder), ["other.txt"]);
    }

    #[test]
    fn a_new_folder_appears_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("above/data");
        let begun = NewFolder::begin(&path).unwrap();
        fs::write(begun.partial().join("x"), "1").unwrap();
        assert!(!path.exists());
        drop(begun);
        assert!(names(root.path()).is_empty());
        let begun = NewFolder::begin(&path).unwrap();
        fs::write(begun.partial().join("x"), "1").unwrap();
        begun.finish().unwrap();
        assert_eq!((names(root.path()), names(&path)), (vec!["above".into()], vec!["x".into()]));
        assert!(matches!(NewFolder::begin(&path), Err(FileError::NotWritable { .. })));
        assert_eq!(names(&root.path().join("above")), ["data"]);
    }

    /// Three processes that prepared the same set at once ended 13 times in 70 with a broken one.
    #[cfg(unix)]
    #[test]
    fn a_folder_is_made_by_one_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let first = NewFolder::begin(&path).unwrap();
        fs::write(first.partial().join("x"), "1").unwrap();
        assert!(matches!(NewFolder::begin(&path), Err(FileError::Busy { .. })));
        assert_eq!(names(first.partial()), ["x"]);
        drop(first);
        // What a killed process has left is nobody's.
        fs::create_dir_all(root.path().join(".data.partial/inner")).unwrap();
        let second = NewFolder::begin(&path).unwrap();
        assert!(names(second.partial()).is_empty());
        second.finish().unwrap();
    }
}
