//! Python pickles of arrays, read without running anything: enough for the batches of CIFAR-10 and of downsampled
//! ImageNet, and no more.
//!
//! A pickle is a program for a stack machine that may call any Python function. Here only four functions are known by
//! name (those that NumPy needs to make an array); any other name is an error before anything happens. Long strings of
//! bytes are not read but remembered by their place, so that a batch of gigabytes takes the memory of one image.
//!
//! Deliberately absent: classes, persistent ids, buffers outside the pickle, arrays of objects.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

/// Bytes beyond which a string of bytes stays in the file.
const INLINE: u64 = 4096;
/// Values of a pickle; a batch of downsampled ImageNet has about 130,000.
const MAX_NODES: usize = 1 << 23;
/// Bytes of one text.
const MAX_TEXT: u64 = 1 << 16;

/// Why a pickle cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PickleError {
    #[error("at byte {at}: {what}")]
    Bad { at: u64, what: String },
    #[error("it is cut off or cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Bytes of a pickle.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Blob {
    /// Few bytes.
    Here(Vec<u8>),
    /// Many, in the file.
    There { offset: u64, len: u64 },
}

impl Blob {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Here(bytes) => bytes.len() as u64,
            Self::There { len, .. } => *len,
        }
    }
}

/// An array as NumPy pickles it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PickledArray {
    /// Its lengths.
    pub(crate) shape: Vec<usize>,
    /// `u1`, `i8` and so on, with the order of bytes before it where that matters: `<i8`.
    pub(crate) element: String,
    /// Whether the first index runs fastest.
    pub(crate) fortran: bool,
    /// Its values.
    pub(crate) data: Blob,
}

/// The functions a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Reconstruct,
    FromBuffer,
    Array,
    DType,
}

impl Function {
    fn of(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Some(Self::Reconstruct),
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Some(Self::FromBuffer),
            ("numpy", "ndarray") => Some(Self::Array),
            ("numpy", "dtype") => Some(Self::DType),
            (_, _) => None,
        }
    }
}

#[derive(Clone, Debug)]
enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Bytes(Blob),
    Text(String),
    List(Vec<usize>),
    Tuple(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Function(Function),
    DType(String),
    Array(Option<PickledArray>),
}

/// A pickle that was read: its values, and the one it stands for.
pub(crate) struct Pickle {
    nodes: Vec<Node>,
    root: usize,
}

impl Pickle {
    /// Reads a pickle from its beginning.
    pub(crate) fn read(input: impl BufRead + Seek) -> Result<Self, PickleError> {
        let mut machine = Machine {
            input,
            at: 0,
            len: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
        };
        machine.len = machine.input.seek(SeekFrom::End(0))?;
        machine.input.seek(SeekFrom::Start(0))?;
        let root = machine.run()?;
        Ok(Self { nodes: machine.nodes, root })
    }

    /// The entry of the dictionary that the pickle is; keys are text or bytes.
    fn entry(&self, key: &str) -> Option<&Node> {
        let Node::Dict(entries) = &self.nodes[self.root] else { return None };
        let found = entries.iter().find(|(name, _)| text(&self.nodes[*name]).as_deref() == Some(key));
        found.map(|&(_, value)| &self.nodes[value])
    }

    /// The array of this name.
    pub(crate) fn array(&self, key: &str) -> Option<&PickledArray> {
        if let Some(Node::Array(Some(array))) = self.entry(key) { Some(array) } else { None }
    }

    /// The list of whole numbers of this name; `None` if there is no list, or it holds something else.
    pub(crate) fn integers(&self, key: &str) -> Option<Vec<i64>> {
        let Some(Node::List(items)) = self.entry(key) else { return None };
        let integer = |&item: &usize| if let Node::Int(n) = self.nodes[item] { Some(n) } else { None };
        items.iter().map(integer).collect()
    }

    /// The list of texts of this name; `None` if there is no list, or it holds something else.
    pub(crate) fn texts(&self, key: &str) -> Option<Vec<String>> {
        let Some(Node::List(items)) = self.entry(key) else { return None };
        items.iter().map(|&item| text(&self.nodes[item])).collect()
    }
}

fn text(node: &Node) -> Option<String> {
    if let Node::Text(text) = node {
        Some(text.clone())
    } else if let Node::Bytes(Blob::Here(bytes)) = node {
        String::from_utf8(bytes.clone()).ok()
    } else {
        None
    }
}

struct Machine<R> {
    input: R,
    at: u64,
    len: u64,
    nodes: Vec<Node>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: Vec<Option<usize>>,
}

