//! The bytes of a model: one file, or, if that would be too large for one, a file of the graph and one of its arrays.

use crate::proto::{ModelProto, StringStringEntryProto, TensorProto, data_location};
use prost::Message;
use std::io::{self, Write};

/// A message of protocol buffers is counted in 31 bits.
pub(crate) const MOST: usize = i32::MAX as usize;

/// Arrays of the second file begin at multiples of this, so that they can be mapped into memory (the format's advice).
const PAGE: usize = 4096;

/// Arrays of fewer bytes stay in the graph's file: a program may want their values to know what the graph does.
const LEAST: usize = 1024;

/// A model, ready to be written.
pub struct OnnxFile {
    name: String,
    graph: Vec<u8>,
    arrays: Vec<Vec<u8>>,
}

impl OnnxFile {
    /// `model` as files of its name: one, if it has at most `most` bytes.
    pub(crate) fn new(name: &str, mut model: ModelProto, most: usize) -> Self {
        let mut arrays = Vec::new();
        if model.encoded_len() > most {
            let location = arrays_name(name);
            let mut offset = 0;
            for array in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
                if array.raw_data.as_ref().is_some_and(|raw| raw.len() >= LEAST) {
                    let raw = moved(array, &location, offset);
                    offset += raw.len().next_multiple_of(PAGE);
                    arrays.push(raw);
                }
            }
        }
        Self { name: name.to_owned(), graph: model.encode_to_vec(), arrays }
    }

    /// The names of its files: `NAME.onnx`, and `NAME.onnx.data` if its arrays lie apart.
    pub fn names(&self) -> Vec<String> {
        let graph = format!("{}.onnx", self.name);
        let arrays = (!self.arrays.is_empty()).then(|| arrays_name(&self.name));
        std::iter::once(graph).chain(arrays).collect()
    }

    /// Writes the file of one of its [`names`](Self::names).
    ///
    /// # Errors
    /// What `out` says.
    ///
    /// # Panics
    /// If it has no such file.
    pub fn write(&self, name: &str, out: &mut dyn Write) -> io::Result<()> {
        if name.ends_with(".onnx") {
            return out.write_all(&self.graph);
        }
        assert_eq!(name, arrays_name(&self.name), "a file of this model");
        for array in &self.arrays {
            out.write_all(array)?;
            out.write_all(&vec![0; array.len().next_multiple_of(PAGE) - array.len()])?;
        }
        Ok(())
    }
}

fn arrays_name(name: &str) -> String {
    format!("{name}.onnx.data")
}

/// Takes the values out of an array and says where they will be.
fn moved(array: &mut TensorProto, location: &str, offset: usize) -> Vec<u8> {
    let raw = array.raw_data.take().unwrap_or_default();
    let entry =
        |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    array.external_data = vec![
        entry("location", location.to_owned()),
        entry("offset", offset.to_string()),
        entry("length", raw.len().to_string()),
    ];
    array.data_location = Some(data_location::EXTERNAL);
    raw
}
