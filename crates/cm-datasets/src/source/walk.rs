//! The files of a folder, at any depth.

use crate::DatasetError;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep folders may lie in each other; deeper ones are links in a circle.
const MAX_DEPTH: usize = 32;

/// Whether a file or folder is of a system and not of its user.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX"
}

/// What lies in a folder, with its names and in their order, without what is hidden.
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, DatasetError> {
    let fail = |error| DatasetError::file(folder.display(), error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_hidden(&name) {
            found.push((name, path));
        }
    }
    found.sort_by(|(_, a), (_, b)| a.cmp(b));
    Ok(found)
}

/// All files at any depth whose names are wanted, each folder in the order of names. What is hidden is left out.
pub(super) fn walk(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>, DatasetError> {
    let mut found = Vec::new();
    each(folder, 0, &mut |name, path| {
        if wanted(name) {
            found.push(path);
        }
        true
    })?;
    Ok(found)
}

/// Whether there is a file whose name is wanted, at any depth.
pub(super) fn any(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<bool, DatasetError> {
    Ok(!each(folder, 0, &mut |name, _| !wanted(name))?)
}

/// Shows file after file, as long as `more` says so; whether it did to the end.
fn each(
    folder: &Path,
    depth: usize,
    more: &mut dyn FnMut(&str, PathBuf) -> bool,
) -> Result<bool, DatasetError> {
    if depth > MAX_DEPTH {
        return Err(DatasetError::file(folder.display(), format!("folders lie more than {MAX_DEPTH} deep")));
    }
    for (name, path) in entries(folder)? {
        let goes_on = if path.is_dir() { each(&path, depth + 1, more)? } else { more(&name, path) };
        if !goes_on {
            return Ok(false);
        }
    }
    Ok(true)
}
