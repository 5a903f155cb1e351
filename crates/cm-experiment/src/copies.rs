//! A sheet of the samples that are most like a training image, each beside that image: whether a model copies is seen by
//! looking. Written where the share of copies is asked for (`metrics: [Copied]`).

use crate::error::RunError;
use crate::run::Run;
use cm_evaluator::{MetricKind, Reference};
use cm_host::{FileError, durable};
use cm_image::{ImageBatch, picture, write_png};
use std::path::Path;

/// How the names of the sheets begin, before the sampler's.
pub const COPIES: &str = "copies-";
/// Pairs on a sheet.
const PAIRS: usize = 16;
/// Images in a row of it, samples and training images in turns.
const COLUMNS: usize = 8;

impl Run<'_> {
    /// Writes the sheet of `images`, the samples, to `path`; nothing unless copies are counted, or of what cannot be
    /// drawn.
    pub(crate) fn write_copies(
        &self,
        reference: &Reference<'_>,
        images: &ImageBatch,
        path: &Path,
    ) -> Result<(), RunError> {
        if !reference.kinds().contains(&MetricKind::Copied) || picture::wanted(images.shape(), 1) != Some(1) {
            return Ok(());
        }
        let Some(closest) = reference.closest(images).map_err(self.failed("the search for copies"))? else {
            return Ok(());
        };
        let mut order: Vec<usize> = (0..closest.len()).collect();
        order.sort_by(|&a, &b| closest[a].ratio.total_cmp(&closest[b].ratio));
        let mut pairs = ImageBatch::zeros(images.shape(), 0);
        for &sample in order.iter().take(PAIRS) {
            pairs.append(&images.slice(sample..sample + 1));
            let image = closest[sample].image;
            pairs.append(&reference.images().slice(image..image + 1));
        }
        let sheet = picture::row_by_row(&pairs, COLUMNS).map_err(self.failed("the sheet of copies"))?;
        let mut png = Vec::new();
        write_png(&sheet, &mut png).map_err(self.failed("the sheet of copies"))?;
        Ok(durable::write(path, &png).map_err(FileError::io(path))?)
    }
}
