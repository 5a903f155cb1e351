//! Other programs' weights from a safetensors file, under the names those programs gave them.

use super::image_source::damaged;
use crate::error::RunError;
use cm_network::feature_net::NamedArrays;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The key of a safetensors file's metadata that tells the SHA-256 of the file its arrays were imported from.
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
    /// Reads a file. Arrays of whole numbers, such as counters, are passed over.
    pub(super) fn read(path: &Path) -> Result<Self, RunError> {
        let bytes = std::fs::read(path).map_err(|error| damaged(path, error.to_string()))?;
        let not_whole = |error| damaged(path, format!("not a whole safetensors file: {error}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(not_whole)?;
        let source = header.metadata().as_ref().and_then(|metadata| metadata.get(SOURCE).cloned());
        let file = SafeTensors::deserialize(&bytes).map_err(not_whole)?;
        let mut arrays = Vec::new();
        for (name, view) in file.iter() {
            let values: Vec<f32> = match view.dtype() {
                Dtype::F32 => words(view.data(), f32::from_le_bytes),
                Dtype::F64 => words(view.data(), |b| f64::from_le_bytes(b) as f32),
                Dtype::I64 | Dtype::I32 | Dtype::U8 | Dtype::BOOL => continue,
                other => {
                    let reason = format!("array `{name}` holds {other:?}, but F32 and F64 are read");
                    return Err(damaged(path, reason));
                }
            };
            arrays.push((name.to_owned(), view.shape().to_vec(), values));
        }
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { arrays: arrays.into_iter().collect(), sha256, source })
    }

    /// Whether these are the published Inception weights, as far as can be known.
    pub(super) fn is_published_inception(&self) -> bool {
        let sources = [Some(&self.sha256), self.source.as_ref()];
        sources.into_iter().flatten().any(|sha256| sha256.starts_with(PUBLISHED_INCEPTION))
    }
}

fn words<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.chunks_exact(N).map(|word| value(word.try_into().expect("pieces of N"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;
    use std::collections::HashMap;

    fn file(
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: &[u8],
        metadata: Option<HashMap<String, String>>,
    ) -> Vec<u8> {
        let view = TensorView::new(dtype, shape, bytes).unwrap();
        safetensors::serialize([("a", view)], metadata).unwrap()
    }

    #[test]
    fn arrays_keep_their_names_and_only_the_published_file_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let bytes: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&path, file(Dtype::F32, vec![2], &bytes, None)).unwrap();
        let read = WeightsFile::read(&path).unwrap();
        assert_eq!(read.arrays.get("a"), Some(([2].as_slice(), [1.5, -2.0].as_slice())));
        assert!(read.sha256.len() == 64 && !read.is_published_inception());
        let noted = HashMap::from([(SOURCE.to_owned(), format!("{PUBLISHED_INCEPTION}00"))]);
        std::fs::write(&path, file(Dtype::F32, vec![2], &bytes, Some(noted))).unwrap();
        assert!(WeightsFile::read(&path).unwrap().is_published_inception());
        std::fs::write(&path, file(Dtype::F16, vec![4], &bytes, None)).unwrap();
        let error = WeightsFile::read(&path).err().unwrap();
        assert!(error.is_input() && error.to_string().contains("array `a` holds F16"), "{error}");
        std::fs::write(&path, b"PK\x03\x04 a pickle").unwrap();
        let error = WeightsFile::read(&path).err().unwrap().to_string();
        assert!(error.contains("not a whole safetensors file"), "{error}");
    }
}
