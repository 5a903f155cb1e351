//! Images where people have them: the files as downloaded or exported, read one image after the other.
//!
//! A reader hands every image to an [`Intake`], which sees to what all formats have in common: one shape, labels for
//! all or for none, a part held out for testing where the format has none of its own. Where images go from there is
//! a [`Store`]'s business: into memory, or into the shards of the prepared form.
//!
//! Every file is taken for hostile: sizes are compared with what is there before memory is taken, names with `..` are
//! refused, no Python is run. Deliberately absent: downloads, writing, resuming in the middle of a source.

mod cifar;
mod config;
mod downsampled;
mod edm_zip;
mod folder;
mod idx;
mod image_file;
mod intake;
mod layout;
mod npy;
mod npz;
mod orientation;
#[cfg(feature = "hub")]
mod parquet;
mod pixels;
mod raster;
mod resize;
mod walk;

pub use config::{Format, LabelRule, SourceConfig};
pub use image_file::read_image;
pub(crate) use intake::{Store, Taken};
pub use orientation::Orientation;
pub use raster::is_image;

use intake::{Intake, Parts, Record};

use crate::DatasetError;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// What is known of a data set beside its images and labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The names of the classes, by number; without classes none.
    pub classes: Vec<String>,
    /// What a user should know of how it was read: files that were left out, images that were turned.
    pub notes: Vec<String>,
}

/// Reads all images of a source into `store`.
pub(crate) fn take(config: &SourceConfig, store: &mut dyn Store) -> Result<(Taken, About), DatasetError> {
    let mut intake = Intake::new(store, config.held_out);
    let mut about = read(config, &mut intake)?;
    let taken = intake.end(config.path.display())?;
    if taken.labelled {
        // Classes without names are called by their numbers.
        let unnamed = about.classes.len() as u32..taken.counts.len() as u32;
        about.classes.extend(unnamed.map(|number| number.to_string()));
    } else {
        about.classes.clear();
    }
    about.notes.extend(taken.notes(&about.classes));
    Ok((taken, about))
}

/// Hands all images of a source to `intake`; only classes that have names are named.
fn read(config: &SourceConfig, intake: &mut Intake<'_>) -> Result<About, DatasetError> {
    let path = &config.path;
    match config.format()? {
        Format::Cifar10 => cifar::read(path, intake),
        Format::DownsampledImageNet => downsampled::read(path, intake),
        Format::Folder => folder::read(config, intake),
        Format::EdmZip => edm_zip::read(config, intake),
        Format::Idx => idx::read(path, intake),
        Format::Npz => npz::read(path, intake),
        #[cfg(feature = "hub")]
        Format::Parquet => parquet::read(config, intake),
        #[cfg(not(feature = "hub"))]
        Format::Parquet => {
            let what = format!("{}: this program was built without what reads Parquet files", path.display());
            Err(DatasetError::setting("format", what, "a program built with `--features hub`"))
        }
    }
}

/// Names that are told one by one.
const NAMED: usize = 5;

/// The first few of some names, and how many more there are.
fn some_of(names: &[String]) -> String {
    match names.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

/// The most classes that labels may count; more is a sign that they are no classes.
pub(crate) const MAX_CLASSES: u32 = 1 << 16;

/// A label that a file gives as a number; `first` is that of the first class.
pub(crate) fn label(
    number: i64,
    first: i64,
    classes: u32,
    place: impl FnOnce() -> String,
) -> Result<u32, DatasetError> {
    let last = first + i64::from(classes) - 1;
    if (first..=last).contains(&number) {
        Ok((number - first) as u32)
    } else {
        Err(DatasetError::file(place(), format!("label {number}; allowed are {first} to {last}")))
    }
}

pub(crate) fn open(path: &Path) -> Result<BufReader<File>, DatasetError> {
    let file = File::open(path).map_err(|error| DatasetError::file(path.display(), error))?;
    Ok(BufReader::with_capacity(1 << 18, file))
}

/// Turns an image of planes (all of red, all of green, all of blue) into one of pixels.
pub(crate) fn interleave(planes: &[u8], out: &mut [u8]) {
    let plane = planes.len() / 3;
    for (index, pixel) in out.chunks_exact_mut(3).enumerate() {
        for (channel, value) in pixel.iter_mut().enumerate() {
            *value = planes[channel * plane + index];
        }
    }
}