impl<R: BufRead + Seek> Machine<R> {
    fn bad(&self, what: impl Into<String>) -> PickleError {
        PickleError::Bad { at: self.at, what: what.into() }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u64, PickleError> {
        Ok(u64::from(self.bytes::<1>()?[0]))
    }

    fn u32(&mut self) -> Result<u64, PickleError> {
        Ok(u64::from(u32::from_le_bytes(self.bytes()?)))
    }

    fn u64(&mut self) -> Result<u64, PickleError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// The next `len` bytes, in memory if they are few.
    fn blob(&mut self, len: u64) -> Result<Blob, PickleError> {
        if len > self.len - self.at {
            return Err(self.bad(format!("{len} bytes are announced, and {} are left", self.len - self.at)));
        }
        if len <= INLINE {
            return Ok(Blob::Here(self.take(len)?));
        }
        let offset = self.at;
        self.at += len;
        self.input.seek(SeekFrom::Start(self.at))?;
        Ok(Blob::There { offset, len })
    }

    fn take(&mut self, len: u64) -> Result<Vec<u8>, PickleError> {
        let mut bytes = Vec::new();
        (&mut self.input).take(len).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        if bytes.len() as u64 == len { Ok(bytes) } else { Err(self.bad("the file ends here")) }
    }

    fn utf8(&mut self, len: u64) -> Result<String, PickleError> {
        if len > MAX_TEXT {
            return Err(self.bad(format!("a text of {len} bytes, and at most {MAX_TEXT} are read")));
        }
        let bytes = self.take(len)?;
        String::from_utf8(bytes).map_err(|_| self.bad("a text that is not UTF-8"))
    }

    /// A line of text without its end.
    fn line(&mut self) -> Result<String, PickleError> {
        let mut bytes = Vec::new();
        (&mut self.input).take(MAX_TEXT).read_until(b'\n', &mut bytes)?;
        self.at += bytes.len() as u64;
        if bytes.pop() != Some(b'\n') {
            return Err(self.bad("a line without an end"));
        }
        String::from_utf8(bytes).map_err(|_| self.bad("a line that is not UTF-8"))
    }

    fn push(&mut self, node: Node) -> Result<(), PickleError> {
        if self.nodes.len() >= MAX_NODES {
            return Err(self.bad(format!("more than {MAX_NODES} values")));
        }
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
        Ok(())
    }

    fn pop(&mut self) -> Result<usize, PickleError> {
        // What lies below a mark belongs to what comes later.
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err(self.bad("a value is missing"));
        }
        self.stack.pop().ok_or_else(|| self.bad("a value is missing"))
    }

    fn above_mark(&mut self) -> Result<Vec<usize>, PickleError> {
        let mark = self.marks.pop().ok_or_else(|| self.bad("a mark is missing"))?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Result<usize, PickleError> {
        self.stack.last().copied().ok_or_else(|| self.bad("a value is missing"))
    }

    fn tuple(&mut self, len: usize) -> Result<(), PickleError> {
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::Tuple(items))
    }

