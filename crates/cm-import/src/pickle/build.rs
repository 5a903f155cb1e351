//! What the instructions that name something build: containers, tensors, arrays, storages.

use super::machine::Machine;
use super::value::{Blob, Global, Id, Node, Storage, is_inert};
use crate::error::ImportError;
use crate::{limits, numpy};

impl Machine<'_, '_> {
    pub(super) fn as_text(&self, id: Id) -> Result<String, ImportError> {
        match &self.nodes[id as usize] {
            Node::Text(text) => Ok(text.clone()),
            Node::Bytes(Blob::Here(bytes)) => {
                String::from_utf8(bytes.to_vec()).map_err(|_| self.broken("a text is not UTF-8"))
            }
            _ => Err(self.broken("something else stands where a text should")),
        }
    }

    fn as_count(&self, id: Id) -> Result<u64, ImportError> {
        match self.nodes[id as usize] {
            Node::Int(number) => {
                u64::try_from(number).map_err(|_| self.broken(format!("{number} is no size of anything")))
            }
            _ => Err(self.broken("something else stands where a number should")),
        }
    }

    fn items(&self, id: Id) -> Result<Vec<Id>, ImportError> {
        match &self.nodes[id as usize] {
            Node::Tuple(items) | Node::List(items) => Ok(items.clone()),
            _ => Err(self.broken("something else stands where a tuple should")),
        }
    }

    fn as_shape(&self, id: Id) -> Result<Vec<u64>, ImportError> {
        let items = self.items(id)?;
        ImportError::limit("a number of dimensions", items.len() as u64, limits::DIMENSIONS as u64)?;
        items.into_iter().map(|item| self.as_count(item)).collect()
    }

    pub(super) fn global(&mut self, module: &str, name: &str) -> Result<(), ImportError> {
        self.push(match Global::find(module, name) {
            Some(global) => Node::Global(global),
            None if is_inert(module) => Node::Class(name.into()),
            None => return Err(ImportError::Forbidden(format!("{module}.{name}"))),
        });
        Ok(())
    }

    /// What a call of one of the allowed names builds.
    pub(super) fn call(&mut self, global: Id, arguments: Id) -> Result<(), ImportError> {
        let arguments = self.items(arguments)?;
        let global = match &self.nodes[global as usize] {
            Node::Global(global) => *global,
            Node::Class(class) => {
                let class = Some(class.clone());
                self.push(Node::Object { class, state: None });
                return Ok(());
            }
            _ => return Err(self.broken("calls what is no function")),
        };
        let argument = |index: usize| {
            arguments.get(index).copied().ok_or_else(|| self.broken("a call lacks an argument"))
        };
        let node = match global {
            Global::OrderedDict => match arguments.first() {
                None => Node::Dict(vec![]),
                Some(&entries) => {
                    let mut pairs = Vec::new();
                    for entry in self.items(entries)? {
                        match self.items(entry)?.as_slice() {
                            &[key, value] => pairs.push((key, value)),
                            _ => return Err(self.broken("an entry is no pair")),
                        }
                    }
                    Node::Dict(pairs)
                }
            },
            Global::Size => Node::Tuple(self.items(argument(0)?)?),
            Global::Device => Node::None,
            Global::First => {
                let first = argument(0)?;
                self.stack.push(first);
                return Ok(());
            }
            Global::Object => Node::Object { class: None, state: None },
            Global::Reconstructor => match &self.nodes[argument(0)? as usize] {
                Node::Class(class) => Node::Object { class: Some(class.clone()), state: None },
                Node::Global(Global::Object) => Node::Object { class: None, state: None },
                _ => return Err(self.broken("an object without a class")),
            },
            Global::Persistent => self.persisted(argument(0)?)?,
            Global::SavedStorage => match &self.nodes[self.as_bytes(argument(0)?)? as usize] {
                Node::Bytes(blob) => Node::SavedStorage(blob.clone()),
                _ => return Err(self.broken("a storage without its bytes")),
            },
            Global::Set => match arguments.first() {
                None => Node::Tuple(vec![]),
                Some(&items) => Node::Tuple(self.items(items)?),
            },
            Global::Tensor | Global::TypedTensor => {
                let dtype = match (global, arguments.get(6)) {
                    (Global::TypedTensor, Some(&dtype)) => match self.nodes[dtype as usize] {
                        Node::Global(Global::TorchType(dtype)) => Some(dtype),
                        _ => return Err(self.broken("a tensor without a type")),
                    },
                    (Global::TypedTensor, None) => return Err(self.broken("a tensor without a type")),
                    _ => None,
                };
                Node::Tensor {
                    storage: argument(0)?,
                    dtype,
                    offset: self.as_count(argument(1)?)?,
                    shape: self.as_shape(argument(2)?)?,
                    strides: self.as_shape(argument(3)?)?,
                }
            }
            Global::NumpyType => {
                let (dtype, big_endian) = numpy::element(&self.as_text(argument(0)?)?)?;
                Node::Element { dtype, big_endian }
            }
            Global::Reconstruct => Node::Array { data: None },
            Global::Scalar => {
                let (element, bytes) = (argument(0)?, self.as_bytes(argument(1)?)?);
                Node::Array { data: Some((vec![], element, false, bytes)) }
            }
            Global::FromBuffer => {
                let (bytes, element) = (self.as_bytes(argument(0)?)?, argument(1)?);
                let shape = self.as_shape(argument(2)?)?;
                let fortran = self.as_text(argument(3)?)? == "F";
                Node::Array { data: Some((shape, element, fortran, bytes)) }
            }
            Global::Encode => {
                let text = self.as_text(argument(0)?)?;
                let bytes = text.chars().map(|c| u8::try_from(u32::from(c)));
                let bytes = bytes.collect::<Result<Vec<u8>, _>>();
                Node::Bytes(Blob::Here(bytes.map_err(|_| self.broken("a text is not Latin-1"))?.into()))
            }
            Global::TorchType(_) | Global::Ndarray => {
                return Err(ImportError::Forbidden("a call of a type".to_owned()));
            }
        };
        self.push(node);
        Ok(())
    }

