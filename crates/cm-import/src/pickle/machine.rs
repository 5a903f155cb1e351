//! The pickle machine: instructions, a stack, a memo (Python's `pickletools` describes every instruction).

use super::Pickle;
use super::value::{Blob, Global, Id, Node, Storage};
use crate::error::ImportError;
use crate::input::Input;
use crate::{limits, numpy};
use std::collections::HashMap;

/// Bytes of a number; the largest that occurs is PyTorch's magic one, of 10.
const LONG: u64 = 16;
/// Bytes of a line of the instructions with text.
const LINE: u64 = 4096;
/// Bytes of a short text of bytes, which is kept; longer ones stay in the file.
const SHORT: u64 = 256;

/// Runs one pickle from where `input` stands to its end.
pub(crate) fn read(input: &mut Input<'_>) -> Result<Pickle, ImportError> {
    let at = input.at();
    let mut machine =
        Machine { input, nodes: vec![], stack: vec![], marks: vec![], memo: HashMap::new(), text: 0 };
    let mut instructions = 0;
    loop {
        instructions += 1;
        ImportError::limit("a pickle's number of instructions", instructions, limits::INSTRUCTIONS)?;
        if let Some(root) = machine.instruction()? {
            return Ok(Pickle { nodes: machine.nodes, root, at });
        }
        let most = machine.nodes.len().max(machine.stack.len()).max(machine.memo.len());
        ImportError::limit("a pickle's number of objects", most as u64, limits::OBJECTS as u64)?;
    }
}

struct Machine<'r, 'a> {
    input: &'r mut Input<'a>,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Bytes of text so far.
    text: u64,
}

impl Machine<'_, '_> {
    fn broken(&self, reason: impl Into<String>) -> ImportError {
        ImportError::malformed(self.input.at(), format!("the pickle: {}", reason.into()))
    }

