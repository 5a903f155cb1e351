//! A restricted unpickler: Python's pickle machine, whose every `GLOBAL` is looked up in a short list and whose calls
//! build nodes of an [`enum`](value::Node), never anything else.
//!
//! A pickle is a program, and a hostile one is a hostile program. Here it has no way out: no import, no call, no
//! attribute; what it builds are lists, tuples, dictionaries, numbers, texts, and descriptions of tensors whose values
//! stay in the file. Its steps, objects, texts and depth are bounded (`limits.rs`).

mod build;
mod machine;
mod value;

use crate::dtype::Dtype;
use crate::error::ImportError;
use crate::limits;
use crate::module::Attribute;
use crate::numpy;
use crate::place::{Data, Place};
pub(crate) use machine::read;
use std::collections::BTreeMap;
pub(crate) use value::{Blob, Id, Node, Storage};

/// What a pickle built.
pub(crate) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
    /// Position of the pickle in the file, for messages.
    at: u64,
}

/// Where the storages are that a pickle names.
pub(crate) trait Storages {
    /// The bytes of a storage.
    ///
    /// # Errors
    /// If there is none of this key, or it has not as many bytes as `storage` claims.
    fn data(&self, storage: &Storage) -> Result<Data, ImportError>;
}

/// What is done with a node and the keys that lead to it.
type See<'s, 'p> = dyn FnMut(&[String], &'p Node) -> Result<(), ImportError> + 's;

/// A way through a pickle's value.
#[derive(Default)]
struct Walk {
    path: Vec<String>,
    steps: u64,
    depth: u64,
}

/// What a module of PyTorch keeps its tensors and its parts in.
const PARTS: [&str; 3] = ["_parameters", "_buffers", "_modules"];

impl Pickle {
    pub(crate) fn root(&self) -> &Node {
        self.node(self.root)
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// All storages, in the order in which they appear.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// Replaces every storage that is saved on its own by one of the name that `open` gives it.
    ///
    /// # Errors
    /// What `open` returns.
    pub(crate) fn open_storages(
        &mut self,
        mut open: impl FnMut(&Blob) -> Result<Storage, ImportError>,
    ) -> Result<(), ImportError> {
        for node in &mut self.nodes {
            if let Node::SavedStorage(blob) = node {
                *node = Node::Storage(open(blob)?);
            }
        }
        Ok(())
    }

    /// Calls `see` for everything inside the pickle's value with the keys that lead there: as a state dict does, a module
    /// of PyTorch leads to its parameters, buffers and parts by their own names.
    ///
    /// # Errors
    /// What `see` returns; and if containers are nested too deep, as those that contain themselves are.
    pub(crate) fn visit<'p>(&'p self, see: &mut See<'_, 'p>) -> Result<(), ImportError> {
        self.step(self.root, &mut Walk::default(), see)
    }

    fn step<'p>(&'p self, id: Id, walk: &mut Walk, see: &mut See<'_, 'p>) -> Result<(), ImportError> {
        walk.steps += 1;
        walk.depth += 1;
        ImportError::limit("a number of objects", walk.steps, limits::OBJECTS as u64)?;
        ImportError::limit("a depth of containers", walk.depth, limits::DEPTH as u64)?;
        let node = self.node(id);
        see(&walk.path, node)?;
        match node {
            Node::Dict(entries) => self.named(entries, walk, see)?,
            Node::List(values) | Node::Tuple(values) => {
                for (index, &value) in values.iter().enumerate() {
                    walk.path.push(index.to_string());
                    self.step(value, walk, see)?;
                    walk.path.pop();
                }
            }
            Node::Object { state: Some(state), .. } => {
                let parts = self.parts(*state);
                match parts.is_empty() {
                    true => self.step(*state, walk, see)?,
                    false => parts.into_iter().try_for_each(|entries| self.named(entries, walk, see))?,
                }
            }
            Node::Object { state: None, .. }
            | Node::None
            | Node::Bool(_)
            | Node::Int(_)
            | Node::Float(_)
            | Node::Text(_)
            | Node::Bytes(_)
            | Node::Global(_)
            | Node::Class(_)
            | Node::Storage(_)
            | Node::SavedStorage(_)
            | Node::Tensor { .. }
            | Node::Element { .. }
            | Node::Array { .. } => {}
        }
        walk.depth -= 1;
        Ok(())
    }

    fn named<'p>(
        &'p self,
        entries: &'p [(Id, Id)],
        walk: &mut Walk,
        see: &mut See<'_, 'p>,
    ) -> Result<(), ImportError> {
        for &(key, value) in entries {
            // What has no name is not looked for: optimisers key their state by numbers, which are names too.
            if let Some(key) = self.key(key) {
                walk.path.push(key);
                self.step(value, walk, see)?;
                walk.path.pop();
            }
        }
        Ok(())
    }

    /// Where a module of PyTorch keeps what it consists of; nothing of any other state.
    fn parts(&self, state: Id) -> Vec<&[(Id, Id)]> {
        let Node::Dict(entries) = self.node(state) else { return vec![] };
        let is_part = |key: Id| matches!(self.node(key), Node::Text(key) if PARTS.contains(&key.as_str()));
        let parts = entries.iter().filter(|&&(key, _)| is_part(key));
        parts
            .filter_map(|&(_, value)| match self.node(value) {
                Node::Dict(entries) => Some(entries.as_slice()),
                _ => None,
            })
            .collect()
    }

    /// The plain attributes of an object with this state: numbers, texts and lists of them.
    pub(crate) fn attributes(&self, state: Id) -> BTreeMap<String, Attribute> {
        let Node::Dict(entries) = self.node(state) else { return BTreeMap::new() };
        let plain = |&(key, value): &(Id, Id)| Some((self.text(key)?, self.attribute(value)?));
        entries.iter().filter_map(plain).collect()
    }

    fn attribute(&self, id: Id) -> Option<Attribute> {
        Some(match self.node(id) {
            Node::List(items) | Node::Tuple(items) if items.len() <= limits::ATTRIBUTE_ITEMS => {
                let items = items.iter().map(|&item| self.scalar(item));
                Attribute::List(items.collect::<Option<Vec<f64>>>()?)
            }
            Node::None => Attribute::None,
            Node::Text(text) if text.len() <= limits::ATTRIBUTE_TEXT => Attribute::Text(text.clone()),
            _ => Attribute::Number(self.scalar(id)?),
        })
    }

    /// A number of Python or of NumPy.
    fn scalar(&self, id: Id) -> Option<f64> {
        match self.node(id) {
            Node::Bool(value) => Some(f64::from(u8::from(*value))),
            Node::Int(value) => Some(*value as f64),
            Node::Float(value) => Some(*value),
            Node::Array { data: Some((shape, element, _, bytes)) } if shape.is_empty() => {
                let &Node::Element { dtype, big_endian } = self.node(*element) else { return None };
                let Node::Bytes(Blob::Here(bytes)) = self.node(*bytes) else { return None };
                let mut values = Vec::new();
                dtype.to_f64(bytes, big_endian, &mut values);
                values.first().copied()
            }
            _ => None,
        }
    }

    fn key(&self, id: Id) -> Option<String> {
        match self.node(id) {
            Node::Int(number) => Some(number.to_string()),
            _ => self.text(id),
        }
    }

    /// The text that a node is; strings of Python 2 are bytes.
    pub(crate) fn text(&self, id: Id) -> Option<String> {
        match self.node(id) {
            Node::Text(text) => Some(text.clone()),
            Node::Bytes(Blob::Here(bytes)) => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        }
    }

    /// Where the values of a tensor or an array are; `None` for any other node.
    pub(crate) fn place(&self, node: &Node, storages: &dyn Storages) -> Result<Option<Place>, ImportError> {
        let broken = |reason: &str| ImportError::malformed(self.at, reason);
        Ok(Some(match node {
            Node::Tensor { storage, dtype, offset, shape, strides } => {
                let Node::Storage(storage) = self.node(*storage) else {
                    return Err(broken("a tensor without a storage"));
                };
                let dtype = dtype.unwrap_or(storage.dtype);
                let data = storages.data(storage)?;
                let first = storage.view_offset.checked_mul(storage.dtype.bytes());
                let data = first.and_then(|first| data.behind(first));
                let data = data.ok_or_else(|| broken("a view begins behind its storage"))?;
                let (shape, strides) = (shape.clone(), strides.clone());
                Place::strided(data, dtype, false, shape, *offset, strides)?
            }
            Node::Array { data: Some((shape, element, fortran, bytes)) } => {
                let Node::Element { dtype, big_endian } = *self.node(*element) else {
                    return Err(broken("an array without an element type"));
                };
                let data = match self.node(*bytes) {
                    Node::Bytes(Blob::Here(bytes)) => Data::Here(bytes.clone()),
                    Node::Bytes(Blob::InFile(span)) => Data::Spans(vec![*span]),
                    _ => return Err(broken("an array without its bytes")),
                };
                let expected =
                    shape.iter().try_fold(dtype.bytes(), |product: u64, &n| product.checked_mul(n));
                if expected != Some(data.len()) {
                    return Err(broken("an array's bytes do not fill its shape"));
                }
                numpy::array(data, dtype, big_endian, *fortran, shape.clone())?
            }
            Node::Array { data: None } => return Err(broken("an array without values")),
            Node::None
            | Node::Bool(_)
            | Node::Int(_)
            | Node::Float(_)
            | Node::Text(_)
            | Node::Bytes(_)
            | Node::List(_)
            | Node::Tuple(_)
            | Node::Dict(_)
            | Node::Global(_)
            | Node::Class(_)
            | Node::Object { .. }
            | Node::Storage(_)
            | Node::SavedStorage(_)
            | Node::Element { .. } => return Ok(None),
        }))
    }
}

/// Of pickles that name no storages.
pub(crate) struct NoStorages;

impl Storages for NoStorages {
    fn data(&self, storage: &Storage) -> Result<Data, ImportError> {
        Err(ImportError::malformed(0, format!("the storage `{}` is nowhere", storage.key)))
    }
}

/// Element types by the names of PyTorch's storages and types.
pub(crate) fn torch_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "HalfStorage" | "float16" | "half" => Dtype::F16,
        "BFloat16Storage" | "bfloat16" => Dtype::Bf16,
        "FloatStorage" | "float32" | "float" => Dtype::F32,
        "DoubleStorage" | "float64" | "double" => Dtype::F64,
        "CharStorage" | "int8" => Dtype::I8,
        "ShortStorage" | "int16" | "short" => Dtype::I16,
        "IntStorage" | "int32" | "int" => Dtype::I32,
        "LongStorage" | "int64" | "long" => Dtype::I64,
        "ByteStorage" | "uint8" | "UntypedStorage" => Dtype::U8,
        "BoolStorage" | "bool" => Dtype::Bool,
        _ => return None,
    })
}
