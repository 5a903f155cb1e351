//! Zip archives: what is in them, and the content of a compressed entry. Nothing is ever extracted to a path.

use crate::error::ImportError;
use crate::input::{Source, Span};
use crate::limits;
use std::io::{self, Read};
use zip::{CompressionMethod, ZipArchive};

/// An entry of an archive.
pub(crate) struct ZipEntry {
    pub(crate) name: String,
    /// The number of the entry.
    pub(crate) index: usize,
    /// Its content, if it is stored as it is.
    pub(crate) stored: Option<Span>,
    /// Bytes of its content.
    pub(crate) size: u64,
}

fn broken(error: zip::result::ZipError) -> ImportError {
    match error {
        zip::result::ZipError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => error.into(),
        error => ImportError::malformed(0, format!("the zip archive: {error}")),
    }
}

/// The entries of an archive, folders left out.
///
/// # Errors
/// If two entries share a name, a name leads out of the archive, or an entry is not inside the file.
pub(crate) fn entries(source: &mut dyn Source, file_len: u64) -> Result<Vec<ZipEntry>, ImportError> {
    let mut archive = ZipArchive::new(source).map_err(broken)?;
    ImportError::limit("a number of entries", archive.len() as u64, limits::TENSORS as u64)?;
    let mut entries: Vec<ZipEntry> = Vec::with_capacity(archive.len());
    let mut names = std::collections::HashSet::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if entry.enclosed_name().is_none() || name.contains('\\') {
            return Err(ImportError::malformed(0, format!("the entry `{name}` leads out of the archive")));
        }
        if !names.insert(name.clone()) {
            return Err(ImportError::malformed(0, format!("two entries are called `{name}`")));
        }
        if entry.is_dir() {
            continue;
        }
        if entry.encrypted() {
            return Err(ImportError::Unsupported(format!("the encrypted entry `{name}`")));
        }
        let size = entry.size();
        let stored = match entry.compression() {
            CompressionMethod::Stored => {
                let start = entry.data_start().unwrap_or(u64::MAX);
                if start.checked_add(size).is_none_or(|end| end > file_len) {
                    return Err(ImportError::malformed(
                        0,
                        format!("the entry `{name}` of {size} bytes is not inside the file"),
                    ));
                }
                Some(Span { start, len: size })
            }
            _ => None,
        };
        entries.push(ZipEntry { name, index, stored, size });
    }
    Ok(entries)
}

/// Hands over `len` bytes from `skip` on of an entry's content, in pieces of `chunk` bytes and a shorter last one.
pub(crate) fn unpack(
    source: &mut dyn Source,
    index: usize,
    skip: u64,
    len: u64,
    chunk: u64,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), ImportError> {
    let mut archive = ZipArchive::new(source).map_err(broken)?;
    let mut entry = archive.by_index(index).map_err(broken)?;
    let early = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            ImportError::malformed(0, format!("a compressed entry: {error}"))
        }
        _ => error.into(),
    };
    let skipped = io::copy(&mut (&mut entry).take(skip), &mut io::sink()).map_err(early)?;
    if skipped < skip {
        return Err(ImportError::Truncated { at: 0, wanted: skip, left: skipped });
    }
    let mut left = len;
    let mut piece = Vec::new();
    while left > 0 {
        piece.resize(left.min(chunk) as usize, 0);
        entry.read_exact(&mut piece).map_err(early)?;
        take(&piece);
        left -= piece.len() as u64;
    }
    Ok(())
}