    /// Runs one instruction; returns the value when the pickle ends.
    fn instruction(&mut self) -> Result<Option<Id>, ImportError> {
        match self.input.byte()? {
            b'.' => return self.pop().map(Some),
            0x80 => drop(self.input.byte()?),
            0x95 => drop(self.input.array::<8>()?),
            b'(' => {
                self.marks.push(self.stack.len());
                ImportError::limit("a number of marks", self.marks.len() as u64, limits::OBJECTS as u64)?;
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'J' => {
                let value = i32::from_le_bytes(self.input.array()?);
                self.push(Node::Int(value.into()));
            }
            b'K' => {
                let value = self.input.byte()?;
                self.push(Node::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.input.array()?);
                self.push(Node::Int(value.into()));
            }
            0x8a => {
                let len = self.input.byte()?.into();
                self.long(len)?;
            }
            0x8b => {
                let len = u32::from_le_bytes(self.input.array()?).into();
                self.long(len)?;
            }
            b'G' => {
                self.input.array::<8>()?;
                self.push(Node::Float);
            }
            b'I' | b'L' => {
                let line = self.input.line(LINE)?;
                let node = match line.as_str() {
                    "00" => Node::Bool(false),
                    "01" => Node::Bool(true),
                    digits => {
                        let number = digits.trim_end_matches('L').parse();
                        Node::Int(number.map_err(|_| self.broken("a line is not a number"))?)
                    }
                };
                self.push(node);
            }
            b'F' => {
                self.input.line(LINE)?;
                self.push(Node::Float);
            }
            b'X' => {
                let len = u32::from_le_bytes(self.input.array()?).into();
                self.text(len)?;
            }
            0x8c => {
                let len = self.input.byte()?.into();
                self.text(len)?;
            }
            0x8d => {
                let len = u64::from_le_bytes(self.input.array()?);
                self.text(len)?;
            }
            b'U' | b'C' => {
                let len = self.input.byte()?.into();
                self.bytes(len)?;
            }
            b'T' | b'B' => {
                let len = u32::from_le_bytes(self.input.array()?).into();
                self.bytes(len)?;
            }
            0x8e | 0x96 => {
                let len = u64::from_le_bytes(self.input.array()?);
                self.bytes(len)?;
            }
            b']' => self.push(Node::List(vec![])),
            b'}' => self.push(Node::Dict(vec![])),
            b')' => self.push(Node::Tuple(vec![])),
            b'l' => {
                let items = self.since_mark()?;
                self.push(Node::List(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Node::Tuple(items));
            }
            b'd' => {
                let items = self.since_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Node::Dict(pairs));
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                let pairs = self.pairs(&items)?;
                self.insert(pairs)?;
            }
            b'p' => {
                let line = self.input.line(LINE)?;
                let key = line.parse().map_err(|_| self.broken("a line is not a number"))?;
                self.remember(key)?;
            }
            b'q' => {
                let key = self.input.byte()?.into();
                self.remember(key)?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.input.array()?).into();
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'g' => {
                let line = self.input.line(LINE)?;
                let key = line.parse().map_err(|_| self.broken("a line is not a number"))?;
                self.recall(key)?;
            }
            b'h' => {
                let key = self.input.byte()?.into();
                self.recall(key)?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.input.array()?).into();
                self.recall(key)?;
            }
            b'c' => {
                let (module, name) = (self.input.line(LINE)?, self.input.line(LINE)?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (module, name) = (self.as_text(module)?, self.as_text(name)?);
                self.global(&module, &name)?;
            }
            b'R' | 0x81 => {
                let (arguments, global) = (self.pop()?, self.pop()?);
                self.call(global, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                self.build(state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)?;
            }
            other => {
                let name = char::from(other).escape_default().to_string();
                return Err(ImportError::Forbidden(format!("pickle instruction {other:#04x} ('{name}')")));
            }
        }
        Ok(None)
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<Id, ImportError> {
        let above_mark = self.marks.last().is_none_or(|&mark| self.stack.len() > mark);
        let top = if above_mark { self.stack.pop() } else { None };
        top.ok_or_else(|| self.broken("takes from an empty stack"))
    }

    fn top(&self) -> Result<Id, ImportError> {
        self.stack.last().copied().ok_or_else(|| self.broken("looks at an empty stack"))
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, ImportError> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        let mark = mark.ok_or_else(|| self.broken("there is no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>, ImportError> {
        if items.len() % 2 == 1 {
            return Err(self.broken("a key without a value"));
        }
        Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    fn tuple(&mut self, len: usize) -> Result<(), ImportError> {
        let mut items = (0..len).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), ImportError> {
        let list = self.top()? as usize;
        match &mut self.nodes[list] {
            Node::List(values) => {
                values.extend(items);
                Ok(())
            }
            _ => Err(self.broken("appends to what is no list")),
        }
    }

    fn insert(&mut self, pairs: Vec<(Id, Id)>) -> Result<(), ImportError> {
        let dict = self.top()? as usize;
        match &mut self.nodes[dict] {
            Node::Dict(entries) => {
                entries.extend(pairs);
                Ok(())
            }
            _ => Err(self.broken("inserts into what is no dictionary")),
        }
    }

    fn remember(&mut self, key: u64) -> Result<(), ImportError> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), ImportError> {
        let id = self.memo.get(&key).copied();
        let id = id.ok_or_else(|| self.broken(format!("recalls {key}, which was not remembered")))?;
        self.stack.push(id);
        Ok(())
    }

    fn long(&mut self, len: u64) -> Result<(), ImportError> {
        ImportError::limit("a number's length in bytes", len, LONG)?;
        let bytes = self.input.bytes(len)?;
        let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut whole = [if negative { 0xff } else { 0 }; LONG as usize];
        whole[..bytes.len()].copy_from_slice(&bytes);
        self.push(Node::Int(i128::from_le_bytes(whole)));
        Ok(())
    }

    fn text(&mut self, len: u64) -> Result<(), ImportError> {
        self.text = self.text.saturating_add(len);
        ImportError::limit("a length of texts", self.text, limits::TEXT_BYTES)?;
        let bytes = self.input.bytes(len)?;
        let text = String::from_utf8(bytes).map_err(|_| self.broken("a text is not UTF-8"))?;
        self.push(Node::Text(text));
        Ok(())
    }

    /// Many bytes stay in the file; few may be a text.
    fn bytes(&mut self, len: u64) -> Result<(), ImportError> {
        let blob = if len <= SHORT {
            Blob::Here(self.input.bytes(len)?.into())
        } else {
            Blob::InFile(self.input.skip(len)?)
        };
        self.push(Node::Bytes(blob));
        Ok(())
    }

    fn as_text(&self, id: Id) -> Result<String, ImportError> {
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

    fn global(&mut self, module: &str, name: &str) -> Result<(), ImportError> {
        let global = Global::find(module, name);
        let global = global.ok_or_else(|| ImportError::Forbidden(format!("{module}.{name}")))?;
        self.push(Node::Global(global));
        Ok(())
    }

    /// What a call of one of the allowed names builds.
    fn call(&mut self, global: Id, arguments: Id) -> Result<(), ImportError> {
        let arguments = self.items(arguments)?;
        let Node::Global(global) = self.nodes[global as usize] else {
            return Err(self.broken("calls what is no function"));
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
            Global::Object => Node::Object(None),
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

    /// The node, if it is bytes.
    fn as_bytes(&self, id: Id) -> Result<Id, ImportError> {
        match self.nodes[id as usize] {
            Node::Bytes(_) => Ok(id),
            _ => Err(self.broken("an array without its bytes")),
        }
    }

    /// Gives the object on the stack its state.
    fn build(&mut self, state: Id) -> Result<(), ImportError> {
        let object = self.top()? as usize;
        match &self.nodes[object] {
            Node::Object(_) => self.nodes[object] = Node::Object(Some(state)),
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
    fn persistent(&mut self, id: Id) -> Result<(), ImportError> {
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
