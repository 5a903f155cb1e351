//! Named arrays and text as one file: safetensors, with a checksum over the arrays in its metadata.
//!
//! This module turns arrays into bytes and back; whoever owns the folder writes the bytes, atomically.

use crate::Weights;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

/// The one key of safetensors' own metadata that is used. Its value is a JSON object with sorted keys: safetensors
/// writes its metadata in no fixed order, and the same content must give the same bytes.
const KEY: &str = "consistency-models";
/// The version of the layout, kept under this key; a reader refuses any other.
const FORMAT_KEY: &str = "format";
const FORMAT: &str = "1";
/// BLAKE3 over the names, extents and bytes of all arrays in order of name, and over the text.
const CHECKSUM_KEY: &str = "blake3";

/// The content of a checkpoint: `f32` arrays and lines of text, each by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFile {
    /// Arrays: name, extents, values in row-major order.
    pub arrays: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// Text by key; the keys `format` and `blake3` are this module's own.
    pub metadata: BTreeMap<String, String>,
}

/// Why bytes are not a checkpoint of ours.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not safetensors, or cut short.
    #[error("not a whole safetensors file: {0}")]
    Damaged(#[from] safetensors::SafeTensorError),
    /// Another program's file, or another version's.
    #[error("the file's format is {found:?}, but this program reads {FORMAT:?}")]
    Format {
        /// The format the file claims, if any.
        found: Option<String>,
    },
    /// The arrays are not those that were written.
    #[error(
        "the checksum of the arrays does not match: the file was changed or damaged after it was written"
    )]
    Checksum,
    /// An array is not of `f32`.
    #[error("array `{name}` holds {dtype}, but only F32 is read")]
    Dtype {
        /// Name of the array.
        name: String,
        /// Its element type.
        dtype: String,
    },
    /// An entry that should be there is not, or does not fit.
    #[error("the checkpoint has no usable entry `{0}`")]
    Entry(String),
    /// The arrays do not fit the network.
    #[error(transparent)]
    Weights(#[from] crate::WeightsError),
}

impl TensorFile {
    /// Adds all arrays of `weights`, each name behind `prefix`.
    pub fn add_weights(&mut self, prefix: &str, weights: &Weights) {
        for (name, shape, values) in weights.iter() {
            self.arrays.push((format!("{prefix}{name}"), shape.to_vec(), values.to_vec()));
        }
    }

    /// Loads the arrays whose names begin with `prefix` into `weights`.
    ///
    /// # Errors
    /// [`CheckpointError::Weights`] if they are not exactly the arrays of `weights`.
    pub fn load_weights(&self, prefix: &str, weights: &mut Weights) -> Result<(), CheckpointError> {
        let arrays: Vec<_> = self
            .arrays
            .iter()
            .filter_map(|(name, shape, values)| {
                Some((name.strip_prefix(prefix)?.to_string(), shape.clone(), values.clone()))
            })
            .collect();
        Ok(weights.load(&arrays)?)
    }

    /// The text under `key`, parsed.
    ///
    /// # Errors
    /// [`CheckpointError::Entry`] if it is missing or does not parse.
    pub fn parse<T: std::str::FromStr>(&self, key: &str) -> Result<T, CheckpointError> {
        self.metadata
            .get(key)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| CheckpointError::Entry(key.to_string()))
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] if two arrays share a name or an array's values do not fill its extents.
    pub fn encode(&self) -> Result<Vec<u8>, CheckpointError> {
        let metadata = HashMap::from([(KEY.to_string(), header(&self.metadata, self.checksum()))]);
        let bytes: Vec<Vec<u8>> = self.arrays.iter().map(|(_, _, values)| to_bytes(values)).collect();
        let mut views = Vec::with_capacity(self.arrays.len());
        for ((name, shape, _), bytes) in self.arrays.iter().zip(&bytes) {
            views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?));
        }
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    /// The content of a file's bytes.
    ///
    /// # Errors
    /// [`CheckpointError`] unless the bytes are a whole file of this format with the right checksum.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let (metadata, checksum) = Self::metadata_of(text.map(String::as_str))?;
        let file = SafeTensors::deserialize(bytes)?;
        let mut arrays = Vec::with_capacity(file.len());
        for (name, view) in file.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(CheckpointError::Dtype {
                    name: name.into(),
                    dtype: format!("{:?}", view.dtype()),
                });
            }
            arrays.push((name.to_string(), view.shape().to_vec(), from_bytes(view.data())));
        }
        arrays.sort_by(|a, b| a.0.cmp(&b.0));
        let content = Self { arrays, metadata };
        if checksum.as_deref() != Some(content.checksum().as_str()) {
            return Err(CheckpointError::Checksum);
        }
        Ok(content)
    }

    /// The text and the checksum in the one entry ([`KEY`](Self::KEY)) of safetensors' own metadata.
    ///
    /// # Errors
    /// [`CheckpointError::Format`] if it is not of this format.
    pub fn metadata_of(
        entry: Option<&str>,
    ) -> Result<(BTreeMap<String, String>, Option<String>), CheckpointError> {
        let mut metadata: BTreeMap<String, String> =
            entry.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let found = metadata.remove(FORMAT_KEY);
        if found.as_deref() != Some(FORMAT) {
            return Err(CheckpointError::Format { found });
        }
        let checksum = metadata.remove(CHECKSUM_KEY);
        Ok((metadata, checksum))
    }

    /// The one key of safetensors' own metadata that is used.
    pub const KEY: &str = KEY;

    fn checksum(&self) -> String {
        let mut order: Vec<_> = self.arrays.iter().collect();
        order.sort_by(|a, b| a.0.cmp(&b.0));
        let arrays = order
            .into_iter()
            .map(|(name, shape, values)| (name.as_str(), shape.as_slice(), values.as_slice()));
        checksum(arrays, &self.metadata)
    }
}

