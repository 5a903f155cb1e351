//! A folder that is put out of the way of another of its name, and comes back if that one does not come to be.

use crate::FileError;
use crate::folder::{folder_of, sync_folder};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder that stands aside under a hidden name. Dropped before the new one [is there](Self::replaced), it takes its
/// place again, and whatever stands there goes.
#[derive(Debug)]
#[must_use = "dropped, it comes back"]
pub struct SetAside {
    path: PathBuf,
    aside: PathBuf,
    is_replaced: bool,
}

impl SetAside {
    /// Puts the folder `path` aside, which the caller knows to be one that may go. `None` if there is none.
    ///
    /// A process that was killed in between has left the old folder under its hidden name: where nothing else stands, it
    /// is taken back first; else what stands there is the new one, and the old one goes.
    ///
    /// # Errors
    /// [`FileError::NotWritable`] if the file system refuses; the folder then stands where it was.
    pub fn begin(path: &Path) -> Result<Option<Self>, FileError> {
        let refused = FileError::not_writable(path);
        let mut name = OsString::from(".");
        match path.file_name() {
            Some(own) => name.push(own),
            None => return Ok(None),
        }
        name.push(".replaced");
        let aside = folder_of(path).join(name);
        let put = || {
            match (aside.exists(), path.exists()) {
                (true, true) => fs::remove_dir_all(&aside)?,
                (true, false) => fs::rename(&aside, path)?,
                (false, _) => {}
            }
            match path.exists() {
                true => fs::rename(path, &aside).and_then(|()| sync_folder(folder_of(path))).map(|()| true),
                false => Ok(false),
            }
        };
        let moved = put().map_err(refused)?;
        Ok(moved.then(|| Self { path: path.to_owned(), aside: aside.clone(), is_replaced: false }))
    }

    /// The new folder is there: the old one goes.
    ///
    /// # Errors
    /// [`FileError::Io`] if not all of it can be removed.
    pub fn replaced(mut self) -> Result<(), FileError> {
        self.is_replaced = true;
        fs::remove_dir_all(&self.aside).map_err(FileError::io(&self.aside))
    }
}

impl Drop for SetAside {
    /// The first error of the work is the one to tell; what cannot come back lies under its hidden name.
    fn drop(&mut self) {
        if !self.is_replaced {
            drop(fs::remove_dir_all(&self.path));
            drop(fs::rename(&self.aside, &self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &Path, text: &str) {
        fs::create_dir(path).unwrap();
        fs::write(path.join("x"), text).unwrap();
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path.join("x")).unwrap()
    }

    fn count(root: &Path) -> usize {
        fs::read_dir(root).unwrap().count()
    }

    #[test]
    fn the_old_folder_goes_when_the_new_one_is_there_and_comes_back_otherwise() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        assert!(SetAside::begin(&path).unwrap().is_none());
        folder(&path, "old");
        let aside = SetAside::begin(&path).unwrap().unwrap();
        assert!(!path.exists());
        folder(&path, "half");
        drop(aside);
        assert_eq!((text(&path), count(root.path())), ("old".into(), 1));
        let aside = SetAside::begin(&path).unwrap().unwrap();
        folder(&path, "new");
        aside.replaced().unwrap();
        assert_eq!((text(&path), count(root.path())), ("new".into(), 1));
    }

    #[test]
    fn what_a_killed_process_put_aside_is_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        folder(&path, "old");
        std::mem::forget(SetAside::begin(&path).unwrap());
        let aside = SetAside::begin(&path).unwrap().unwrap();
        drop(aside);
        assert_eq!((text(&path), count(root.path())), ("old".into(), 1));
        // The new one was there already.
        std::mem::forget(SetAside::begin(&path).unwrap());
        folder(&path, "new");
        drop(SetAside::begin(&path).unwrap());
        assert_eq!((text(&path), count(root.path())), ("new".into(), 1));
    }
}
