//! Which source, as data, and how formats are told apart.

use super::orientation::Orientation;
use crate::DatasetError;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Images in a file or folder as it was downloaded or exported. All of them are held in memory, so large sources are
/// prepared first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceConfig {
    /// The file or folder; a relative one lies in the folder where the program was started.
    pub path: PathBuf,
    /// How it is laid out. None: told from names.
    pub format: Option<Format>,
    /// Height and width of the images, at least 1: they are halved by box filters while they are at least twice as
    /// large, resized to it by their shorter side with a bicubic filter and cropped at the centre, as the original does.
    /// None: all images have one size, and it stays. Only for image files.
    pub resolution: Option<usize>,
    /// 1 (grey) or 3 (colour). None: colour if any image has it (in Parquet files: if the first has). Only for image files.
    pub channels: Option<usize>,
    /// Where an image's class stands. Only for folders; of Parquet
    /// files it says whether labels are read.
    pub labels: LabelRule,
    /// The grey on which transparent images lie, 0 to 255. Only for image files.
    pub background: u8,
    /// Images held out for testing, at least 1, where the source has no test part. None: a tenth, at most 10,000.
    pub held_out: Option<usize>,
    /// The classes to keep, by their numbers, at least 0, in the order of their new numbers. Empty: all.
    pub only_classes: Vec<u32>,
    /// Which way up images are read that say so in Exif data. Only for image files.
    // Not written where it is the default, so that indices written before it was known keep their hashes.
    #[serde(skip_serializing_if = "Orientation::is_default")]
    pub orientation: Orientation,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),                // none: it must be given
            format: None,                        // ours: names tell
            resolution: None,                    // ours: data sets for training mostly have one size
            channels: None,                      // ours: as they are
            labels: LabelRule::default(),        // beside that type
            background: 0,                       // ours: black, as `cm edit` reads transparent images
            held_out: None,                      // ours: a tenth, at most as many as CIFAR-10 has
            only_classes: Vec::new(),            // all
            orientation: Orientation::default(), // beside that type
        }
    }
}

/// How a source is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// CIFAR-10 as its authors distribute it: the binary or the Python version, as `.tar.gz` or unpacked.
    Cifar10,
    /// A folder of `train_data_batch_*` and `val_data*`, as pickles or `.npz` (Chrabaszcz et al. 2017).
    DownsampledImageNet,
    /// A folder of PNG, JPEG and WebP files, at any depth; `train` beside `test` or `val` are its parts.
    Folder,
    /// A ZIP file of images with `dataset.json` (EDM, StyleGAN).
    EdmZip,
    /// Files of MNIST and its like, `*-images-idx3-ubyte` and `*-labels-idx1-ubyte`, perhaps with `.gz`: the folder, or
    /// one file of images.
    Idx,
    /// A NumPy archive of images (u8; N x H x W or N x H x W x channels) and perhaps labels.
    Npz,
    /// Parquet files of the Hugging Face Hub: one, or a folder of them, whose names begin with their part. Needs the
    /// feature `hub`.
    Parquet,
}

/// Where an image's class stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelRule {
    /// The first folder below the source (or below `train`, `test`, `val`); none for images that lie directly in it.
    #[default] // ours: as ImageNet is distributed
    Folders,
    /// The file name up to the first `_`, as the original code has it.
    Prefixes,
    /// Nowhere: they have none.
    Nowhere,
}

impl SourceConfig {
    /// The format, given or told from names.
    pub(crate) fn format(&self) -> Result<Format, DatasetError> {
        let path = &self.path;
        if path.as_os_str().is_empty() {
            return Err(DatasetError::setting("path", "none is given", "a file or folder of images"));
        }
        if self.channels.is_some_and(|channels| channels != 1 && channels != 3) {
            let given = format!("channels is {:?}", self.channels.unwrap_or_default());
            return Err(DatasetError::setting("channels", given, "1 or 3"));
        }
        if self.resolution.is_some_and(|side| !(1..=MAX_RESOLUTION).contains(&side)) {
            let given = format!("resolution is {:?}", self.resolution.unwrap_or_default());
            return Err(DatasetError::setting("resolution", given, format!("1 to {MAX_RESOLUTION}")));
        }
        let about = fs::metadata(path).map_err(|error| DatasetError::file(path.display(), error))?;
        let format = match self.format {
            Some(format) => format,
            None if about.is_dir() => of_folder(path)?,
            None => of_file(path)?,
        };
        let of_files = matches!(format, Format::Folder | Format::EdmZip | Format::Parquet);
        let own = [
            ("resolution", self.resolution.is_some()),
            ("channels", self.channels.is_some()),
            ("background", self.background != 0),
            ("orientation", !self.orientation.is_default()),
        ];
        if let Some((field, _)) = own.into_iter().find(|&(_, given)| given && !of_files) {
            let what = format!("{}: images of {format:?} stay as they are", path.display());
            return Err(DatasetError::setting(
                field,
                what,
                "only for folders, ZIP files and Parquet files of images",
            ));
        }
        Ok(format)
    }
}

/// The largest side that images are resized to.
const MAX_RESOLUTION: usize = 4096;

fn of_file(path: &Path) -> Result<Format, DatasetError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if ends(&[".tar.gz", ".tgz"]) {
        Ok(Format::Cifar10)
    } else if ends(&[".zip"]) {
        Ok(Format::EdmZip)
    } else if ends(&[".npz"]) {
        Ok(Format::Npz)
    } else if ends(&[".parquet"]) {
        Ok(Format::Parquet)
    } else if ends(&["ubyte", "ubyte.gz", "idx3", "idx3.gz"]) {
        Ok(Format::Idx)
    } else {
        let what = format!("{}: its name does not say how it is laid out", path.display());
        let allowed = "*.tar.gz (CIFAR-10), *.zip (EDM), *.npz, *.parquet, *-ubyte, *-ubyte.gz, a folder; or name the format";
        Err(DatasetError::setting("format", what, allowed))
    }
}

fn of_folder(path: &Path) -> Result<Format, DatasetError> {
    let fail = |error| DatasetError::file(path.display(), error);
    for entry in fs::read_dir(path).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("data_batch_") {
            return Ok(Format::Cifar10);
        }
        if name.starts_with("train_data_batch_") || name.starts_with("val_data") {
            return Ok(Format::DownsampledImageNet);
        }
        if name.contains("-images-idx3-ubyte") {
            return Ok(Format::Idx);
        }
    }
    let holds = |folder: &Path| {
        let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().ends_with(".parquet"))
    };
    let inner = fs::read_dir(path).map_err(fail)?.flatten().map(|entry| entry.path());
    let parquet = holds(path) || inner.into_iter().any(|path| path.is_dir() && holds(&path));
    Ok(if parquet { Format::Parquet } else { Format::Folder })
}
