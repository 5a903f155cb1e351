//! A prepared folder as a data set.

use super::{Index, Part, Sealed};
use crate::dataset::check_image;
use crate::pixel_table::{choose, write_values};
use crate::transform::ClassSubset;
use crate::{About, Dataset, DatasetError, Expectation, Outline, Split};
use cm_image::ImageShape;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A folder that `cm dataset prepare` has written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreparedConfig {
    /// The folder; a relative one lies in the folder where the program was started. Must be given.
    pub path: PathBuf,
    /// The classes to keep, by their numbers, at least 0, in the order of their new numbers. Empty: all.
    pub only_classes: Vec<u32>, // ours: all
    /// What all of the folder must be (its classes before `only_classes`); with it, a study can be planned where the
    /// folder is not.
    pub expect: Option<Expectation>, // ours: the folder says what it is
}

impl PreparedConfig {
    /// One part of it.
    ///
    /// # Errors
    /// [`DatasetError`] if the folder is not what it should be, or has no such part or classes.
    pub fn build(&self, split: Split) -> Result<Box<dyn Dataset>, DatasetError> {
        if self.path.as_os_str().is_empty() {
            let allowed = "a folder that `cm dataset prepare` has written";
            return Err(DatasetError::setting("path", "none is given", allowed));
        }
        let data = Prepared::open(&self.path, split)?;
        if let Some(expected) = &self.expect {
            expected.check(
                split,
                Outline { shape: data.shape(), len: data.len(), classes: data.num_classes() },
            )?;
        }
        if self.only_classes.is_empty() {
            Ok(Box::new(data))
        } else {
            Ok(Box::new(ClassSubset::new(data, &self.only_classes)?))
        }
    }
}

impl PreparedConfig {
    /// What its index says beside its images.
    pub(crate) fn about(&self) -> Result<About, DatasetError> {
        let Index { classes, notes, .. } = Index::open(&self.path)?;
        let mut classes = classes.unwrap_or_default();
        choose(&mut classes, &self.only_classes);
        Ok(About { classes, notes })
    }
}

/// One part of a prepared folder. Its labels are held in memory, its images are not.
#[derive(Debug)]
pub struct Prepared {
    folder: PathBuf,
    shape: ImageShape,
    classes: Option<usize>,
    len: usize,
    per_shard: u64,
    shards: Vec<(String, File)>,
    labels: Vec<u32>,
    sigma_data: f64,
}

thread_local! {
    /// The bytes of one image, kept between images.
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Prepared {
    /// One part of the set in `folder`.
    ///
    /// # Errors
    /// [`DatasetError`] if the folder is not what it should be or has no such part.
    pub fn open(folder: &Path, split: Split) -> Result<Self, DatasetError> {
        let index = Index::open(folder)?;
        let part = index.part(split);
        if part.images == 0 {
            return Err(DatasetError::NoTestPart(folder.to_owned()));
        }
        let open = |file: &str| {
            let path = folder.join(file);
            File::open(&path).map_err(|error| DatasetError::file(path.display(), error))
        };
        let mut shards = Vec::new();
        for shard in &part.shards {
            shards.push((shard.file.clone(), open(&shard.file)?));
        }
        let labels = match &part.labels {
            Some(sealed) => read_labels(folder, sealed, index.classes.as_ref().map_or(0, Vec::len))?,
            None => Vec::new(),
        };
        Ok(Self {
            folder: folder.to_owned(),
            shape: index.shape(),
            classes: index.classes.as_ref().map(Vec::len),
            len: part.images as usize,
            per_shard: part.images_per_shard,
            shards,
            labels,
            sigma_data: sigma_data(part, index.shape()),
        })
    }
}

/// The standard deviation in [-1, 1] from whole sums of bytes, which are exact.
fn sigma_data(part: &Part, shape: ImageShape) -> f64 {
    let count = part.images as f64 * shape.len() as f64;
    let mean = part.sum as f64 / count;
    (part.sum_of_squares as f64 / count - mean * mean).max(0.0).sqrt() / 127.5
}

/// All labels of a file, each checked, and all of them by the file's hash.
pub(super) fn read_labels(folder: &Path, sealed: &Sealed, classes: usize) -> Result<Vec<u32>, DatasetError> {
    let path = folder.join(&sealed.file);
    let bytes = std::fs::read(&path).map_err(|error| DatasetError::file(path.display(), error))?;
    sealed.compare(folder, &blake3::hash(&bytes).to_hex())?;
    let labels: Vec<u32> =
        bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(index) => {
            let what = format!("record {index}: label {}; there are {classes} classes", labels[index]);
            Err(DatasetError::file(path.display(), what))
        }
        None => Ok(labels),
    }
}

/// Fills `bytes` from a place of a file, whatever other threads read meanwhile.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Fills `bytes` from a place of a file, whatever other threads read meanwhile.
#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

impl Dataset for Prepared {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn len(&self) -> usize {
        self.len
    }

    fn write_image(&self, index: usize, out: &mut [f32]) -> Result<(), DatasetError> {
        check_image(self, index, out)?;
        let (shard, within) = (index as u64 / self.per_shard, index as u64 % self.per_shard);
        let (name, file) = &self.shards[shard as usize];
        BYTES.with_borrow_mut(|bytes| {
            bytes.resize(out.len(), 0);
            read_at(file, bytes, within * out.len() as u64).map_err(|error| {
                let place = format!("{}: image {within}", self.folder.join(name).display());
                DatasetError::file(place, error)
            })?;
            write_values(bytes, out);
            Ok(())
        })
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }

    fn num_classes(&self) -> Option<usize> {
        self.classes
    }

    fn known_sigma_data(&self) -> Option<f64> {
        Some(self.sigma_data)
    }
}
