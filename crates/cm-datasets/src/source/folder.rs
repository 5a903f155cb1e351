//! Folders of PNG, JPEG and WebP files.

use super::image_file::{ImageFiles, MAX_FILE};
use super::layout::{Item, Layout, class_names};
use super::raster::is_coloured;
use super::{About, Intake, Parts, Record, SourceConfig};
use crate::DatasetError;
use rayon::prelude::*;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Files decoded at a time.
pub(super) const AT_A_TIME: usize = 32;

/// Reads all images of a folder in the order of their names.
pub(super) fn read(config: &SourceConfig, intake: &mut Intake<'_>) -> Result<About, DatasetError> {
    let root = &config.path;
    let Layout { parts, mut notes } = Layout::of(root, config.labels)?;
    let names = class_names(root, &parts)?;
    let alone = parts.len() == 1;
    let count = parts.first().map_or(0, |(_, items)| items.len());
    if count == 0 {
        let what = "it holds no PNG, JPEG or WebP files to train on";
        return Err(DatasetError::file(root.display(), [vec![what.to_owned()], notes].concat().join("; ")));
    }
    intake.begin(if alone { Parts::One(count) } else { Parts::TrainAndTest }, root.display())?;
    let mut images = ImageFiles::new(config);
    if images.asks_for_colour() {
        let coloured = |item: &Item| load(&item.path).is_ok_and(|file| is_coloured(&file) == Some(true));
        images.any_is_coloured(parts.iter().any(|(_, items)| items.par_iter().any(coloured)));
    }
    for (part, items) in &parts {
        for some in items.chunks(AT_A_TIME) {
            let files: Vec<Vec<u8>> =
                some.par_iter().map(|item| load(&item.path)).collect::<Result<_, DatasetError>>()?;
            let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
            for (item, image) in some.iter().zip(images.decode_all(&files)) {
                let place = || item.path.display().to_string();
                let image = image.map_err(|what| DatasetError::file(place(), what))?;
                let label = item.class.as_ref().and_then(|class| names.binary_search(class).ok());
                let label = label.map(|label| label as u32);
                let record = Record { shape: image.shape, pixels: &image.values, label };
                intake.image(*part, &record, place)?;
            }
        }
    }
    notes.extend(images.notes());
    Ok(About { classes: names, notes })
}

fn load(path: &Path) -> Result<Vec<u8>, DatasetError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    read.map_err(|error| DatasetError::file(path.display(), error))?;
    if bytes.len() as u64 == MAX_FILE {
        return Err(DatasetError::file(path.display(), format!("a file of {MAX_FILE} bytes or more")));
    }
    Ok(bytes)
}
