//! Pictures in a folder: which there are, and one of them read.

use crate::error::ScoringError;
use cm_datasets::{is_image, read_image};
use cm_host::FileError;
use cm_image::ImageShape;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Endings of pictures in formats that are not read here: better told than left out of a count.
const OTHER_PICTURES: [&str; 6] = ["gif", "bmp", "tif", "tiff", "avif", "heic"];

/// The pictures in a folder and below it; what begins with a dot is passed over.
pub(crate) fn collect(
    folder: &Path,
    pictures: &mut Vec<PathBuf>,
    others: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, pictures, others)?;
            continue;
        }
        let ending =
            path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        if is_image(&name) {
            pictures.push(path);
        } else if OTHER_PICTURES.contains(&ending.as_str()) {
            others.push(path);
        }
    }
    Ok(())
}

pub(crate) fn read_picture(
    path: &Path,
    channels: Option<usize>,
) -> Result<(ImageShape, Vec<u8>), ScoringError> {
    Ok(read_image(path, channels).map_err(|reason| FileError::damaged(path, reason))?)
}
