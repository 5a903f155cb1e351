//! Data sets as a user handles them: prepared, inspected, verified.

use crate::error::WorkbenchError;
use cm_datasets::prepared::{self, Index, PrepareOptions};
use cm_datasets::{
    About, Dataset, DatasetConfig, DatasetError, PreparedConfig, SourceConfig, Split, Summary,
};
use cm_host::{FileError, Progress, durable};
use cm_image::{ImageBatch, contact_sheet, write_png};
use std::path::Path;

/// Classes whose numbers are printed one by one; of more, only the extremes.
const LISTED: usize = 100;

/// Turns a source into its prepared form; what to tell of it.
///
/// # Errors
/// [`WorkbenchError::Dataset`] if the source is not what it should be or the folder cannot be written.
pub fn prepare(options: &PrepareOptions, progress: &mut dyn Progress) -> Result<String, WorkbenchError> {
    progress.phase("preparing", 0);
    let mut before = 0;
    let index = prepared::prepare(options, &mut |images| {
        progress.advance(images - before, None);
        before = images;
    })?;
    progress.advance(index.train.images + index.test.images - before, None);
    progress.finish_phase();
    Ok(format!("{}: {}\n{}", options.out.display(), counts(&index), noted(&index.notes)))
}

/// Compares every file of a prepared folder with its index; what to tell of it.
///
/// # Errors
/// [`WorkbenchError::Dataset`] with the first file that differs.
pub fn verify(folder: &Path) -> Result<String, WorkbenchError> {
    let index = prepared::verify(folder)?;
    let files = |part: &prepared::Part| part.shards.len() + usize::from(part.labels.is_some());
    let files = files(&index.train) + files(&index.test);
    Ok(format!("{}: {files} files are as they were written; {}\n", folder.display(), counts(&index)))
}

fn counts(index: &Index) -> String {
    let classes = match &index.classes {
        Some(names) => format!("{} classes", names.len()),
        None => "no classes".to_owned(),
    };
    let (train, test) = (index.train.images, index.test.images);
    format!("{train} images to train on and {test} to test, {}, {classes}", index.shape())
}

/// What a data set holds: a prepared folder, or a source as `source` says. `sheet`: a PNG to be written with its first
/// images, `images` of each class or in all.
///
/// # Errors
/// [`WorkbenchError`] if the data are not what they should be, or the picture cannot be written.
pub fn inspect(source: SourceConfig, sheet: Option<&Path>, images: usize) -> Result<String, WorkbenchError> {
    let path = source.path.clone();
    let index = if path.join("index.json").is_file() { Some(Index::open(&path)?) } else { None };
    let config = match &index {
        Some(_) => {
            DatasetConfig::Prepared(PreparedConfig { path, only_classes: source.only_classes, expect: None })
        }
        None => DatasetConfig::Source(source),
    };
    let About { classes: names, notes } = config.about()?;
    let mut text = String::new();
    for (name, split) in [("train", Split::Train), ("test", Split::Test)] {
        match config.build(split) {
            Ok(data) => text += &described(name, &Summary::of(data.as_ref())?, &names),
            Err(DatasetError::NoTestPart(_)) => text += &format!("{name}: no images\n"),
            Err(error) => return Err(error.into()),
        }
    }
    text += &noted(&notes);
    if let Some(index) = &index {
        text += &format!("from {}", index.provenance.source.path.display());
        if let Some(hash) = &index.provenance.blake3 {
            text += &format!(", BLAKE3 {hash}");
        }
        text.push('\n');
    }
    if let Some(path) = sheet {
        draw(config.build(Split::Train)?.as_ref(), path, images)?;
        text += &format!("{}\n", path.display());
    }
    Ok(text)
}

fn noted(notes: &[String]) -> String {
    notes.iter().map(|note| format!("note: {note}\n")).collect()
}

fn described(name: &str, summary: &Summary, names: &[String]) -> String {
    let list = |values: &[f64]| values.iter().map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(" ");
    let mut text = format!("{name}: {} images of {}\n", summary.images, summary.shape);
    text += &format!("  mean {}   standard deviation {}", list(&summary.means), list(&summary.deviations));
    text += &format!("   sigma_data {:.4}\n", summary.sigma_data);
    if let Some(histogram) = &summary.histogram {
        if histogram.len() <= LISTED {
            for (class, count) in histogram.iter().enumerate() {
                let name = names.get(class).filter(|name| **name != class.to_string());
                let name = name.map(|name| format!(" {name}")).unwrap_or_default();
                text += &format!("  class {class}{name}: {count}\n");
            }
        } else {
            let (least, most) = (histogram.iter().min(), histogram.iter().max());
            let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
            text += &format!("  {} classes of {least} to {most} images\n", histogram.len());
        }
    }
    text
}

/// The first images of each class, a row for each class; without classes the first images.
fn draw(data: &dyn Dataset, path: &Path, images: usize) -> Result<(), WorkbenchError> {
    let mut sheet = match data.num_classes().filter(|&classes| classes <= LISTED) {
        Some(classes) => {
            let mut rows = vec![Vec::new(); classes];
            for index in 0..data.len() {
                if let Some(row) = data.label(index).and_then(|label| rows.get_mut(label as usize))
                    && row.len() < images
                {
                    row.push(index);
                }
            }
            let mut sheet = ImageBatch::zeros(data.shape(), 0);
            for row in rows {
                sheet.append(&data.images(&row)?);
                // What a class lacks stays white.
                sheet.append(&ImageBatch::zeros(data.shape(), images - row.len()).map(|_| 1.0));
            }
            sheet
        }
        None => data.images(&(0..data.len().min(images * images)).collect::<Vec<_>>())?,
    };
    let failed = |error: cm_image::GridError| WorkbenchError::failed("drawing the contact sheet", error);
    let zoom = 64 / data.shape().height.clamp(1, 64);
    sheet = contact_sheet(&sheet, images, zoom).map_err(failed)?;
    let mut png = Vec::new();
    write_png(&sheet, &mut png).map_err(failed)?;
    Ok(durable::write(path, &png).map_err(FileError::io(path))?)
}
