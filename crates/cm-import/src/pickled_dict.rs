//! A pickle that is a dictionary of arrays and lists, as the batches of some data sets are.

use crate::dtype::Dtype;
use crate::error::ImportError;
use crate::input::{Input, Span};
use crate::pickle::{self, Blob, Node, Pickle};
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

/// The dictionary; the values of its arrays stay in the file.
pub struct PickledDict(Pickle);

/// One of its arrays, without the values unless they are few.
#[derive(Clone, Debug)]
pub struct PickledArray {
    /// What its values are.
    pub dtype: Dtype,
    /// Whether their bytes lie in the order of big-endian machines.
    pub big_endian: bool,
    /// Whether the first index runs fastest.
    pub fortran: bool,
    /// Its extents.
    pub shape: Vec<usize>,
    bytes: Blob,
}

impl PickledDict {
    /// Reads a pickle that begins where `file` does. A file is not trusted: see the [crate](crate).
    ///
    /// # Errors
    /// [`ImportError`] if it cannot be read, is no pickle, or asks for something that is not built here.
    pub fn read(file: &mut (impl Read + Seek + Send)) -> Result<Self, ImportError> {
        let len = file.seek(SeekFrom::End(0))?;
        let mut input = Input::new(file, Span { start: 0, len })?;
        pickle::read(&mut input).map(Self)
    }

    /// The entry of this name, which may be text or bytes; the last of several, as in Python.
    fn entry(&self, name: &str) -> Option<&Node> {
        let Node::Dict(entries) = self.0.root() else { return None };
        let found = entries.iter().rev().find(|&&(key, _)| self.0.text(key).as_deref() == Some(name));
        found.map(|&(_, value)| self.0.node(value))
    }

    /// The array of this name.
    pub fn array(&self, name: &str) -> Option<PickledArray> {
        let Node::Array { data: Some((shape, element, fortran, bytes)) } = self.entry(name)? else {
            return None;
        };
        let (Node::Element { dtype, big_endian }, Node::Bytes(bytes)) =
            (self.0.node(*element), self.0.node(*bytes))
        else {
            return None;
        };
        let shape = shape.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<usize>>>()?;
        let (dtype, big_endian, fortran, bytes) = (*dtype, *big_endian, *fortran, bytes.clone());
        Some(PickledArray { dtype, big_endian, fortran, shape, bytes })
    }

    /// The list of whole numbers of this name; `None` if there is no list, or it holds something else.
    pub fn integers(&self, name: &str) -> Option<Vec<i64>> {
        let Node::List(items) = self.entry(name)? else { return None };
        let integer =
            |&item| if let Node::Int(n) = self.0.node(item) { i64::try_from(*n).ok() } else { None };
        items.iter().map(integer).collect()
    }

    /// The list of texts of this name; `None` if there is no list, or it holds something else.
    pub fn texts(&self, name: &str) -> Option<Vec<String>> {
        let Node::List(items) = self.entry(name)? else { return None };
        items.iter().map(|&item| self.0.text(item)).collect()
    }
}

impl PickledArray {
    /// The number of its bytes, whatever its shape says.
    pub fn bytes(&self) -> u64 {
        match &self.bytes {
            Blob::Here(bytes) => bytes.len() as u64,
            Blob::InFile(span) => span.len,
        }
    }

    /// Its bytes one after the other, from the file that it was read from.
    ///
    /// # Errors
    /// If `file` cannot be read from where they lie.
    pub fn reader<'a>(&self, file: &'a mut (impl Read + Seek)) -> io::Result<Box<dyn Read + 'a>> {
        match &self.bytes {
            Blob::Here(bytes) => Ok(Box::new(io::Cursor::new(Arc::clone(bytes)))),
            Blob::InFile(span) => {
                file.seek(SeekFrom::Start(span.start))?;
                Ok(Box::new(file.take(span.len)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn read(bytes: &[u8]) -> Result<PickledDict, ImportError> {
        PickledDict::read(&mut Cursor::new(bytes))
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        let program = b"\x80\x02}U\x01aq\x00](K\x07M\x01\x01J\xff\xff\xff\xff\x8a\x02\x00\x80I-5\nes.";
        let pickle = read(program).unwrap();
        assert_eq!(pickle.integers("a"), Some(vec![7, 257, -1, -32_768, -5]));
        assert_eq!((pickle.integers("b"), pickle.texts("a")), (None, None));
        assert!(pickle.array("a").is_none());
        // Beyond 64 bits.
        let pickle = read(b"\x80\x02}U\x01a](\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01es.").unwrap();
        assert_eq!(pickle.integers("a"), None);
    }

    #[test]
    fn hostile_programs_end_in_errors() {
        for (bytes, part) in [
            (&b"cos\nsystem\n(S'true'\ntR."[..], "`os.system`"),
            (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "`os.system`"),
            (b"\x80\x02B\xff\xff\xff\xff.", "4294967295 bytes are needed"),
            (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "are needed"),
            (b"\x80\x04\x8d\x00\x00\x00\x00\x01\x00\x00\x00", "a length of texts of 4294967296"),
            (b"", "cut short"),
            (b"\x80\x02]", "cut short"),
            (b".", "empty stack"),
            (b"N(.", "empty stack"),
            (b"t.", "no mark"),
            (b"h\x05.", "not remembered"),
            (b"NNa.", "no list"),
            (b"N(NNu.", "no dictionary"),
            (b"}(Nu.", "without a value"),
            (b"N)R.", "no function"),
            (b"cnumpy\nndarray\n)R.", "a call of a type"),
            (b"NNb.", "what has none"),
            (b"I1e9\n.", "not a number"),
        ] {
            let said = read(bytes).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(part), "{bytes:?}: {said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
