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
use crate::input::Span;
use crate::limits;
use crate::numpy;
use crate::place::{Data, Place};
pub(crate) use machine::read;
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
    fn span(&self, storage: &Storage) -> Result<Span, ImportError>;
}

/// What is done with a node and the keys that lead to it.
type See<'s, 'p> = dyn FnMut(&[String], &'p Node) -> Result<(), ImportError> + 's;

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

    /// Calls `see` for everything inside the pickle's value with the keys that lead there.
    ///
    /// # Errors
    /// What `see` returns; and if containers are nested too deep, as those that contain themselves are.
    pub(crate) fn visit<'p>(&'p self, see: &mut See<'_, 'p>) -> Result<(), ImportError> {
        self.step(self.root, &mut Vec::new(), &mut 0, see)
    }

    fn step<'p>(
        &'p self,
        id: Id,
        path: &mut Vec<String>,
        steps: &mut u64,
        see: &mut See<'_, 'p>,
    ) -> Result<(), ImportError> {
        *steps += 1;
        ImportError::limit("a number of objects", *steps, limits::OBJECTS as u64)?;
        ImportError::limit("a depth of containers", path.len() as u64, limits::DEPTH as u64)?;
        let node = self.node(id);
        see(path, node)?;
        match node {
            Node::Dict(entries) => {
                for &(key, value) in entries {
                    // What has no name is not looked for: optimisers key their state by numbers, which are names too.
                    if let Some(key) = self.key(key) {
                        path.push(key);
                        self.step(value, path, steps, see)?;
                        path.pop();
                    }
                }
            }
            Node::List(values) | Node::Tuple(values) => {
                for (index, &value) in values.iter().enumerate() {
                    path.push(index.to_string());
                    self.step(value, path, steps, see)?;
                    path.pop();
                }
            }
            Node::Object(Some(state)) => self.step(*state, path, steps, see)?,
            Node::Object(None)
            | Node::None
            | Node::Bool(_)
            | Node::Int(_)
            | Node::Float
            | Node::Text(_)
            | Node::Bytes(_)
            | Node::Global(_)
            | Node::Storage(_)
            | Node::Tensor { .. }
            | Node::Element { .. }
            | Node::Array { .. } => {}
        }
        Ok(())
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
                let span = storages.span(storage)?;
                let first = storage.view_offset.checked_mul(storage.dtype.bytes());
                let first = first.filter(|&first| first <= span.len);
                let first = first.ok_or_else(|| broken("a view begins behind its storage"))?;
                let span = Span { start: span.start + first, len: span.len - first };
                let (shape, strides) = (shape.clone(), strides.clone());
                Place::strided(Data::Spans(vec![span]), dtype, false, shape, *offset, strides)?
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
            | Node::Float
            | Node::Text(_)
            | Node::Bytes(_)
            | Node::List(_)
            | Node::Tuple(_)
            | Node::Dict(_)
            | Node::Global(_)
            | Node::Object(_)
            | Node::Storage(_)
            | Node::Element { .. } => return Ok(None),
        }))
    }
}

/// Of pickles that name no storages.
pub(crate) struct NoStorages;

impl Storages for NoStorages {
    fn span(&self, storage: &Storage) -> Result<Span, ImportError> {
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