    /// An object of `torch_utils.persistence`: (its type, version, source, the name of its class, its state) by name.
    fn persisted(&self, meta: Id) -> Result<Node, ImportError> {
        let Node::Dict(entries) = &self.nodes[meta as usize] else {
            return Err(self.broken("a persistent object without its description"));
        };
        let entry = |wanted: &str| {
            let is = |&&(key, _): &&(Id, Id)| matches!(&self.nodes[key as usize], Node::Text(key) if key == wanted);
            entries.iter().find(is).map(|&(_, value)| value)
        };
        let class = entry("class_name").ok_or_else(|| self.broken("a persistent object without a class"))?;
        Ok(Node::Object { class: Some(self.as_text(class)?.into()), state: entry("state") })
    }

    /// The node, if it is bytes.
    fn as_bytes(&self, id: Id) -> Result<Id, ImportError> {
        match self.nodes[id as usize] {
            Node::Bytes(_) => Ok(id),
            _ => Err(self.broken("an array without its bytes")),
        }
    }

    /// Gives the object on the stack its state.
    pub(super) fn build(&mut self, state: Id) -> Result<(), ImportError> {
        let object = self.top()? as usize;
        match &self.nodes[object] {
            Node::Object { class, .. } => {
                let class = class.clone();
                self.nodes[object] = Node::Object { class, state: Some(state) };
            }
            // (version, byte order, ...)
            Node::Element { dtype, .. } => {
                let dtype = *dtype;
                let order = self.items(state)?.get(1).copied();
                let order = order.ok_or_else(|| self.broken("an element type without a byte order"))?;
                let big_endian = self.as_text(order)? == ">";
                self.nodes[object] = Node::Element { dtype, big_endian };
            }
            // (version, shape, element type, whether column-major, bytes)
            Node::Array { .. } => {
                let &[_, shape, element, fortran, bytes] = self.items(state)?.as_slice() else {
                    return Err(self.broken("an array whose state has not five parts"));
                };
                let fortran = matches!(self.nodes[fortran as usize], Node::Bool(true));
                let data = Some((self.as_shape(shape)?, element, fortran, self.as_bytes(bytes)?));
                self.nodes[object] = Node::Array { data };
            }
            // What hangs on an ordered dictionary besides its entries (`_metadata`) is not needed.
            Node::Dict(_) | Node::Tensor { .. } => {}
            _ => return Err(self.broken("gives a state to what has none")),
        }
        Ok(())
    }

    /// A storage: ("storage", type, key, place, length) and, in old files, what part of it is meant.
    pub(super) fn persistent(&mut self, id: Id) -> Result<(), ImportError> {
        let parts = self.items(id)?;
        let &[tag, kind, key, _, len, ..] = parts.as_slice() else {
            return Err(self.broken("a persistent name that is no storage"));
        };
        if self.as_text(tag)? != "storage" {
            return Err(ImportError::Forbidden(format!("persistent object {}", self.as_text(tag)?)));
        }
        let Node::Global(Global::TorchType(dtype)) = self.nodes[kind as usize] else {
            return Err(self.broken("a storage without a type"));
        };
        let view = match parts.get(5).map(|&view| (view, &self.nodes[view as usize])) {
            None | Some((_, Node::None)) => None,
            Some((view, _)) => Some(self.items(view)?),
        };
        let view_offset = match view.as_deref() {
            None => 0,
            Some(&[_, offset, _]) => self.as_count(offset)?,
            Some(_) => return Err(self.broken("a view of a storage that has not three parts")),
        };
        let storage = Storage { key: self.as_text(key)?, dtype, len: self.as_count(len)?, view_offset };
        self.push(Node::Storage(storage));
        Ok(())
    }
}
