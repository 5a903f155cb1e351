//! Whether a prepared folder still holds what was written there.

use super::index::{Part, Sealed};
use super::reader::read_labels;
use super::{Index, Prepared};
use crate::{Dataset, DatasetError, Split};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes read at a time.
const BUFFER: usize = 1 << 20;

/// Reads every file of a prepared folder and compares it with the index: sizes, hashes, sums, labels, and that images
/// can be read.
///
/// # Errors
/// [`DatasetError`] with the first file that differs.
pub fn verify(folder: &Path) -> Result<Index, DatasetError> {
    let index = Index::open(folder)?;
    for (name, split) in [("train", Split::Train), ("test", Split::Test)] {
        let part = index.part(split);
        verify_part(folder, name, part)?;
        if let Some(labels) = &part.labels {
            read_labels(folder, labels, index.classes.as_ref().map_or(0, Vec::len))?;
        }
        if part.images > 0 {
            let data = Prepared::open(folder, split)?;
            data.images(&[0, data.len() - 1])?;
        }
    }
    Ok(index)
}

/// [`verify`] where all files together have at most `bytes`; returns whether they have. It is for the start of a
/// training, which must not take as long as the training.
///
/// # Errors
/// As [`verify`].
pub fn verify_up_to(folder: &Path, bytes: u64) -> Result<bool, DatasetError> {
    let index = Index::open(folder)?;
    let shards = index.train.shards.iter().chain(&index.test.shards);
    let all = shards.fold(0_u64, |sum, shard| sum.saturating_add(shard.bytes));
    if all > bytes { Ok(false) } else { verify(folder).map(|_| true) }
}

/// Hashes and sums of the shards of a part.
fn verify_part(folder: &Path, name: &str, part: &Part) -> Result<(), DatasetError> {
    let (mut sum, mut squares) = (0_u64, 0_u64);
    for shard in &part.shards {
        let (of_shard, of_squares) = verify_shard(folder, shard)?;
        sum = sum.saturating_add(of_shard);
        squares = squares.saturating_add(of_squares);
    }
    for (what, found, written) in [("sum", sum, part.sum), ("sum_of_squares", squares, part.sum_of_squares)] {
        if found != written {
            let what = format!("{name}: {what} is {written}, and that of its images is {found}");
            return Err(DatasetError::file(folder.join(super::index::INDEX).display(), what));
        }
    }
    Ok(())
}

/// Compares the hash of a shard; the sum of its bytes, and that of their squares.
fn verify_shard(folder: &Path, shard: &Sealed) -> Result<(u64, u64), DatasetError> {
    let path = folder.join(&shard.file);
    let failed = |error: std::io::Error| DatasetError::file(path.display(), error);
    let mut file = File::open(&path).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let (mut sum, mut squares) = (0_u64, 0_u64);
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        let bytes = &buffer[..read];
        hasher.update(bytes);
        sum += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        squares += bytes.iter().map(|&byte| u64::from(byte) * u64::from(byte)).sum::<u64>();
    }
    shard.compare(folder, &hasher.finalize().to_hex())?;
    Ok((sum, squares))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceConfig;
    use crate::prepared::{PrepareOptions, prepare};

    /// An index that is whole, but whose sums are not those of the images, as of a program that sums wrongly.
    #[test]
    fn sums_are_those_of_the_images() {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("set");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cifar-10-binary.tar.gz");
        let source = SourceConfig { path, ..SourceConfig::default() };
        let options = PrepareOptions { source, out: out.clone(), ..PrepareOptions::default() };
        let index = prepare(&options, &mut |_| ()).unwrap();
        assert!(verify_up_to(&out, 18 * 3072).unwrap());
        assert!(!verify_up_to(&out, 18 * 3072 - 1).unwrap());
        for (part, change) in [
            ("train: sum is", &(|index: &mut Index| index.train.sum += 1) as &dyn Fn(&mut Index)),
            ("test: sum_of_squares is", &|index| index.test.sum_of_squares -= 1),
        ] {
            let mut other = index.clone();
            change(&mut other);
            std::fs::write(out.join("index.json"), other.to_text()).unwrap();
            let said = verify(&out).unwrap_err().to_string();
            assert!(said.contains("index.json") && said.contains(part), "{said}");
        }
    }
}
