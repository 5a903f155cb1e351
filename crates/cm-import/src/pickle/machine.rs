//! The pickle machine: instructions, a stack, a memo (Python's `pickletools` describes every instruction).

use super::Pickle;
use super::value::{Blob, Id, Node};
use crate::error::ImportError;
use crate::input::Input;
use crate::limits;
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

pub(super) struct Machine<'r, 'a> {
    input: &'r mut Input<'a>,
    pub(super) nodes: Vec<Node>,
    pub(super) stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Bytes of text so far.
    text: u64,
}

impl Machine<'_, '_> {
    pub(super) fn broken(&self, reason: impl Into<String>) -> ImportError {
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
                let value = f64::from_be_bytes(self.input.array()?);
                self.push(Node::Float(value));
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
                let line = self.input.line(LINE)?;
                let value = line.parse().map_err(|_| self.broken("a line is not a number"))?;
                self.push(Node::Float(value));
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
            // Sets are lists, too.
            b']' | 0x8f => self.push(Node::List(vec![])),
            b'}' => self.push(Node::Dict(vec![])),
            b')' => self.push(Node::Tuple(vec![])),
            b'l' => {
                let items = self.since_mark()?;
                self.push(Node::List(items));
            }
            b't' | 0x91 => {
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
            b'e' | 0x90 => {
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

    pub(super) fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<Id, ImportError> {
        let above_mark = self.marks.last().is_none_or(|&mark| self.stack.len() > mark);
        let top = if above_mark { self.stack.pop() } else { None };
        top.ok_or_else(|| self.broken("takes from an empty stack"))
    }

    pub(super) fn top(&self) -> Result<Id, ImportError> {
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
            // What such an object contains besides its state is not needed.
            Node::Object { .. } => Ok(()),
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
            Node::Object { .. } => Ok(()),
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
}
