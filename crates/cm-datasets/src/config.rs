//! The choice among data sets.

use crate::prepared::INDEX;
use crate::{
    About, Dataset, DatasetError, Digits, DigitsConfig, GaussianMixtureConfig, Outline, PreparedConfig,
    SourceConfig, Split, SwissRollConfig, pixel_table,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The choice among data sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DatasetConfig {
    /// Handwritten digits, 8x8 grey, shipped.
    Digits(DigitsConfig),
    /// Draws from a mixture of Gaussians, generated.
    GaussianMixture(GaussianMixtureConfig),
    /// Points on a spiral in the plane, generated.
    SwissRoll(SwissRollConfig),
    /// Images in the form that `cm dataset prepare` writes.
    Prepared(PreparedConfig),
    /// Images in a file or folder as it was downloaded, held in memory.
    Source(SourceConfig),
}

impl Default for DatasetConfig {
    fn default() -> Self {
        Self::Digits(DigitsConfig::default()) // the only images that are always there
    }
}

impl DatasetConfig {
    /// One part of the data set described.
    ///
    /// # Errors
    /// [`DatasetError`] if parameters are out of range or the data cannot be read.
    pub fn build(&self, split: Split) -> Result<Box<dyn Dataset>, DatasetError> {
        Ok(match self {
            Self::Digits(DigitsConfig {}) => Box::new(Digits::new(split)?),
            Self::GaussianMixture(config) => Box::new(config.build(split)?),
            Self::SwissRoll(config) => Box::new(config.build(split)?),
            Self::Prepared(config) => config.build(split)?,
            Self::Source(config) => pixel_table::build(config, split)?,
        })
    }

    /// The names of its classes and what a user should know of how its images were read.
    ///
    /// # Errors
    /// [`DatasetError`] if the data cannot be read.
    pub fn about(&self) -> Result<About, DatasetError> {
        match self {
            Self::Digits(DigitsConfig {}) => {
                Ok(About { classes: (0..10).map(|digit| digit.to_string()).collect(), notes: Vec::new() })
            }
            Self::GaussianMixture(_) | Self::SwissRoll(_) => Ok(About::default()),
            Self::Prepared(config) => config.about(),
            Self::Source(config) => pixel_table::about(config),
        }
    }

    /// Under which licence its images are, for cards of models; of files it is not known.
    pub fn licence(&self) -> &'static str {
        match self {
            Self::Digits(DigitsConfig {}) => "CC BY 4.0",
            Self::GaussianMixture(_) | Self::SwissRoll(_) => "none needed: generated numbers",
            Self::Prepared(_) | Self::Source(_) => "not known: the data set does not say it",
        }
    }

    /// Whether it holds pictures, which are delivered as 8-bit pixels, and not points.
    pub fn holds_pictures(&self) -> bool {
        match self {
            Self::Digits(_) | Self::Prepared(_) | Self::Source(_) => true,
            Self::GaussianMixture(_) | Self::SwissRoll(_) => false,
        }
    }

    /// Whether its images have classes that a classifier can learn to tell apart. The components of a mixture are none.
    pub fn has_classes(&self) -> bool {
        match self {
            Self::Digits(DigitsConfig {}) => true,
            Self::GaussianMixture(_) | Self::SwissRoll(_) => false,
            Self::Prepared(_) | Self::Source(_) => {
                self.outline(Split::Train).is_ok_and(|data| data.classes.is_some())
            }
        }
    }

    /// What one part of the data set is, or is expected to be if it is [absent](Self::absent).
    ///
    /// # Errors
    /// As [`build`](Self::build), but for an absent folder of which the study says what it expects.
    pub fn outline(&self, split: Split) -> Result<Outline, DatasetError> {
        if let (Self::Prepared(config), Some(_)) = (self, self.absent())
            && let Some(expected) = config.expect
        {
            expected.validate()?;
            let mut outline = expected.outline(split);
            if !config.only_classes.is_empty() {
                outline.classes = Some(config.only_classes.len());
            }
            return Ok(outline);
        }
        match self {
            Self::Digits(DigitsConfig {}) => return Ok(Digits::outline(split)),
            Self::GaussianMixture(config) => return config.outline(split),
            Self::SwissRoll(_) | Self::Prepared(_) | Self::Source(_) => {}
        }
        let data = self.build(split)?;
        Ok(Outline { shape: data.shape(), len: data.len(), classes: data.num_classes() })
    }

    /// The files that decide the images, whose bytes can be compared with those of another day: a prepared folder's
    /// index, which holds the hashes of the others; all of a source. None of data that are generated or shipped.
    ///
    /// # Errors
    /// [`DatasetError::File`] if a folder of them cannot be read.
    pub fn files(&self) -> Result<Vec<PathBuf>, DatasetError> {
        match self {
            Self::Prepared(config) => Ok(vec![config.path.join(INDEX)]),
            Self::Source(config) => {
                let mut files = Vec::new();
                add_files(&config.path, &mut files)
                    .map_err(|error| DatasetError::file(config.path.display(), error))?;
                files.sort();
                Ok(files)
            }
            Self::Digits(_) | Self::GaussianMixture(_) | Self::SwissRoll(_) => Ok(Vec::new()),
        }
    }

    /// The prepared folder, if it is not there.
    pub fn absent(&self) -> Option<&Path> {
        match self {
            Self::Prepared(config) => {
                Some(config.path.as_path()).filter(|path| !path.as_os_str().is_empty() && !path.exists())
            }
            Self::Digits(_) | Self::GaussianMixture(_) | Self::SwissRoll(_) | Self::Source(_) => None,
        }
    }
}

/// A file, or those at any depth of a folder.
fn add_files(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            add_files(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_builds_both_splits() {
        for config in [
            DatasetConfig::default(),
            DatasetConfig::GaussianMixture(GaussianMixtureConfig::default()),
            DatasetConfig::SwissRoll(SwissRollConfig::default()),
        ] {
            for split in [Split::Train, Split::Test] {
                let dataset = config.build(split).unwrap();
                assert!(dataset.images(&[0, dataset.len() - 1]).unwrap().is_finite());
                assert_eq!(dataset.label(0).is_some(), dataset.num_classes().is_some());
                let (shape, len, classes) = (dataset.shape(), dataset.len(), dataset.num_classes());
                assert_eq!(config.outline(split), Ok(Outline { shape, len, classes }));
            }
        }
    }
}
