//! Reading from a part of a file, with the position always known and every length compared with what is left.

use crate::ImportError;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

/// A file, or bytes in memory.
pub(crate) trait Source: Read + Seek + Send {}

impl<T: Read + Seek + Send> Source for T {}

/// Consecutive bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// A reader of one span.
pub(crate) struct Input<'a> {
    reader: BufReader<&'a mut dyn Source>,
    at: u64,
    end: u64,
}

impl<'a> Input<'a> {
    pub(crate) fn new(source: &'a mut dyn Source, span: Span) -> Result<Self, ImportError> {
        source.seek(SeekFrom::Start(span.start))?;
        Ok(Self { reader: BufReader::new(source), at: span.start, end: span.start + span.len })
    }

    /// Position in the file.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes up to the end of the span.
    pub(crate) fn left(&self) -> u64 {
        self.end - self.at
    }

    fn take(&mut self, wanted: u64) -> Result<(), ImportError> {
        if wanted > self.left() {
            return Err(ImportError::Truncated { at: self.at, wanted, left: self.left() });
        }
        self.at += wanted;
        Ok(())
    }

    /// Fills `out`.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<(), ImportError> {
        self.take(out.len() as u64)?;
        Ok(self.reader.read_exact(out)?)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ImportError> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, ImportError> {
        Ok(self.array::<1>()?[0])
    }

    /// `len` bytes; nothing is allocated for bytes that are not there.
    pub(crate) fn bytes(&mut self, len: u64) -> Result<Vec<u8>, ImportError> {
        self.take(len)?;
        let mut out = vec![0; len as usize];
        self.reader.read_exact(&mut out)?;
        Ok(out)
    }

    /// Leaves `len` bytes where they are and says where.
    pub(crate) fn skip(&mut self, len: u64) -> Result<Span, ImportError> {
        let start = self.at;
        self.take(len)?;
        self.reader.seek_relative(
            i64::try_from(len).map_err(|_| ImportError::malformed(start, "a length beyond 2^63"))?,
        )?;
        Ok(Span { start, len })
    }

    /// The text up to the next line feed, which is read and left out.
    pub(crate) fn line(&mut self, limit: u64) -> Result<String, ImportError> {
        let start = self.at;
        let mut line = Vec::new();
        (&mut self.reader).take(self.end - start).take(limit).read_until(b'\n', &mut line)?;
        self.at += line.len() as u64;
        match line.pop() {
            Some(b'\n') => {
                String::from_utf8(line).map_err(|_| ImportError::malformed(start, "a line is not UTF-8"))
            }
            Some(_) | None => Err(ImportError::malformed(start, "a line has no end")),
        }
    }
}
