//! NumPy archives of images and labels, under the names people use.

use super::npy::{Element, Header, NpyError};
use super::{About, Intake, MAX_CLASSES, Parts, Record, label};
use crate::{DatasetError, Split};
use cm_image::ImageShape;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use zip::ZipArchive;
use zip::read::ZipFile;

/// Names of arrays: images and labels of the only or the training part, images and labels of the test part. Those of
/// NumPy itself, Keras, MedMNIST, and the original's `samples.npz`.
const NAMES: [&[&str]; 4] = [
    &["images", "x_train", "train_images", "arr_0", "x", "data"],
    &["labels", "y_train", "train_labels", "arr_1", "y"],
    &["x_test", "test_images"],
    &["y_test", "test_labels"],
];

/// An archive that is open.
pub(super) struct Npz {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
}

type Entry<'a> = ZipFile<'a, BufReader<File>>;

impl Npz {
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let archive = ZipArchive::new(super::open(path)?)
            .map_err(|error| DatasetError::file(path.display(), format!("no NumPy archive: {error}")))?;
        Ok(Self { path: path.to_owned(), archive })
    }

    /// The first of these names that there is.
    pub(super) fn find(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.archive.index_for_name(&format!("{name}.npy")).is_some())
    }

    pub(super) fn place(&self, name: &str) -> String {
        format!("{}: {name}.npy", self.path.display())
    }

    /// The header of an array, and its rows to be read.
    pub(super) fn array(&mut self, name: &str) -> Result<(Header, Entry<'_>), DatasetError> {
        let place = self.place(name);
        let fail = |error: NpyError| DatasetError::file(&place, error);
        let mut entry = self
            .archive
            .by_name(&format!("{name}.npy"))
            .map_err(|error| DatasetError::file(&place, error))?;
        let header = Header::read(&mut entry).map_err(fail)?;
        Ok((header, entry))
    }

    /// The labels in the array `name`, one for each of `images` images.
    pub(super) fn labels(
        &mut self,
        name: &str,
        images: usize,
        first: i64,
        classes: u32,
    ) -> Result<Vec<u32>, DatasetError> {
        let place = self.place(name);
        let (header, mut entry) = self.array(name)?;
        if header.rows() != images || header.row_bytes() != header.element.bytes() {
            let what = format!("labels of shape {:?} for {images} images", header.shape);
            return Err(DatasetError::file(place, what));
        }
        let mut labels = Vec::new();
        rows(&header, &mut entry, &place, |index, row| {
            let place = || format!("{place}: record {index}");
            let number = header.element.value(row).unwrap_or(i64::MAX);
            labels.push(label(number, first, classes, place)?);
            Ok(())
        })?;
        Ok(labels)
    }
}

/// Row after row of an array, errors with its place.
pub(super) fn rows(
    header: &Header,
    entry: &mut impl Read,
    place: &str,
    mut each: impl FnMut(usize, &[u8]) -> Result<(), DatasetError>,
) -> Result<(), DatasetError> {
    enum Either {
        Npy(NpyError),
        Other(DatasetError),
    }
    impl From<NpyError> for Either {
        fn from(error: NpyError) -> Self {
            Self::Npy(error)
        }
    }
    let read = header.each_row(entry, |index, row| each(index, row).map_err(Either::Other));
    read.map_err(|error| match error {
        Either::Npy(error) => DatasetError::file(place, error),
        Either::Other(error) => error,
    })
}

/// Reads an archive of images.
pub(super) fn read(path: &Path, intake: &mut Intake<'_>) -> Result<About, DatasetError> {
    let mut archive = Npz::open(path)?;
    let [images, labels, test_images, test_labels] = NAMES.map(|names| archive.find(names));
    let images = images.ok_or_else(|| {
        let named = NAMES[0].join(", ");
        DatasetError::file(path.display(), format!("it holds no array of images; looked for: {named}"))
    })?;
    match test_images {
        Some(test_images) => {
            intake.begin(Parts::TrainAndTest, path.display())?;
            part(&mut archive, images, labels, Split::Train, intake, false)?;
            part(&mut archive, test_images, test_labels, Split::Test, intake, false)?;
        }
        None => part(&mut archive, images, labels, Split::Train, intake, true)?,
    }
    Ok(About::default())
}

fn part(
    archive: &mut Npz,
    images: &str,
    labels: Option<&'static str>,
    part: Split,
    intake: &mut Intake<'_>,
    alone: bool,
) -> Result<(), DatasetError> {
    let (header, _) = archive.array(images)?;
    let place = archive.place(images);
    let count = header.rows();
    let shape = match (header.element, &header.shape[..]) {
        (Element::U8, &[_, height, width]) => ImageShape::new(height, width, 1),
        (Element::U8, &[_, height, width, channels @ (1 | 3)]) => ImageShape::new(height, width, channels),
        (_, shape) => {
            let allowed = "images are u8, N x height x width or N x height x width x channels (1 or 3)";
            return Err(DatasetError::file(place, format!("an array of shape {shape:?}; {allowed}")));
        }
    };
    let labels = labels.map(|name| archive.labels(name, count, 0, MAX_CLASSES)).transpose()?;
    if alone {
        intake.begin(Parts::One(count), &place)?;
    }
    let (header, mut entry) = archive.array(images)?;
    rows(&header, &mut entry, &place, |index, pixels| {
        let label = labels.as_ref().map(|labels| labels[index]);
        intake.image(part, &Record { shape, pixels, label }, || format!("{place}: image {index} of {count}"))
    })
}
