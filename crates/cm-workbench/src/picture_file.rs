//! Pictures for people to look at: images side by side, written as PNG in one step.

use crate::error::WorkbenchError;
use cm_host::{FileError, durable};
use cm_image::{ImageBatch, ImageShape, write_png};
use std::path::{Path, PathBuf};

/// Writes a picture in one step; returns its path.
pub(crate) fn write_picture(path: &Path, picture: &ImageBatch) -> Result<PathBuf, WorkbenchError> {
    let mut bytes = Vec::new();
    write_png(picture, &mut bytes)
        .map_err(|error| WorkbenchError::failed(path.display().to_string(), error))?;
    durable::write(path, &bytes).map_err(FileError::io(path))?;
    Ok(path.to_owned())
}

/// Images of a batch as one image, from left to right.
pub(crate) fn side_by_side(images: &ImageBatch) -> ImageBatch {
    let ImageShape { height, width, channels } = images.shape();
    let row = width * channels;
    ImageBatch::from_fn(ImageShape::new(height, images.count() * width, channels), 1, |_, out| {
        for (index, image) in images.images().enumerate() {
            for (y, line) in image.chunks_exact(row).enumerate() {
                out[(y * images.count() + index) * row..][..row].copy_from_slice(line);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_side_by_side_keep_their_rows() {
        let shape = ImageShape::new(2, 2, 1);
        let images = ImageBatch::new(shape, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).unwrap();
        let row = side_by_side(&images);
        assert_eq!(row.shape(), ImageShape::new(2, 4, 1));
        assert_eq!(row.values(), [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
    }
}