impl Weights {
    /// Writes the file that [`TensorFile::encode`] would make of these weights and this text, array by array: the file
    /// of large networks, which need not be in memory twice.
    ///
    /// # Errors
    /// Whatever `out` answers.
    pub fn write(&self, metadata: &BTreeMap<String, String>, out: &mut dyn Write) -> io::Result<()> {
        let arrays = self.by_name();
        let mut entries = serde_json::Map::new();
        let text = header(metadata, self.checksum(metadata));
        entries.insert("__metadata__".to_owned(), serde_json::json!({ KEY: text }));
        let mut at = 0;
        for (name, shape, values) in &arrays {
            let end = at + 4 * values.len();
            let entry = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [at, end] });
            entries.insert((*name).to_owned(), entry);
            at = end;
        }
        let mut head = serde_json::to_string(&entries)?;
        while !head.len().is_multiple_of(8) {
            head.push(' ');
        }
        out.write_all(&(head.len() as u64).to_le_bytes())?;
        out.write_all(head.as_bytes())?;
        for (_, _, values) in arrays {
            for part in values.chunks(PART) {
                out.write_all(&to_bytes(part))?;
            }
        }
        out.flush()
    }

    /// The checksum of the file of these weights with this text.
    pub fn checksum(&self, metadata: &BTreeMap<String, String>) -> String {
        checksum(self.by_name().into_iter(), metadata)
    }

    fn by_name(&self) -> Vec<(&str, &[usize], &[f32])> {
        let mut arrays: Vec<_> = self.iter().collect();
        arrays.sort_by_key(|&(name, _, _)| name);
        arrays
    }
}

/// Values that become bytes at a time.
const PART: usize = 1 << 16;

/// The text of safetensors' metadata.
fn header(metadata: &BTreeMap<String, String>, checksum: String) -> String {
    let mut metadata = metadata.clone();
    metadata.insert(FORMAT_KEY.into(), FORMAT.into());
    metadata.insert(CHECKSUM_KEY.into(), checksum);
    serde_json::to_string(&metadata).expect("a map of texts is JSON")
}

/// Of arrays in the order of their names, and text.
fn checksum<'a>(
    arrays: impl Iterator<Item = (&'a str, &'a [usize], &'a [f32])>,
    metadata: &BTreeMap<String, String>,
) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, shape, values) in arrays {
        hasher.update(name.as_bytes()).update(&[0]);
        shape.iter().for_each(|&extent| {
            hasher.update(&(extent as u64).to_le_bytes());
        });
        values.chunks(PART).for_each(|part| {
            hasher.update(&to_bytes(part));
        });
    }
    // Text decides how a run goes on, so it is covered as well.
    for (key, text) in metadata {
        hasher.update(key.as_bytes()).update(&[0]).update(text.as_bytes()).update(&[0]);
    }
    hasher.finalize().to_hex().to_string()
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> TensorFile {
        TensorFile {
            arrays: vec![
                ("a".into(), vec![2, 2], vec![1.0, -0.0, f32::MIN_POSITIVE, 3e38]),
                ("b".into(), vec![0], vec![]),
            ],
            metadata: [("step".to_string(), "12".to_string())].into(),
        }
    }

    #[test]
    fn a_round_trip_is_exact() {
        let decoded = TensorFile::decode(&example().encode().unwrap()).unwrap();
        assert_eq!(decoded, example());
        assert_eq!(decoded.parse::<u64>("step").unwrap(), 12);
        assert!(decoded.parse::<u64>("stop").is_err());
    }

    #[test]
    fn weights_written_array_by_array_are_the_same_file() {
        let mut weights = Weights::new();
        weights.add("b", &[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        weights.add("a", &[3], vec![-1.0, 0.5, 0.0]);
        let metadata: BTreeMap<_, _> = [("text".to_owned(), "\"quoted\"".to_owned())].into();
        let mut bytes = Vec::new();
        weights.write(&metadata, &mut bytes).unwrap();
        let mut file = TensorFile { metadata, ..TensorFile::default() };
        file.add_weights("", &weights);
        file.arrays.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(TensorFile::decode(&bytes).unwrap(), file);
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let mut file = example();
        file.metadata.extend((0..20).map(|key| (key.to_string(), "text".to_string())));
        assert_eq!(file.encode().unwrap(), file.clone().encode().unwrap());
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        let bytes = example().encode().unwrap();
        for len in 0..bytes.len() {
            assert!(TensorFile::decode(&bytes[..len]).is_err(), "cut to {len} bytes");
        }
        for position in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[position] ^= 1;
            if let Ok(content) = TensorFile::decode(&bytes) {
                assert_eq!(content, example(), "bit flipped in byte {position}");
            }
        }
    }
}
