//! Activations of a long set of images on the disk, so that work that was broken off goes on, and other metrics of the
//! same set cost no second pass.
//!
//! A file holds what its name stands for: these images, by this network, resized in this way. It is a header and chunks,
//! each with its checksum; a chunk that is not whole ends the file. Numbers do not depend on whether they come from it.

use crate::card::FeatureCard;
use crate::error::ScoringError;
use cm_evaluator::{ActivationExtractor, Activations, FeatureMatrix};
use cm_host::{FileError, durable};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The first bytes of a file, with the version of its layout.
const MAGIC: &[u8; 8] = b"cm-act-1";
/// Bytes of a chunk's checksum.
const CHECKSUM: usize = 32;
/// Images of a chunk, at most: more cannot have been written.
const MAX_IMAGES: u32 = 1 << 20;

/// A file of activations, open for more.
pub(crate) struct ActivationCache {
    path: PathBuf,
    file: File,
    dims: [usize; 3],
}

/// The numbers of features, spatial features and classes; 0 for none.
fn dims(extractor: &dyn ActivationExtractor) -> [usize; 3] {
    [extractor.dim(), extractor.spatial_dim().unwrap_or(0), extractor.classes().unwrap_or(0)]
}

impl ActivationCache {
    /// Opens the file for images with this fingerprint in `folder`, or makes it, and hands every whole chunk to `each`.
    pub(crate) fn open(
        folder: &Path,
        fingerprint: &str,
        card: &FeatureCard,
        extractor: &dyn ActivationExtractor,
        each: &mut dyn FnMut(&Activations) -> Result<(), ScoringError>,
    ) -> Result<Self, ScoringError> {
        durable::create_folders(folder).map_err(FileError::not_writable(folder))?;
        // Where the weights lie does not matter, only what they are.
        let card = FeatureCard { weights: None, ..card.clone() };
        let what = serde_json::to_string(&card).expect("a card is text and numbers") + fingerprint;
        let path = folder.join(format!("{}.activations", blake3::hash(what.as_bytes()).to_hex()));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(FileError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FileError::Busy { path }.into()),
            Err(TryLockError::Error(error)) => return Err(FileError::io(&path)(error).into()),
        }
        let mut cache = Self { path, file, dims: dims(extractor) };
        let end = cache.replay(each)?;
        cache.end_at(end).map_err(FileError::io(&cache.path))?;
        Ok(cache)
    }

    /// Adds a batch.
    pub(crate) fn append(&mut self, activations: &Activations) -> Result<(), ScoringError> {
        let rows = activations.features.rows();
        let mut chunk = (rows as u32).to_le_bytes().to_vec();
        let parts =
            [Some(&activations.features), activations.spatial.as_ref(), activations.probabilities.as_ref()];
        for part in parts.into_iter().flatten() {
            chunk.extend(part.values().iter().flat_map(|value| value.to_le_bytes()));
        }
        let checksum = blake3::hash(&chunk);
        chunk.extend(checksum.as_bytes());
        Ok(self.file.write_all(&chunk).map_err(FileError::io(&self.path))?)
    }

    /// Reads chunks until one is not whole; where that is.
    fn replay(
        &mut self,
        each: &mut dyn FnMut(&Activations) -> Result<(), ScoringError>,
    ) -> Result<u64, ScoringError> {
        let header = self.header();
        let len = self.file.metadata().map_err(FileError::io(&self.path))?.len();
        if len < header.len() as u64 {
            return Ok(0);
        }
        let mut reader = BufReader::new(&self.file);
        let mut begin = vec![0; header.len()];
        reader.read_exact(&mut begin).map_err(FileError::io(&self.path))?;
        if begin != header {
            return Err(
                FileError::damaged(&self.path, "it is no file of these activations: remove it").into()
            );
        }
        let mut end = header.len() as u64;
        let per_image: usize = self.dims.iter().sum::<usize>() * 4;
        let mut count = [0; 4];
        while reader.read_exact(&mut count).is_ok() {
            let images = u32::from_le_bytes(count);
            let bytes = images as usize * per_image;
            if images > MAX_IMAGES || end + (4 + bytes + CHECKSUM) as u64 > len {
                break;
            }
            let mut values = vec![0; bytes];
            let mut checksum = [0; CHECKSUM];
            let whole = reader.read_exact(&mut values).and_then(|()| reader.read_exact(&mut checksum));
            let mut hasher = blake3::Hasher::new();
            hasher.update(&count).update(&values);
            if whole.is_err() || hasher.finalize() != checksum {
                break;
            }
            each(&self.decoded(images as usize, &values))?;
            end += (4 + bytes + CHECKSUM) as u64;
        }
        Ok(end)
    }

    fn decoded(&self, images: usize, bytes: &[u8]) -> Activations {
        let mut rest = bytes;
        let [features, spatial, probabilities] = self.dims.map(|cols| {
            let (part, after) = rest.split_at(images * cols * 4);
            rest = after;
            let word = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("pieces of four"));
            (cols > 0).then(|| {
                FeatureMatrix::new(cols, part.chunks_exact(4).map(word).collect()).expect("whole rows")
            })
        });
        let features = features.expect("an extractor has at least one feature");
        Activations { features, spatial, probabilities }
    }

    /// Makes `end` the end of the file, after a header if it has none yet.
    fn end_at(&mut self, end: u64) -> std::io::Result<()> {
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end))?;
        if end == 0 {
            let header = self.header();
            self.file.write_all(&header)?;
        }
        Ok(())
    }

    fn header(&self) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend(self.dims.iter().flat_map(|&dim| (dim as u64).to_le_bytes()));
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_evaluator::NetworkJudge;
    use cm_image::{ImageBatch, ImageShape};
    use std::fs;

    fn card() -> FeatureCard {
        FeatureCard {
            network: "digits".to_owned(),
            weights: None,
            sha256: None,
            published: false,
            dim: 64,
            resize: None,
        }
    }

    fn batch(count: usize, level: f32) -> ImageBatch {
        ImageBatch::from_fn(ImageShape::new(8, 8, 1), count, |i, image| image.fill(level + i as f32 * 0.1))
    }

    fn only_file(folder: &Path) -> PathBuf {
        fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
    }

    #[test]
    fn what_was_whole_is_handed_on_and_the_rest_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let judge = NetworkJudge::digits().unwrap();
        let parts = [judge.activations(&batch(3, 0.1)).unwrap(), judge.activations(&batch(2, -0.5)).unwrap()];
        let open = |fingerprint: &str| {
            let mut seen = Vec::new();
            let cache = ActivationCache::open(folder.path(), fingerprint, &card(), &judge, &mut |part| {
                seen.push(part.clone());
                Ok(())
            });
            (cache.unwrap(), seen)
        };
        let (mut cache, seen) = open("a");
        assert!(seen.is_empty());
        parts.iter().for_each(|part| cache.append(part).unwrap());
        let busy = ActivationCache::open(folder.path(), "a", &card(), &judge, &mut |_| Ok(())).err().unwrap();
        assert!(busy.to_string().contains("another process"), "{busy}");
        drop(cache);
        assert_eq!(open("a").1, parts);
        let path = only_file(folder.path());
        let whole = fs::read(&path).unwrap();
        // Wherever it was broken off, the whole chunks before are used, and it goes on from there.
        for len in [0, 5, 32, 40, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            let (mut cache, seen) = open("a");
            let kept = usize::from(len == whole.len() - 1);
            assert_eq!(seen, parts[..kept], "{len} bytes");
            parts[kept..].iter().for_each(|part| cache.append(part).unwrap());
            drop(cache);
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
        // A flipped bit costs its chunk and what is behind it.
        let mut flipped = whole.clone();
        flipped[32 + 4 + 7] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert!(open("a").1.is_empty());
        // Other images have a file of their own.
        drop(open("b"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
