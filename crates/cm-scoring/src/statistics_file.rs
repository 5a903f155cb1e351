//! Files of statistics: npz with `mu` and `sigma` (EDM's and pytorch-fid's), and `mu_s` and `sigma_s` of the spatial
//! features (the original evaluator's).
//!
//! Those written here hold a further array `card`, the text of a [`FeatureCard`] and the number of images, which other
//! programs pass over; with it, statistics by other features are noticed instead of giving a wrong number.

use crate::card::FeatureCard;
use crate::error::ScoringError;
use crate::npz_reader::{NpzError, NpzReader};
use cm_evaluator::Statistics;
use cm_host::npz::{Element, NpzWriter};
use cm_host::{FileError, durable};
use serde::{Deserialize, Serialize};
use std::io::Cursor;
use std::path::Path;

/// What is known of a file's statistics, written into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    features: FeatureCard,
    images: Option<usize>,
}

/// A file of statistics.
pub struct StatisticsFile {
    /// Of the features.
    pub pooled: Statistics,
    /// Of the spatial features.
    pub spatial: Option<Statistics>,
    /// Whether there are images besides, `arr_0`.
    pub(crate) has_images: bool,
    note: Option<Note>,
}

impl StatisticsFile {
    /// The statistics in an npz file; none if it has no array `mu`.
    ///
    /// # Errors
    /// [`ScoringError::File`] if it is no npz file, or its arrays are not a mean and a covariance.
    pub fn read(path: &Path) -> Result<Option<Self>, ScoringError> {
        let of_file = |error: NpzError| FileError::damaged(path, error.to_string());
        let mut reader = NpzReader::open(path).map_err(of_file)?;
        if !reader.has("mu") {
            return Ok(None);
        }
        let note: Option<Note> = match reader.has("card") {
            true => {
                let (_, bytes) = reader.values("card").map_err(of_file)?;
                let bytes: Vec<u8> = bytes.into_iter().map(|byte| byte as u8).collect();
                serde_json::from_slice(&bytes).ok()
            }
            false => None,
        };
        let count = note.as_ref().and_then(|note| note.images);
        let mut read = |mean: &str, covariance: &str| {
            let ((_, mu), (extents, sigma)) =
                (reader.values(mean).map_err(of_file)?, reader.values(covariance).map_err(of_file)?);
            if extents != [mu.len(), mu.len()] {
                let reason = format!("`{covariance}` is {extents:?}, but `{mean}` has {} values", mu.len());
                return Err(FileError::damaged(path, reason));
            }
            Statistics::from_parts(mu, sigma, count)
                .map_err(|error| FileError::damaged(path, format!("`{mean}` and `{covariance}`: {error}")))
        };
        let pooled = read("mu", "sigma")?;
        let spatial = if NpzReader::open(path).map_err(of_file)?.has("mu_s") {
            Some(read("mu_s", "sigma_s")?)
        } else {
            None
        };
        Ok(Some(Self { pooled, spatial, has_images: reader.has("arr_0"), note }))
    }

