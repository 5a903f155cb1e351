//! CIFAR-10 (Krizhevsky 2009) as its author distributes it: five batches for training and one for testing, binary or
//! pickled.
//!
//! The batches of the `.tar.gz` files are not in their order, and a compressed file cannot be read from the middle: all
//! six are held while they are sorted, 31 MB each.

use super::downsampled::images;
use super::{About, Intake, Parts, Record, interleave, label, open};
use crate::{DatasetError, Split};
use cm_image::ImageShape;
use cm_import::PickledDict;
use flate2::bufread::GzDecoder;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::Path;

const CLASSES: u32 = 10;
const SHAPE: ImageShape = ImageShape::new(32, 32, 3);
const BATCHES: [(&str, Split); 6] = [
    ("data_batch_1", Split::Train),
    ("data_batch_2", Split::Train),
    ("data_batch_3", Split::Train),
    ("data_batch_4", Split::Train),
    ("data_batch_5", Split::Train),
    ("test_batch", Split::Test),
];
/// The names of the classes: of the pickles, of the binary version.
const META: [&str; 2] = ["batches.meta", "batches.meta.txt"];
/// Bytes of one file; a batch has 31 million.
const MAX_FILE: u64 = 1 << 26;
/// Bytes behind the last file of an archive, which are read for the checksum's sake.
const MAX_PADDING: u64 = 1 << 24;

/// Reads a `.tar.gz` file or the folder that was in it.
pub(super) fn read(path: &Path, intake: &mut Intake<'_>) -> Result<About, DatasetError> {
    let files = if path.is_dir() { folder(path)? } else { archive(path)? };
    let binary = files.contains_key("data_batch_1.bin");
    let ending = if binary { ".bin" } else { "" };
    let names = names(&files, path, binary)?;
    if names.len() != CLASSES as usize {
        let what = format!("it names {} classes, and there are {CLASSES}", names.len());
        return Err(DatasetError::file(path.display(), what));
    }
    intake.begin(Parts::TrainAndTest, path.display())?;
    for (name, part) in BATCHES {
        let name = format!("{name}{ending}");
        let place = format!("{}: {name}", path.display());
        let bytes = files.get(&name).ok_or_else(|| DatasetError::file(&place, "it is missing"))?;
        if binary { records(bytes, &place, part, intake) } else { pickled(bytes, &place, part, intake) }?;
    }
    Ok(About { classes: names, notes: Vec::new() })
}

fn wanted(name: &str) -> bool {
    META.contains(&name) || BATCHES.iter().any(|(batch, _)| name == *batch || name == format!("{batch}.bin"))
}

fn archive(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, DatasetError> {
    let fail = |error: io::Error| DatasetError::file(path.display(), error);
    let mut tar = tar::Archive::new(GzDecoder::new(open(path)?));
    let mut files = BTreeMap::new();
    for entry in tar.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        let full = entry.path().map_err(fail)?.into_owned();
        let name = full.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !entry.header().entry_type().is_file() || !wanted(&name) {
            continue;
        }
        let place = format!("{}: {}", path.display(), full.display());
        let bytes = limited(&mut entry, &place)?;
        if files.insert(name, bytes).is_some() {
            return Err(DatasetError::file(place, "it is there twice"));
        }
    }
    // What follows the last file holds the checksum of all.
    let rest = io::copy(&mut tar.into_inner().take(MAX_PADDING), &mut io::sink()).map_err(fail)?;
    if rest == MAX_PADDING {
        return Err(DatasetError::file(path.display(), "too much follows its last file"));
    }
    Ok(files)
}

fn folder(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, DatasetError> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(|error| DatasetError::file(path.display(), error))? {
        let path = entry.map_err(|error| DatasetError::file(path.display(), error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if wanted(&name) {
            let place = path.display().to_string();
            let mut file = File::open(&path).map_err(|error| DatasetError::file(&place, error))?;
            files.insert(name, limited(&mut file, &place)?);
        }
    }
    Ok(files)
}

/// A whole file, if it is not too large.
fn limited(file: &mut impl Read, place: &str) -> Result<Vec<u8>, DatasetError> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| DatasetError::file(place, error))?;
    if bytes.len() as u64 == MAX_FILE {
        return Err(DatasetError::file(
            place,
            format!("it has {MAX_FILE} bytes or more, and a batch has fewer"),
        ));
    }
    Ok(bytes)
}

/// A batch of the binary version: a label, then three planes.
fn records(bytes: &[u8], place: &str, part: Split, intake: &mut Intake<'_>) -> Result<(), DatasetError> {
    let size = 1 + SHAPE.len();
    if bytes.is_empty() || !bytes.len().is_multiple_of(size) {
        let what = format!(
            "record {} is cut off: {} bytes, and a record has {size}",
            bytes.len() / size,
            bytes.len()
        );
        return Err(DatasetError::file(place, what));
    }
    let mut pixels = vec![0; SHAPE.len()];
    for (index, record) in bytes.chunks_exact(size).enumerate() {
        let place = || format!("{place}: record {index}");
        let label = label(i64::from(record[0]), 0, CLASSES, place)?;
        interleave(&record[1..], &mut pixels);
        intake.image(part, &Record { shape: SHAPE, pixels: &pixels, label: Some(label) }, place)?;
    }
    Ok(())
}

/// A batch of the Python version.
fn pickled(bytes: &[u8], place: &str, part: Split, intake: &mut Intake<'_>) -> Result<(), DatasetError> {
    let mut input = Cursor::new(bytes);
    let pickle = PickledDict::read(&mut input).map_err(|error| DatasetError::file(place, error))?;
    let data = pickle.array("data").ok_or_else(|| DatasetError::file(place, "it holds no array `data`"))?;
    let labels = pickle.integers("labels");
    let labels =
        labels.ok_or_else(|| DatasetError::file(place, "it holds no list `labels` of whole numbers"))?;
    let labels = labels
        .iter()
        .enumerate()
        .map(|(index, &number)| label(number, 0, CLASSES, || format!("{place}: record {index}")));
    let labels = labels.collect::<Result<Vec<u32>, DatasetError>>()?;
    if data.shape.get(1) != Some(&SHAPE.len()) {
        return Err(DatasetError::file(place, format!("data of shape {:?}, not N x 3072", data.shape)));
    }
    images(&data, &labels, &mut input, place, part, intake)
}

/// The names of the classes, from the file that the archive of this version has for them.
fn names(files: &BTreeMap<String, Vec<u8>>, path: &Path, binary: bool) -> Result<Vec<String>, DatasetError> {
    let [pickled, text] = META;
    if let Some(text) = files.get(text) {
        let text = String::from_utf8_lossy(text);
        let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
        return Ok(names.map(str::to_owned).collect());
    }
    let wanted = if binary { text } else { pickled };
    let missing =
        || DatasetError::file(path.display(), format!("{wanted}, with the names of the classes, is missing"));
    let meta = files.get(pickled).ok_or_else(missing)?;
    let place = format!("{}: {pickled}", path.display());
    let pickle =
        PickledDict::read(&mut Cursor::new(meta)).map_err(|error| DatasetError::file(&place, error))?;
    pickle.texts("label_names").ok_or_else(|| DatasetError::file(&place, "it holds no list `label_names`"))
}
