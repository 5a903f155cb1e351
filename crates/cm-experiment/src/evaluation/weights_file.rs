//! Other programs' weights from any file that can be imported, under the names those programs gave them.

use super::image_source::damaged;
use crate::error::RunError;
use cm_import::{Archive, Dtype};
use cm_network::feature_net::NamedArrays;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::Path;

/// The key of a file's metadata that tells the SHA-256 of the file its arrays were imported from.
const SOURCE: &str = "source-sha256";
/// How pytorch-fid's file of the published Inception weights begins, by its own name (`pt_inception-2015-12-05-6726825d.pth`).
const PUBLISHED_INCEPTION: &str = "6726825d";

/// Arrays with what is known of where they come from.
pub(super) struct WeightsFile {
    pub(super) arrays: NamedArrays,
    /// Of the file itself, in hexadecimal digits.
    pub(super) sha256: String,
    /// Of the file it was imported from, as the import noted it.
    source: Option<String>,
}

impl WeightsFile {
    /// Reads a file: PyTorch's, safetensors, NumPy's or Flax's. Arrays of whole numbers, such as counters, are passed
    /// over.
    pub(super) fn read(path: &Path) -> Result<Self, RunError> {
        let failed = |error: cm_import::ImportError| damaged(path, error.to_string());
        let mut archive = Archive::open(path).map_err(failed)?;
        let source = archive.metadata().get(SOURCE).cloned();
        let numbers = archive.tensors().iter().filter(|tensor| is_real(tensor.dtype)).cloned();
        let arrays = numbers
            .collect::<Vec<_>>()
            .into_iter()
            .map(|tensor| archive.read(&tensor.name).map(|values| (tensor.name, tensor.shape, values)))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let mut hash = Sha256::new();
        let hashed = File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hash));
        hashed.map_err(|error| damaged(path, error.to_string()))?;
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { arrays, sha256, source })
    }

    /// Whether these are the published Inception weights, as far as can be known.
    pub(super) fn is_published_inception(&self) -> bool {
        let sources = [Some(&self.sha256), self.source.as_ref()];
        sources.into_iter().flatten().any(|sha256| sha256.starts_with(PUBLISHED_INCEPTION))
    }
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
        let read = WeightsFile::read(&path).unwrap();
        assert_eq!(read.arrays.get("a"), Some(([2].as_slice(), [1.5, -2.0].as_slice())));
        assert!(read.sha256.len() == 64 && !read.is_published_inception());
        let noted = HashMap::from([(SOURCE.to_owned(), format!("{PUBLISHED_INCEPTION}00"))]);
        std::fs::write(&path, file(Dtype::F32, &bytes, Some(noted))).unwrap();
        assert!(WeightsFile::read(&path).unwrap().is_published_inception());
        std::fs::write(&path, file(Dtype::I32, &bytes, None)).unwrap();
        assert_eq!(WeightsFile::read(&path).unwrap().arrays.get("a"), None);
        for damage in [b"PK\x03\x04 no archive".as_slice(), b"nothing", b""] {
            std::fs::write(&path, damage).unwrap();
            let error = WeightsFile::read(&path).err().unwrap();
            assert!(error.is_input() && error.to_string().contains("w.safetensors"), "{error}");
        }
    }

    #[test]
    fn pytorchs_own_files_are_read_as_they_are() {
        // sha256sum of the file.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity/ddpmpp-tiny.pt");
        let read = WeightsFile::read(&path).unwrap();
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