    /// Whether the statistics can be compared with features of `card`.
    ///
    /// # Errors
    /// In words, why not.
    pub fn fits(&self, card: &FeatureCard) -> Result<(), String> {
        let dim = self.pooled.mean().len();
        if dim != card.dim {
            return Err(format!("statistics of {dim} features are compared with {}", card.dim));
        }
        match &self.note {
            Some(note) if note.features.sha256 != card.sha256 || note.features.network != card.network => {
                let told = |card: &FeatureCard| match &card.sha256 {
                    Some(sha256) => format!("{} ({sha256})", card.network),
                    None => card.network.clone(),
                };
                Err(format!("statistics by {} are compared with {}", told(&note.features), told(card)))
            }
            Some(note) if note.features.resize != card.resize => {
                let told =
                    |card: &FeatureCard| card.resize.map_or("no resizing".to_owned(), |r| format!("{r:?}"));
                Err(format!("statistics after {} are compared with {}", told(&note.features), told(card)))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl StatisticsFile {
    /// Writes a file of statistics in one step.
    ///
    /// # Errors
    /// [`ScoringError::File`] if it cannot be written.
    pub fn write(
        path: &Path,
        pooled: &Statistics,
        spatial: Option<&Statistics>,
        card: &FeatureCard,
    ) -> Result<(), ScoringError> {
        let note = Note { features: card.clone(), images: pooled.count() };
        let note = serde_json::to_vec(&note).expect("a card is text and numbers");
        let written = || -> std::io::Result<Vec<u8>> {
            let mut archive = NpzWriter::new(Cursor::new(Vec::new()));
            let mut sets = vec![("mu", "sigma", pooled)];
            sets.extend(spatial.map(|spatial| ("mu_s", "sigma_s", spatial)));
            for (mean, covariance, statistics) in sets {
                let dim = statistics.mean().len();
                for (name, shape, values) in [
                    (mean, &[dim][..], statistics.mean()),
                    (covariance, &[dim, dim][..], statistics.covariance()),
                ] {
                    let mut array = archive.array(name, Element::F64, shape)?;
                    for part in values.chunks(1 << 14) {
                        let bytes: Vec<u8> = part.iter().flat_map(|value| value.to_le_bytes()).collect();
                        array.write(&bytes)?;
                    }
                    array.finish()?;
                }
            }
            let mut array = archive.array("card", Element::U8, &[note.len()])?;
            array.write(&note)?;
            array.finish()?;
            Ok(archive.finish()?.into_inner())
        };
        Ok(written().and_then(|bytes| durable::write(path, &bytes)).map_err(FileError::io(path))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(dim: usize) -> FeatureCard {
        FeatureCard {
            network: "a network".to_owned(),
            weights: None,
            sha256: Some("ab".to_owned()),
            published: false,
            dim,
            resize: None,
        }
    }

    #[test]
    fn what_was_written_is_read_back_and_other_features_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.npz");
        let pooled = Statistics::from_parts(vec![1.0, 2.0], vec![2.0, 0.5, 0.5, 3.0], Some(7)).unwrap();
        let spatial = Statistics::from_parts(vec![4.0], vec![0.25], Some(7)).unwrap();
        StatisticsFile::write(&path, &pooled, Some(&spatial), &card(2)).unwrap();
        let file = StatisticsFile::read(&path).unwrap().unwrap();
        assert_eq!((&file.pooled, file.spatial.as_ref(), file.has_images), (&pooled, Some(&spatial), false));
        assert_eq!(file.fits(&card(2)), Ok(()));
        assert!(file.fits(&card(3)).unwrap_err().contains("2 features"));
        let other = FeatureCard { sha256: Some("cd".to_owned()), ..card(2) };
        assert_eq!(
            file.fits(&other).unwrap_err(),
            "statistics by a network (ab) are compared with a network (cd)"
        );
        StatisticsFile::write(&path, &pooled, None, &card(2)).unwrap();
        assert!(StatisticsFile::read(&path).unwrap().unwrap().spatial.is_none());
    }

    #[test]
    fn arrays_that_do_not_fit_each_other_are_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.npz");
        let archive = |arrays: &[(&str, &[usize], &[f64])]| {
            let mut archive = NpzWriter::new(std::fs::File::create(&path).unwrap());
            for (name, shape, values) in arrays {
                let mut array = archive.array(name, Element::F64, shape).unwrap();
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                array.write(&bytes).unwrap();
                array.finish().unwrap();
            }
            archive.finish().unwrap();
            StatisticsFile::read(&path)
        };
        let told = |arrays: &[(&str, &[usize], &[f64])]| {
            let error = archive(arrays).err().unwrap();
            assert!(error.is_input(), "{error}");
            error.to_string()
        };
        assert!(archive(&[("arr_1", &[1], &[0.0])]).unwrap().is_none());
        assert!(told(&[("mu", &[1], &[0.0])]).contains("no array `sigma`"));
        let wrong = told(&[("mu", &[1], &[0.0]), ("sigma", &[2, 1], &[1.0, 2.0])]);
        assert!(wrong.contains("`sigma` is [2, 1], but `mu` has 1 values"), "{wrong}");
        let broken = told(&[("mu", &[1], &[f64::NAN]), ("sigma", &[1, 1], &[1.0])]);
        assert!(broken.contains("infinite or NaN"), "{broken}");
    }
}
