//! An open file: which format it is, which tensors it has, and their values.

use crate::dtype::Dtype;
use crate::error::ImportError;
use crate::input::{Input, Source, Span};
use crate::module::ModuleInfo;
use crate::place::Place;
use crate::{flax, limits, numpy, pytorch, safe, zipped};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `torch.save` since PyTorch 1.6, or TorchScript: a zip archive with a pickle and storages.
    PytorchZip,
    /// `torch.save` before, or with `_use_new_zipfile_serialization=False`: pickles, then storages.
    PytorchStream,
    /// One pickle of arrays.
    Pickle,
    /// One array of NumPy.
    Npy,
    /// A zip archive of NumPy's arrays.
    Npz,
    /// `flax.serialization`'s msgpack.
    FlaxMsgpack,
    /// Hugging Face's safetensors.
    Safetensors,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PytorchZip => "PyTorch zip",
            Self::PytorchStream => "PyTorch legacy stream",
            Self::Pickle => "pickle",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::FlaxMsgpack => "Flax msgpack",
            Self::Safetensors => "safetensors",
        })
    }
}

/// A tensor without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name: keys of containers joined by `.`, or by `/` in Flax's files.
    pub name: String,
    /// What its values are in the file.
    pub dtype: Dtype,
    /// Its extents.
    pub shape: Vec<usize>,
}

/// An open file of named tensors.
pub struct Archive {
    source: Box<dyn Source>,
    format: Format,
    tensors: Vec<TensorInfo>,
    places: Vec<Place>,
    by_name: HashMap<String, usize>,
    metadata: BTreeMap<String, String>,
    modules: Vec<ModuleInfo>,
}

impl Archive {
    /// Opens a file and finds its tensors; reads no values.
    ///
    /// # Errors
    /// [`ImportError`] if the file cannot be read, is of no known format, is damaged, or asks for more than is given.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        Self::from_source(Box::new(File::open(path)?))
    }

    /// As [`open`](Self::open), of anything that can be read.
    ///
    /// # Errors
    /// As there.
    pub fn from_reader(reader: impl Read + Seek + Send + 'static) -> Result<Self, ImportError> {
        Self::from_source(Box::new(reader))
    }

    fn from_source(mut source: Box<dyn Source>) -> Result<Self, ImportError> {
        let len = source.seek(SeekFrom::End(0))?;
        let whole = Span { start: 0, len };
        let mut head = [0; 16];
        let known = len.min(16) as usize;
        Input::new(source.as_mut(), whole)?.fill(&mut head[..known])?;
        let (mut metadata, mut modules) = (BTreeMap::new(), Vec::new());
        let file = source.as_mut();
        let (format, found) = match head {
            [b'P', b'K', 3 | 5, 4 | 6, ..] => {
                let entries = zipped::entries(file, len)?;
                if entries.iter().any(|entry| entry.name.ends_with("data.pkl")) {
                    let (found, objects) = pytorch::zip(file, &entries)?;
                    modules = objects;
                    metadata = pytorch::extra_files(file, &entries)?;
                    (Format::PytorchZip, found)
                } else if entries.iter().all(|entry| entry.name.ends_with(".npy")) {
                    (Format::Npz, numpy::npz(file, &entries)?)
                } else {
                    return Err(ImportError::UnknownFormat);
                }
            }
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
                (Format::Npy, vec![("array".to_owned(), numpy::npy(&mut Input::new(file, whole)?)?)])
            }
            [0x80, 2..=5, ..] => {
                let (legacy, (found, objects)) = pytorch::stream(file, whole)?;
                modules = objects;
                (if legacy { Format::PytorchStream } else { Format::Pickle }, found)
            }
            [_, _, _, _, _, _, _, _, b'{', ..] => {
                let (found, text) = safe::read(&mut Input::new(file, whole)?)?;
                metadata = text;
                (Format::Safetensors, found)
            }
            [0x81..=0x8f | 0xde | 0xdf, ..] => {
                (Format::FlaxMsgpack, flax::read(&mut Input::new(file, whole)?)?)
            }
            _ => return Err(ImportError::UnknownFormat),
        };
        ImportError::limit("a number of tensors", found.len() as u64, limits::TENSORS as u64)?;
        let mut archive = Self {
            source,
            format,
            tensors: Vec::new(),
            places: Vec::new(),
            by_name: HashMap::new(),
            metadata,
            modules,
        };
        for (name, place) in found {
            if archive.by_name.insert(name.clone(), archive.places.len()).is_some() {
                return Err(ImportError::malformed(0, format!("two tensors are called `{name}`")));
            }
            archive.tensors.push(TensorInfo { name, dtype: place.dtype(), shape: place.shape() });
            archive.places.push(place);
        }
        Ok(archive)
    }

    /// What kind of file it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// All tensors, in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&index| &self.tensors[index])
    }

    /// Text by key that a safetensors file carries, or the extra files of a zip archive of PyTorch's (those of 64 KiB and
    /// less that are text); empty for other formats.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The objects of a pickle that have a class, from outer to inner; empty for other formats.
    pub fn modules(&self) -> &[ModuleInfo] {
        &self.modules
    }

    /// The values of a tensor in row-major order; numbers wider than `f32` are rounded to it.
    ///
    /// # Errors
    /// [`ImportError::NoTensor`] if there is none of this name; else if the file cannot be read.
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>, ImportError> {
        let place = self.place(name)?.clone();
        place.read(self.source.as_mut(), Dtype::to_f32)
    }

    /// As [`read`](Self::read), with the precision of doubles.
    ///
    /// # Errors
    /// As there.
    pub fn read_f64(&mut self, name: &str) -> Result<Vec<f64>, ImportError> {
        let place = self.place(name)?.clone();
        place.read(self.source.as_mut(), Dtype::to_f64)
    }

    fn place(&self, name: &str) -> Result<&Place, ImportError> {
        let index = self.by_name.get(name).ok_or_else(|| ImportError::NoTensor(name.to_owned()))?;
        Ok(&self.places[*index])
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive({}, {} tensors)", self.format, self.tensors.len())
    }
}
