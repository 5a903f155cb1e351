//! Downsampled ImageNet (Chrabaszcz, Loshchilov, Hutter 2017, arXiv 1707.08819): batches of planar images with labels
//! from 1 to 1,000, as pickles or NumPy archives.

use super::npy::Element;
use super::npz::{Npz, rows};
use super::{About, Intake, Parts, Record, interleave, label, open};
use crate::{DatasetError, Split};
use cm_image::ImageShape;
use cm_import::{Dtype, PickledArray, PickledDict};
use std::fs;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

const CLASSES: u32 = 1000;
/// Labels count from 1.
const FIRST: i64 = 1;

/// Reads all `train_data_batch_*` by their numbers, then `val_data*`.
pub(super) fn read(folder: &Path, intake: &mut Intake<'_>) -> Result<About, DatasetError> {
    let mut train: Vec<(u32, PathBuf)> = Vec::new();
    let mut test: Option<PathBuf> = None;
    let fail = |error| DatasetError::file(folder.display(), error);
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".npz").unwrap_or(&name);
        if let Some(number) = stem.strip_prefix("train_data_batch_").and_then(|n| n.parse().ok()) {
            train.push((number, path));
        } else if stem == "val_data" {
            test = Some(path);
        }
    }
    train.sort();
    for (expected, (number, path)) in (1..).zip(&train) {
        if *number != expected {
            let what = format!("it is there, but train_data_batch_{expected} is missing or there twice");
            return Err(DatasetError::file(path.display(), what));
        }
    }
    let Some(test) = test.filter(|_| !train.is_empty()) else {
        let what = "it needs train_data_batch_1 and so on, and val_data (each perhaps with .npz)";
        return Err(DatasetError::file(folder.display(), what));
    };
    intake.begin(Parts::TrainAndTest, folder.display())?;
    for (_, path) in &train {
        batch(path, Split::Train, intake)?;
    }
    batch(&test, Split::Test, intake)?;
    let classes = (1..=CLASSES).map(|number| number.to_string()).collect();
    Ok(About { classes, notes: Vec::new() })
}

fn batch(path: &Path, part: Split, intake: &mut Intake<'_>) -> Result<(), DatasetError> {
    if path.extension().is_some_and(|extension| extension == "npz") {
        archive(path, part, intake)
    } else {
        pickled(path, part, intake)
    }
}

fn archive(path: &Path, part: Split, intake: &mut Intake<'_>) -> Result<(), DatasetError> {
    let mut archive = Npz::open(path)?;
    for name in ["data", "labels"] {
        if archive.find(&[name]).is_none() {
            return Err(DatasetError::file(path.display(), format!("it holds no array `{name}`")));
        }
    }
    let place = archive.place("data");
    let (header, _) = archive.array("data")?;
    let (count, shape) = planes(header.element, &header.shape, &place)?;
    let labels = archive.labels("labels", count, FIRST, CLASSES)?;
    let mut pixels = vec![0; shape.len()];
    let (header, mut entry) = archive.array("data")?;
    rows(&header, &mut entry, &place, |index, row| {
        interleave(row, &mut pixels);
        let record = Record { shape, pixels: &pixels, label: Some(labels[index]) };
        intake.image(part, &record, || format!("{place}: image {index} of {count}"))
    })
}

fn pickled(path: &Path, part: Split, intake: &mut Intake<'_>) -> Result<(), DatasetError> {
    let mut file = open(path)?;
    let place = path.display().to_string();
    let pickle = PickledDict::read(&mut file).map_err(|error| DatasetError::file(&place, error))?;
    let data = pickle.array("data");
    let data = data.ok_or_else(|| DatasetError::file(&place, "it holds no array `data`"))?;
    let labels = match (pickle.integers("labels"), pickle.array("labels")) {
        (Some(labels), _) => labels,
        (None, Some(labels)) => integers(&labels, &mut file)
            .ok_or_else(|| DatasetError::file(&place, "`labels` are no whole numbers"))?,
        (None, None) => return Err(DatasetError::file(&place, "it holds no list `labels`")),
    };
    let bytes = labels
        .iter()
        .enumerate()
        .map(|(index, &number)| label(number, FIRST, CLASSES, || format!("{place}: record {index}")));
    let labels = bytes.collect::<Result<Vec<u32>, DatasetError>>()?;
    images(&data, &labels, &mut file, &place, part, intake)
}

/// The whole numbers of a pickled array in one dimension.
fn integers(array: &PickledArray, file: &mut (impl Read + Seek)) -> Option<Vec<i64>> {
    let element = element(array)?;
    let count = *array.shape.first().filter(|_| array.shape.len() == 1)?;
    if count.checked_mul(element.bytes())? as u64 != array.bytes() {
        return None;
    }
    let mut bytes = Vec::new();
    array.reader(file).and_then(|mut reader| reader.read_to_end(&mut bytes)).ok()?;
    bytes.chunks_exact(element.bytes()).map(|number| element.value(number)).collect()
}

/// How the whole numbers of an array are written; `None` if it holds others.
fn element(array: &PickledArray) -> Option<Element> {
    let signed = match array.dtype {
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => true,
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 | Dtype::Bool => false,
        Dtype::F16 | Dtype::Bf16 | Dtype::F32 | Dtype::F64 => return None,
    };
    Some(Element::new(array.dtype.bytes() as usize, signed, array.big_endian))
}

/// Hands over the planar images of a pickled array.
pub(super) fn images(
    data: &PickledArray,
    labels: &[u32],
    file: &mut (impl Read + Seek),
    place: &str,
    part: Split,
    intake: &mut Intake<'_>,
) -> Result<(), DatasetError> {
    let fail = |what: String| DatasetError::file(place, what);
    let element = element(data).ok_or_else(|| fail(format!("data of type {:?}", data.dtype)))?;
    if data.fortran {
        return Err(fail("data in Fortran order".into()));
    }
    let (count, shape) = planes(element, &data.shape, place)?;
    if count != labels.len() {
        return Err(fail(format!("{count} images, but {} labels", labels.len())));
    }
    if count.checked_mul(shape.len()).map(|bytes| bytes as u64) != Some(data.bytes()) {
        return Err(fail(format!("{} bytes for {count} images of {shape}", data.bytes())));
    }
    let input = data.reader(file).map_err(|error| DatasetError::file(place, error))?;
    let mut input = BufReader::with_capacity(1 << 18, input);
    let (mut row, mut pixels) = (vec![0; shape.len()], vec![0; shape.len()]);
    for (index, &label) in labels.iter().enumerate() {
        let place = || format!("{place}: image {index} of {count}");
        input.read_exact(&mut row).map_err(|error| DatasetError::file(place(), error))?;
        interleave(&row, &mut pixels);
        intake.image(part, &Record { shape, pixels: &pixels, label: Some(label) }, place)?;
    }
    Ok(())
}

/// The number and shape of square colour images that lie plane by plane in rows.
fn planes(element: Element, shape: &[usize], place: &str) -> Result<(usize, ImageShape), DatasetError> {
    if let (Element::U8, &[count, values]) = (element, shape) {
        let side = (values / 3).isqrt();
        if side > 0 && side <= 1 << 12 && side * side * 3 == values {
            return Ok((count, ImageShape::new(side, side, 3)));
        }
    }
    let allowed = "images are u8, N x (3 x side x side), as in 10000 x 3072";
    Err(DatasetError::file(place, format!("data of shape {shape:?}; {allowed}")))
}
