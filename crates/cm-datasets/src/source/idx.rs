//! The files of MNIST and its like (Y. LeCun): a magic number, lengths, bytes.

use super::walk::entries;
use super::{About, Intake, MAX_CLASSES, Parts, Record, label, open, some_of};
use crate::{DatasetError, Split};
use cm_image::ImageShape;
use flate2::bufread::GzDecoder;
use std::fs;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

/// Two zeros, unsigned bytes, dimensions.
const IMAGES: [u8; 4] = [0, 0, 8, 3];
const COLOUR_IMAGES: [u8; 4] = [0, 0, 8, 4];
const LABELS: [u8; 4] = [0, 0, 8, 1];
/// The largest height or width.
const MAX_SIDE: usize = 1 << 14;

/// Reads a folder with the four usual names, or one file of images and its labels.
pub(super) fn read(path: &Path, intake: &mut Intake<'_>) -> Result<About, DatasetError> {
    let mut notes = Vec::new();
    if path.is_dir() {
        notes.extend(left_out(path)?);
        let train = find(path, "train")?;
        let train = train.ok_or_else(|| {
            DatasetError::file(path.display(), "it holds no file train-images-idx3-ubyte (or with .gz)")
        })?;
        match find(path, "t10k")? {
            Some(test) => {
                intake.begin(Parts::TrainAndTest, path.display())?;
                part(&train, Split::Train, intake, false)?;
                part(&test, Split::Test, intake, false)?;
            }
            None => part(&train, Split::Train, intake, true)?,
        }
    } else {
        part(path, Split::Train, intake, true)?;
    }
    Ok(About { classes: Vec::new(), notes })
}

fn find(folder: &Path, part: &str) -> Result<Option<PathBuf>, DatasetError> {
    let begin = format!("{part}-images-idx3-ubyte");
    let fail = |error| DatasetError::file(folder.display(), error);
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// A warning of files that are called like images or labels of neither part.
fn left_out(folder: &Path) -> Result<Option<String>, DatasetError> {
    let is_other = |name: &str| {
        let known = ["train-images", "train-labels", "t10k-images", "t10k-labels"];
        name.contains("-ubyte") && !known.iter().any(|known| name.starts_with(known))
    };
    let others: Vec<String> =
        entries(folder)?.into_iter().map(|(name, _)| name).filter(|name| is_other(name)).collect();
    Ok((!others.is_empty()).then(|| {
        format!("{} left out: training images are called train-images-idx3-ubyte, those for testing t10k-images-idx3-ubyte", some_of(&others))
    }))
}

/// The labels beside a file of images; `None` if there are none.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let name = name.replace("images", "labels").replace("idx3", "idx1");
    let path = images.with_file_name(&name);
    (name != images.file_name()?.to_str()? && path.exists()).then_some(path)
}

/// A file, compressed or not.
fn input(path: &Path) -> Result<Box<dyn Read>, DatasetError> {
    let mut file = open(path)?;
    let start = file.fill_buf().map_err(|error| DatasetError::file(path.display(), error))?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) { Box::new(GzDecoder::new(file)) } else { Box::new(file) })
}

fn part(path: &Path, part: Split, intake: &mut Intake<'_>, alone: bool) -> Result<(), DatasetError> {
    let fail = |what: String| DatasetError::file(path.display(), what);
    let mut file = input(path)?;
    let magic = bytes(&mut *file, path)?;
    let count = length(&mut *file, path)?;
    if magic != IMAGES && magic != COLOUR_IMAGES {
        return Err(fail(format!("it begins with {magic:02x?}; images begin with {IMAGES:02x?}")));
    }
    let (height, width) = (length(&mut *file, path)?, length(&mut *file, path)?);
    let channels = if magic == COLOUR_IMAGES { length(&mut *file, path)? } else { 1 };
    let sides = 1..=MAX_SIDE;
    if !sides.contains(&height) || !sides.contains(&width) || !matches!(channels, 1 | 3) {
        return Err(fail(format!(
            "images of {height}x{width}x{channels}; allowed are sides of 1 to {MAX_SIDE} and 1 or 3 channels"
        )));
    }
    let labels = labels_beside(path).map(|beside| labels(&beside, count, path)).transpose()?;
    if alone {
        intake.begin(Parts::One(count), path.display())?;
    }
    let shape = ImageShape::new(height, width, channels);
    let mut pixels = Vec::new();
    for index in 0..count {
        let place = || format!("{}: image {index} of {count}", path.display());
        pixels.clear();
        let wanted = shape.len() as u64;
        let read = (&mut file).take(wanted).read_to_end(&mut pixels);
        if read.map_err(|error| DatasetError::file(place(), error))? as u64 != wanted {
            return Err(DatasetError::file(place(), "it is cut off"));
        }
        let label = labels.as_ref().map(|labels| labels[index]);
        intake.image(part, &Record { shape, pixels: &pixels, label }, place)?;
    }
    ends(&mut *file, path, count)
}

fn labels(path: &Path, images: usize, of: &Path) -> Result<Vec<u32>, DatasetError> {
    let mut file = input(path)?;
    let magic: [u8; 4] = bytes(&mut *file, path)?;
    if magic != LABELS {
        let what = format!("it begins with {magic:02x?}; labels begin with {LABELS:02x?}");
        return Err(DatasetError::file(path.display(), what));
    }
    let count = length(&mut *file, path)?;
    if count != images {
        let what = format!("{count} labels, and {} announces {images} images", of.display());
        return Err(DatasetError::file(path.display(), what));
    }
    let mut bytes = Vec::new();
    let read = (&mut file).take(count as u64).read_to_end(&mut bytes);
    if read.map_err(|error| DatasetError::file(path.display(), error))? != count {
        let what = format!("label {} of {count} is cut off", bytes.len());
        return Err(DatasetError::file(path.display(), what));
    }
    ends(&mut *file, path, count)?;
    let place = |index: usize| format!("{}: record {index}", path.display());
    let all = bytes.iter().enumerate();
    all.map(|(index, &byte)| label(i64::from(byte), 0, MAX_CLASSES, || place(index))).collect()
}

/// Nothing may follow; of a compressed file this is also where its checksum is compared.
fn ends(file: &mut dyn Read, path: &Path, count: usize) -> Result<(), DatasetError> {
    match file.read(&mut [0]).map_err(|error| DatasetError::file(path.display(), error))? {
        0 => Ok(()),
        _ => Err(DatasetError::file(path.display(), format!("bytes follow its {count} records"))),
    }
}

fn bytes(file: &mut dyn Read, path: &Path) -> Result<[u8; 4], DatasetError> {
    let mut bytes = [0; 4];
    let read = file.read_exact(&mut bytes);
    read.map_err(|error| DatasetError::file(path.display(), format!("its header: {error}")))?;
    Ok(bytes)
}

fn length(file: &mut dyn Read, path: &Path) -> Result<usize, DatasetError> {
    Ok(u32::from_be_bytes(bytes(file, path)?) as usize)
}
