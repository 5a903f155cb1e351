//! What a prepared folder says of itself: `index.json`.

use crate::{DatasetError, SourceConfig, Split};
use cm_image::ImageShape;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Name of the index in the folder.
pub(crate) const INDEX: &str = "index.json";
/// The form's version. 2: the index holds a hash of itself.
pub(crate) const FORMAT: u32 = 2;
/// Bytes of an index; one of a million shards would have fewer.
const MAX_INDEX: u64 = 1 << 28;

/// The index of a prepared folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Version of the form.
    pub format: u32,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// Names of the classes in the order of their numbers; `None` if images have no labels.
    pub classes: Option<Vec<String>>,
    /// What models are trained on.
    pub train: Part,
    /// What they never see; perhaps without images.
    pub test: Part,
    /// Where the images come from.
    pub provenance: Provenance,
    /// What a user should know of how the source was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The BLAKE3 hash of all of this, with nothing in this place.
    #[serde(default)]
    pub blake3: String,
}

/// One part of a prepared folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its images.
    pub images: u64,
    /// All shards but the last hold so many.
    pub images_per_shard: u64,
    /// Files of images, one after the other, NHWC, a byte for each value.
    pub shards: Vec<Sealed>,
    /// File of labels, four bytes each, little-endian; `None` without classes or images.
    pub labels: Option<Sealed>,
    /// Sum of all bytes of all images.
    pub sum: u64,
    /// Sum of their squares.
    pub sum_of_squares: u64,
}

/// A file and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Its name in the folder.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// Their BLAKE3 hash.
    pub blake3: String,
}

/// Where prepared images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The settings with which the source was read; of its path the last name.
    pub source: SourceConfig,
    /// The source's BLAKE3 hash if it is one file.
    pub blake3: Option<String>,
    /// The program that prepared it.
    pub program: String,
}

impl Index {
    /// Reads and checks the index of a folder: it is as it was written, every number fits the others, and every file is
    /// in the folder and of its size. What is in the files is not looked at.
    ///
    /// # Errors
    /// [`DatasetError::File`] with what is wrong.
    pub fn open(folder: &Path) -> Result<Self, DatasetError> {
        let path = folder.join(INDEX);
        let fail = |what: String| DatasetError::file(path.display(), what);
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_INDEX).read_to_end(&mut text));
        read.map_err(|error| {
            fail(format!(
                "{error}; expected a folder that `cm dataset prepare` has written, here or by its full name"
            ))
        })?;
        let index: Self = serde_json::from_slice(&text).map_err(|error| fail(error.to_string()))?;
        index.check(folder).map_err(fail)?;
        if index.to_text().as_bytes() != text {
            let what = "its own BLAKE3 hash does not match: it was changed or damaged after it was written; put it \
                        back, or prepare the set again";
            return Err(fail(what.to_owned()));
        }
        Ok(index)
    }

    /// The bytes of the file: the index with a hash of itself.
    pub(crate) fn to_text(&self) -> String {
        cm_host::self_sealed(self, |index| &mut index.blake3)
    }

    /// The shape of one image.
    pub fn shape(&self) -> ImageShape {
        ImageShape::new(self.height, self.width, self.channels)
    }

    /// A part.
    pub fn part(&self, split: Split) -> &Part {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    fn check(&self, folder: &Path) -> Result<(), String> {
        if self.format != FORMAT {
            let again = if self.format < FORMAT { ": prepare the set again" } else { "" };
            return Err(format!("format {}, and {FORMAT} is known{again}", self.format));
        }
        let values = self.height.checked_mul(self.width).and_then(|n| n.checked_mul(self.channels));
        let values = values.filter(|&values| values > 0 && values < 1 << 31);
        let image = values.ok_or("images of no or too large a size")? as u64;
        if self.classes.as_ref().is_some_and(Vec::is_empty) {
            return Err("classes without a single one".into());
        }
        for (name, part) in [("train", &self.train), ("test", &self.test)] {
            part.check(image, self.classes.is_some(), folder).map_err(|what| format!("{name}: {what}"))?;
        }
        if self.train.images == 0 { Err("there are no images to train on".into()) } else { Ok(()) }
    }
}

impl Part {
    fn check(&self, image: u64, labelled: bool, folder: &Path) -> Result<(), String> {
        let Self { images, images_per_shard, ref shards, ref labels, .. } = *self;
        if images_per_shard == 0 && images > 0 {
            return Err("shards without images".into());
        }
        let needed = if images == 0 { 0 } else { images.div_ceil(images_per_shard) };
        if shards.len() as u64 != needed {
            return Err(format!("{} shards for {images} images, {images_per_shard} in each", shards.len()));
        }
        for (index, shard) in shards.iter().enumerate() {
            let first = index as u64 * images_per_shard;
            let expected = images_per_shard.min(images - first).checked_mul(image);
            shard.check(expected, folder)?;
        }
        match (labels, labelled && images > 0) {
            (Some(labels), true) => labels.check(images.checked_mul(4), folder),
            (None, false) => Ok(()),
            (Some(_), false) => Err("labels without classes or images".into()),
            (None, true) => Err("classes without labels".into()),
        }
    }
}

impl Sealed {
    /// That the file of a folder still has the hash it was written with.
    pub(crate) fn compare(&self, folder: &Path, found: &str) -> Result<(), DatasetError> {
        let Self { file, blake3, .. } = self;
        if found == blake3 {
            return Ok(());
        }
        let what = format!("its BLAKE3 hash is {found}, and {blake3} was written: it was changed or damaged");
        Err(DatasetError::file(folder.join(file).display(), what))
    }

    fn check(&self, expected: Option<u64>, folder: &Path) -> Result<(), String> {
        let Self { file, bytes, .. } = self;
        // A name, and not the way to another folder.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if file.is_empty() || file.starts_with('.') || !file.chars().all(plain) {
            return Err(format!("{file:?} is no name of a file of it"));
        }
        if Some(*bytes) != expected {
            return Err(format!(
                "{file} has {bytes} bytes, and its images take {}",
                expected.unwrap_or(u64::MAX)
            ));
        }
        let found = folder.join(file).metadata().map_err(|error| format!("{file}: {error}"))?.len();
        if found == *bytes {
            Ok(())
        } else {
            Err(format!("{file} has {found} bytes, and {bytes} are expected"))
        }
    }
}