    fn remember(&mut self, index: u64) -> Result<(), PickleError> {
        let value = self.top()?;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if index > MAX_NODES {
            return Err(self.bad("a number of a remembered value beyond all values"));
        }
        if self.memo.len() <= index {
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(value);
        Ok(())
    }

    fn recall(&mut self, index: u64) -> Result<(), PickleError> {
        let known = usize::try_from(index).ok().and_then(|index| self.memo.get(index).copied().flatten());
        let value = known.ok_or_else(|| self.bad("a value is recalled that was never there"))?;
        self.stack.push(value);
        if self.stack.len() > MAX_NODES {
            return Err(self.bad(format!("more than {MAX_NODES} values")));
        }
        Ok(())
    }

    fn function(&mut self, module: &str, name: &str) -> Result<(), PickleError> {
        let function = Function::of(module, name).ok_or_else(|| {
            self.bad(format!("it names `{module}.{name}`, and a file of images may name arrays only"))
        })?;
        self.push(Node::Function(function))
    }

    fn append(&mut self, items: &[usize]) -> Result<(), PickleError> {
        let list = self.top()?;
        let Node::List(list) = &mut self.nodes[list] else {
            return Err(self.bad("something is appended to what is no list"));
        };
        list.extend_from_slice(items);
        Ok(())
    }

    fn set_items(&mut self, items: &[usize]) -> Result<(), PickleError> {
        let dict = self.top()?;
        if !items.len().is_multiple_of(2) {
            return Err(self.bad("a key without a value"));
        }
        let Node::Dict(entries) = &mut self.nodes[dict] else {
            return Err(self.bad("an entry is set in what is no dictionary"));
        };
        entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    /// Until the end of the program; the value it leaves.
    fn run(&mut self) -> Result<usize, PickleError> {
        loop {
            let [opcode] = self.bytes()?;
            match opcode {
                0x80 => {
                    let protocol = self.u8()?;
                    if protocol > 5 {
                        return Err(self.bad(format!("protocol {protocol}, and 0 to 5 are known")));
                    }
                }
                0x95 => drop(self.u64()?), // FRAME: a hint
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.push(Node::None)?,
                0x88 => self.push(Node::Bool(true))?,
                0x89 => self.push(Node::Bool(false))?,
                b'K' => {
                    let n = self.u8()?;
                    self.push(Node::Int(n as i64))?;
                }
                b'M' => {
                    let n = u16::from_le_bytes(self.bytes()?);
                    self.push(Node::Int(i64::from(n)))?;
                }
                b'J' => {
                    let n = i32::from_le_bytes(self.bytes()?);
                    self.push(Node::Int(i64::from(n)))?;
                }
                0x8a => {
                    let len = self.u8()?;
                    let bytes = self.take(len)?;
                    let n = long(&bytes).ok_or_else(|| self.bad("a number beyond 64 bits"))?;
                    self.push(Node::Int(n))?;
                }
                b'I' => {
                    let line = self.line()?;
                    let node = match line.as_str() {
                        "00" => Node::Bool(false),
                        "01" => Node::Bool(true),
                        line => Node::Int(line.parse().map_err(|_| self.bad("no whole number"))?),
                    };
                    self.push(node)?;
                }
                b'G' => {
                    self.bytes::<8>()?;
                    self.push(Node::Float)?;
                }
                // Strings of Python 2 are bytes.
                b'U' | b'C' => {
                    let len = self.u8()?;
                    let blob = self.blob(len)?;
                    self.push(Node::Bytes(blob))?;
                }
                b'T' | b'B' => {
                    let len = self.u32()?;
                    let blob = self.blob(len)?;
                    self.push(Node::Bytes(blob))?;
                }
                0x8e | 0x96 => {
                    let len = self.u64()?;
                    let blob = self.blob(len)?;
                    self.push(Node::Bytes(blob))?;
                }
                0x8c => {
                    let len = self.u8()?;
                    let text = self.utf8(len)?;
                    self.push(Node::Text(text))?;
                }
                b'X' => {
                    let len = self.u32()?;
                    let text = self.utf8(len)?;
                    self.push(Node::Text(text))?;
                }
                0x8d => {
                    let len = self.u64()?;
                    let text = self.utf8(len)?;
                    self.push(Node::Text(text))?;
                }
                b']' => self.push(Node::List(Vec::new()))?,
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b')' => self.push(Node::Tuple(Vec::new()))?,
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b't' => {
                    let items = self.above_mark()?;
                    self.push(Node::Tuple(items))?;
                }
                b'l' => {
                    let items = self.above_mark()?;
                    self.push(Node::List(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                b'e' => {
                    let items = self.above_mark()?;
                    self.append(&items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set_items(&[key, value])?;
                }
                b'u' => {
                    let items = self.above_mark()?;
                    self.set_items(&items)?;
                }
                b'q' => {
                    let index = self.u8()?;
                    self.remember(index)?;
                }
                b'r' => {
                    let index = self.u32()?;
                    self.remember(index)?;
                }
                0x94 => self.remember(self.memo.len() as u64)?,
                b'h' => {
                    let index = self.u8()?;
                    self.recall(index)?;
                }
                b'j' => {
                    let index = self.u32()?;
                    self.recall(index)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.function(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Some(module), Some(name)) = (text(&self.nodes[module]), text(&self.nodes[name]))
                    else {
                        return Err(self.bad("a function without a name"));
                    };
                    self.function(&module, &name)?;
                }
                b'R' => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    let result = self.call(function, arguments)?;
                    self.push(result)?;
                }
                b'b' => {
                    let state = self.pop()?;
                    let object = self.top()?;
                    let built = self.build(object, state)?;
                    self.nodes[object] = built;
                }
                other => {
                    return Err(self.bad(format!("the instruction 0x{other:02x}, which arrays do not need")));
                }
            }
        }
    }

    fn items(&self, node: usize) -> Option<Vec<&Node>> {
        let Node::Tuple(items) = &self.nodes[node] else { return None };
        Some(items.iter().map(|&item| &self.nodes[item]).collect())
    }

    fn shape(&self, node: &Node) -> Option<Vec<usize>> {
        let Node::Tuple(items) = node else { return None };
        let length = |&item: &usize| {
            if let Node::Int(n) = self.nodes[item] { usize::try_from(n).ok() } else { None }
        };
        if items.len() > 32 { None } else { items.iter().map(length).collect() }
    }

    fn call(&self, function: usize, arguments: usize) -> Result<Node, PickleError> {
        let Node::Function(function) = self.nodes[function] else {
            return Err(self.bad("something is called that is no function"));
        };
        let arguments = self.items(arguments).unwrap_or_default();
        match (function, &arguments[..]) {
            // The class, a shape that is replaced later, a type that is replaced later.
            (Function::Reconstruct, [Node::Function(Function::Array), _, _]) => Ok(Node::Array(None)),
            (Function::DType, [name, ..]) => {
                let name = text(name).ok_or_else(|| self.bad("a type of numbers without a name"))?;
                Ok(Node::DType(name))
            }
            (Function::FromBuffer, [Node::Bytes(data), Node::DType(element), shape, order]) => {
                let shape = self.shape(shape).ok_or_else(|| self.bad("an array without a shape"))?;
                let fortran = text(order).as_deref() == Some("F");
                let (element, data) = (element.clone(), data.clone());
                Ok(Node::Array(Some(PickledArray { shape, element, fortran, data })))
            }
            (Function::Reconstruct | Function::FromBuffer | Function::Array | Function::DType, _) => {
                Err(self.bad("a function of NumPy is called as NumPy itself does not"))
            }
        }
    }

    fn build(&self, object: usize, state: usize) -> Result<Node, PickleError> {
        let state = self.items(state).unwrap_or_default();
        match (&self.nodes[object], &state[..]) {
            // Version, shape, type, order, values.
            (Node::Array(_), [Node::Int(_), shape, Node::DType(element), order, Node::Bytes(data)]) => {
                let shape = self.shape(shape).ok_or_else(|| self.bad("an array without a shape"))?;
                let fortran = matches!(order, Node::Bool(true) | Node::Int(1));
                let (element, data) = (element.clone(), data.clone());
                Ok(Node::Array(Some(PickledArray { shape, element, fortran, data })))
            }
            // Version, order of bytes, and what only structures have.
            (Node::DType(name), [Node::Int(_), order, ..]) => {
                let order = text(order).ok_or_else(|| self.bad("a type of numbers without an order"))?;
                let wide = matches!(order.as_str(), "<" | ">");
                Ok(Node::DType(if wide { format!("{order}{name}") } else { name.clone() }))
            }
            (_, _) => Err(self.bad("an array of something else than numbers")),
        }
    }
}

/// A whole number of up to eight bytes, little-endian, in two's complement.
fn long(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > 8 {
        return None;
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn complaint(bytes: &[u8]) -> String {
        Pickle::read(Cursor::new(bytes)).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn nothing_but_arrays_can_be_named() {
        let said = complaint(b"cos\nsystem\n(S'true'\ntR.");
        assert!(said.contains("`os.system`") && said.contains("at byte 11"), "{said}");
        // The same by protocol 4.
        let said = complaint(b"\x80\x04\x8c\x02os\x8c\x06system\x93.");
        assert!(said.contains("`os.system`"), "{said}");
        let said = complaint(b"\x80\x02cnumpy\ndtype\n.x");
        assert_eq!(said, "", "the name alone does no harm");
    }

    #[test]
    fn hostile_programs_end_in_errors() {
        for (bytes, part) in [
            (&b"\x80\x02B\xff\xff\xff\xff."[..], "4294967295 bytes are announced, and 1 are left"),
            (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "are announced"),
            (b"\x80\x04\x8d\x00\x00\x00\x00\x01\x00\x00\x00", "a text of 4294967296 bytes"),
            (b"\x80\x09.", "protocol 9"),
            (b"", "cut off"),
            (b"\x80\x02]", "cut off"),
            (b".", "a value is missing"),
            (b"N(.", "a value is missing"),
            (b"t.", "a mark is missing"),
            (b"h\x05.", "never there"),
            (b"Nr\xff\xff\xff\xff.", "beyond all values"),
            (b"NNa.", "no list"),
            (b"N(NNu.", "no dictionary"),
            (b"}(Nu.", "without a value"),
            (b"NNR.", "no function"),
            (b"cnumpy\nndarray\n)R.", "as NumPy itself does not"),
            (b"NNb.", "something else than numbers"),
            (b"P1\n.", "0x50"),
            (b"I1e9\n.", "no whole number"),
            (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.", "64 bits"),
        ] {
            let said = complaint(bytes);
            assert!(said.contains(part), "{bytes:?}: {said}");
        }
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        let program = b"\x80\x02}U\x01aq\x00](K\x07M\x01\x01J\xff\xff\xff\xff\x8a\x02\x00\x80I-5\nes.";
        let pickle = Pickle::read(Cursor::new(program)).unwrap();
        assert_eq!(pickle.integers("a"), Some(vec![7, 257, -1, -32_768, -5]));
        assert_eq!((pickle.integers("b"), pickle.texts("a")), (None, None));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Pickle::read(Cursor::new(bytes));
        }
    }
}
