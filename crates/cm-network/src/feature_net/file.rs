//! Other programs' weights from any file that can be imported, under the names those programs gave them.

use super::{ArraysError, Inception, Lpips, LpipsError, LpipsOptions, NamedArrays};
use cm_import::{Archive, Dtype, ImportError};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The key of a file's metadata that tells the SHA-256 of the file its arrays were imported from.
const SOURCE: &str = "source-sha256";
/// How pytorch-fid's file of the published Inception weights begins, by its own name (`pt_inception-2015-12-05-6726825d.pth`).
const PUBLISHED_INCEPTION: &str = "6726825d";

/// Why a fixed network cannot be had from a file. All of it is the user's to change.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct FeatureFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: FeatureFileReason,
}

/// What is wrong with the file of a fixed network.
#[derive(Debug, thiserror::Error)]
pub enum FeatureFileReason {
    /// It is no file of arrays.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It holds other arrays than the network has.
    #[error(transparent)]
    Arrays(#[from] ArraysError),
    /// It does not make an LPIPS.
    #[error(transparent)]
    Lpips(#[from] LpipsError),
}

fn at<E: Into<FeatureFileReason>>(path: &Path) -> impl Fn(E) -> FeatureFileError {
    |reason| FeatureFileError { path: path.to_owned(), reason: reason.into() }
}

/// Arrays with what is known of where they come from.
struct FeatureFile {
    arrays: NamedArrays,
    /// Of the file itself, in hexadecimal digits.
    sha256: String,
    /// Of the file it was imported from, as the import noted it.
    source: Option<String>,
}

impl FeatureFile {
    /// Reads a file: PyTorch's, safetensors, NumPy's or Flax's. Arrays of whole numbers, such as counters, are passed
    /// over.
    fn read(path: &Path) -> Result<Self, FeatureFileError> {
        let mut archive = Archive::open(path).map_err(at(path))?;
        let source = archive.metadata().get(SOURCE).cloned();
        let numbers = archive.tensors().iter().filter(|tensor| is_real(tensor.dtype)).cloned();
        let arrays = numbers
            .collect::<Vec<_>>()
            .into_iter()
            .map(|tensor| archive.read(&tensor.name).map(|values| (tensor.name, tensor.shape, values)))
            .collect::<Result<_, _>>()
            .map_err(at::<ImportError>(path))?;
        let mut hash = Sha256::new();
        let hashed = File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hash));
        hashed.map_err(at(path))?;
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { arrays, sha256, source })
    }

    /// Whether these are the published Inception weights, as far as can be known.
    fn is_published_inception(&self) -> bool {
        let sources = [Some(&self.sha256), self.source.as_ref()];
        sources.into_iter().flatten().any(|sha256| sha256.starts_with(PUBLISHED_INCEPTION))
    }
}

/// An Inception network from the file of its weights, with the file's SHA-256 and whether they are the published ones,
/// as far as can be known.
///
/// # Errors
/// [`FeatureFileError`].
pub fn load_inception(path: &Path) -> Result<(Inception, (String, bool)), FeatureFileError> {
    let file = FeatureFile::read(path)?;
    let network = Inception::new(&file.arrays).map_err(at(path))?;
    let published = file.is_published_inception();
    Ok((network, (file.sha256, published)))
}

/// LPIPS from the files of its trunk and of its learned weights, which may lie in the trunk's, with their SHA-256.
///
/// # Errors
/// [`FeatureFileError`].
pub fn load_lpips(
    options: LpipsOptions,
    trunk: &Path,
    heads: Option<&Path>,
) -> Result<(Lpips, [String; 2]), FeatureFileError> {
    let trunk_file = FeatureFile::read(trunk)?;
    let heads_file = heads.map(FeatureFile::read).transpose()?;
    let of_heads = heads_file.as_ref().unwrap_or(&trunk_file);
    let lpips = Lpips::new(options, &trunk_file.arrays, &of_heads.arrays).map_err(|error| match &error {
        LpipsError::Arrays(arrays) if arrays.network.starts_with("LPIPS") => {
            at(heads.unwrap_or(trunk))(error)
        }
        LpipsError::Arrays(_) | LpipsError::Pooling(_) => at(trunk)(error),
    })?;
    let sha256 = [trunk_file.sha256.clone(), of_heads.sha256.clone()];
    Ok((lpips, sha256))
}

fn is_real(dtype: Dtype) -> bool {
    match dtype {
        Dtype::F16 | Dtype::Bf16 | Dtype::F32 | Dtype::F64 => true,
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => false,
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 | Dtype::Bool => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{Dtype, TensorView};
    use std::collections::HashMap;

    fn file(dtype: Dtype, bytes: &[u8], metadata: Option<HashMap<String, String>>) -> Vec<u8> {
        let view = TensorView::new(dtype, vec![2], bytes).unwrap();
        safetensors::serialize([("a", view)], metadata).unwrap()
    }

    #[test]
    fn arrays_keep_their_names_and_only_the_published_file_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let bytes: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&path, file(Dtype::F32, &bytes, None)).unwrap();
        let read = FeatureFile::read(&path).unwrap();
        assert_eq!(read.arrays.get("a"), Some(([2].as_slice(), [1.5, -2.0].as_slice())));
        assert!(read.sha256.len() == 64 && !read.is_published_inception());
        let noted = HashMap::from([(SOURCE.to_owned(), format!("{PUBLISHED_INCEPTION}00"))]);
        std::fs::write(&path, file(Dtype::F32, &bytes, Some(noted))).unwrap();
        assert!(FeatureFile::read(&path).unwrap().is_published_inception());
        std::fs::write(&path, file(Dtype::I32, &bytes, None)).unwrap();
        assert_eq!(FeatureFile::read(&path).unwrap().arrays.get("a"), None);
        for damage in [b"PK\x03\x04 no archive".as_slice(), b"nothing", b""] {
            std::fs::write(&path, damage).unwrap();
            let error = FeatureFile::read(&path).err().unwrap();
            assert!(error.to_string().contains("w.safetensors"), "{error}");
        }
    }

    #[test]
    fn pytorchs_own_files_are_read_as_they_are() {
        // sha256sum of the file.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity/ddpmpp-tiny.pt");
        let read = FeatureFile::read(&path).unwrap();
        assert_eq!(read.sha256, "1c323e8b6d1c8f37f2b0fbe2321dfa6c890c362537eac08b0dfca3184881df75");
        let mut archive = Archive::open(&path).unwrap();
        let names: Vec<String> = archive.tensors().iter().map(|tensor| tensor.name.clone()).collect();
        assert!(names.len() > 10);
        for name in names {
            let values = archive.read(&name).unwrap();
            assert_eq!(read.arrays.get(&name).map(|(_, values)| values), Some(values.as_slice()), "{name}");
        }
    }
}
