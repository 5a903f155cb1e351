//! Whether a prepared folder still holds what was written there.

use super::index::Sealed;
use super::reader::read_labels;
use super::writer::hash;
use super::{Index, Prepared};
use crate::{Dataset, DatasetError, Split};
use std::path::Path;

/// Reads every file of a prepared folder and compares it with the index: sizes, hashes, labels, and that images can
/// be read.
///
/// # Errors
/// [`DatasetError`] with the first file that differs.
pub fn verify(folder: &Path) -> Result<Index, DatasetError> {
    let index = Index::open(folder)?;
    for split in [Split::Train, Split::Test] {
        let part = index.part(split);
        for Sealed { file, blake3, .. } in part.shards.iter().chain(&part.labels) {
            let path = folder.join(file);
            let found = hash(&path)?;
            if found != *blake3 {
                let what = format!(
                    "its BLAKE3 hash is {found}, and {blake3} was written: it was changed or damaged"
                );
                return Err(DatasetError::file(path.display(), what));
            }
        }
        if let Some(labels) = &part.labels {
            read_labels(folder, &labels.file, index.classes.as_ref().map_or(0, Vec::len))?;
        }
        if part.images > 0 {
            let data = Prepared::open(folder, split)?;
            data.images(&[0, data.len() - 1])?;
        }
    }
    Ok(index)
}
