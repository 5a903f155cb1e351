//! Folders whose names are on the disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The folder in which `path` is.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Brings the names in a folder to the disk.
///
/// # Errors
/// Whatever the file system answers.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Makes a folder and those above it that are not there, and brings their names to the disk; the new ones, from above.
/// After an error none of them is left.
pub(crate) fn create_folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    let missing = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
    let missing: Vec<&Path> = missing.collect();
    let mut make = |folder: &Path| {
        match fs::create_dir(folder) {
            Ok(()) => made.push(folder.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Another process was faster, or a file is in the way.
                if !folder.is_dir() {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
            }
            Err(error) => return Err(error),
        }
        sync_folder(folder_of(folder))
    };
    let done = missing.into_iter().rev().try_for_each(&mut make);
    if done.is_err() {
        made.iter().rev().for_each(|folder| drop(fs::remove_dir(folder)));
    }
    done.map(|()| made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_with_those_above_them_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        let expected: Vec<PathBuf> = ["a", "a/b", "a/b/c"].map(|name| root.path().join(name)).into();
        assert_eq!(create_folders(&path).unwrap(), expected);
        assert!(create_folders(&path).unwrap().is_empty());
        fs::write(root.path().join("file"), "x").unwrap();
        let in_the_way = create_folders(&root.path().join("file/b")).unwrap_err();
        assert_eq!(in_the_way.kind(), io::ErrorKind::NotADirectory);
        let long = "x".repeat(300);
        assert!(create_folders(&root.path().join("new").join(long)).is_err());
        assert!(!root.path().join("new").exists());
    }
}
