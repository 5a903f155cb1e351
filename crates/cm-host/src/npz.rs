//! Arrays in NumPy's `.npz`: a ZIP archive of uncompressed `.npy` files (NumPy Enhancement Proposal 1; PKWARE's
//! APPNOTE 6.3.10, sections 4.3 and 4.5.3).
//!
//! Written as the data come, so an archive of any size takes no memory; beyond 4 GiB it has the fields of ZIP64. Equal
//! arrays give equal bytes: no clock is read. Deliberately absent: compression, and
//! reading.

use crc32fast::Hasher;
use std::io::{self, Seek, SeekFrom, Write};

/// Sizes and offsets from here on stand in the fields of ZIP64.
const WIDE: u64 = 0xFFFF_FFFF;
/// The day of the archive's files: 1 January 1980, the first that ZIP knows.
const DATE: u16 = 0x0021;
/// Bytes before an entry's checksum in its local header.
const BEFORE_CHECKSUM: u64 = 14;

/// What an array's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Bytes.
    U8,
    /// 64-bit integers, little-endian.
    I64,
    /// Double precision, little-endian.
    F64,
    /// Single precision, little-endian.
    F32,
}

impl Element {
    fn descriptor(self) -> &'static str {
        match self {
            Self::U8 => "|u1",
            Self::I64 => "<i8",
            Self::F64 => "<f8",
            Self::F32 => "<f4",
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::I64 | Self::F64 => 8,
            Self::F32 => 4,
        }
    }
}

/// An archive that is being written.
pub struct NpzWriter<W: Write + Seek> {
    out: W,
    entries: Vec<Entry>,
    /// Bytes written so far.
    at: u64,
}

struct Entry {
    name: String,
    size: u64,
    offset: u64,
    checksum: u32,
}

/// An array of an archive: bytes are written to it until it is full.
pub struct ArrayWriter<'a, W: Write + Seek> {
    archive: &'a mut NpzWriter<W>,
    hasher: Hasher,
    left: u64,
}

impl<W: Write + Seek> NpzWriter<W> {
    /// An empty archive.
    pub fn new(out: W) -> Self {
        Self { out, entries: Vec::new(), at: 0 }
    }

    /// Begins the array `name` of `shape`, in row-major order.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn array(&mut self, name: &str, element: Element, shape: &[usize]) -> io::Result<ArrayWriter<'_, W>> {
        let header = npy_header(element, shape);
        let data = shape.iter().map(|&n| n as u64).product::<u64>() * element.bytes();
        let name = format!("{name}.npy");
        let entry = Entry { name, size: header.len() as u64 + data, offset: self.at, checksum: 0 };
        let local = entry.local_header();
        self.put(&local)?;
        self.entries.push(entry);
        let mut array =
            ArrayWriter { archive: self, hasher: Hasher::new(), left: data + header.len() as u64 };
        array.write(&header)?;
        Ok(array)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Writes the directory and gives the file back.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn finish(mut self) -> io::Result<W> {
        let start = self.at;
        let directory: Vec<u8> = self.entries.iter().flat_map(Entry::directory_entry).collect();
        self.put(&directory)?;
        let (count, size) = (self.entries.len() as u64, directory.len() as u64);
        let end = self.at;
        if start >= WIDE {
            let mut wide = Bytes::default();
            // The end of the directory with wide fields: its own length after this field, versions, disks.
            wide.u32(0x0606_4b50).u64(44).u16(45).u16(45).u32(0).u32(0);
            wide.u64(count).u64(count).u64(size).u64(start);
            // Where it is.
            wide.u32(0x0706_4b50).u32(0).u64(end).u32(1);
            self.put(&wide.0)?;
        }
        let mut last = Bytes::default();
        last.u32(0x0605_4b50).u16(0).u16(0).u16(count as u16).u16(count as u16);
        last.u32(size as u32).u32(start.min(WIDE) as u32).u16(0);
        self.put(&last.0)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write + Seek> ArrayWriter<'_, W> {
    /// The next bytes of the array.
    ///
    /// # Errors
    /// If they are more than the array holds, or whatever the file system answers.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("more values than the array was announced with"))?;
        self.hasher.update(bytes);
        self.archive.put(bytes)
    }

    /// Ends the array.
    ///
    /// # Errors
    /// If values are missing, or whatever the file system answers.
    pub fn finish(self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("fewer values than the array was announced with"));
        }
        let archive = self.archive;
        let entry = archive.entries.last_mut().expect("this array is one");
        entry.checksum = self.hasher.finalize();
        let checksum = entry.checksum.to_le_bytes();
        archive.out.seek(SeekFrom::Start(entry.offset + BEFORE_CHECKSUM))?;
        archive.out.write_all(&checksum)?;
        archive.out.seek(SeekFrom::Start(archive.at))?;
        Ok(())
    }
}

impl Entry {
    /// The fields that local header and directory have in common, from the version to the length of the extra field.
    fn common(&self, extra: usize) -> Bytes {
        let mut bytes = Bytes::default();
        let size = self.size.min(WIDE) as u32;
        // Version needed, flags, stored, time, date.
        bytes
            .u16(if self.size >= WIDE || self.offset >= WIDE { 45 } else { 20 })
            .u16(0)
            .u16(0)
            .u16(0)
            .u16(DATE);
        bytes.u32(self.checksum).u32(size).u32(size).u16(self.name.len() as u16).u16(extra as u16);
        bytes
    }

    fn local_header(&self) -> Vec<u8> {
        let mut extra = Bytes::default();
        if self.size >= WIDE {
            extra.u16(1).u16(16).u64(self.size).u64(self.size);
        }
        let mut bytes = Bytes::default();
        bytes.u32(0x0403_4b50);
        [bytes.0, self.common(extra.0.len()).0, self.name.clone().into_bytes(), extra.0].concat()
    }

    fn directory_entry(&self) -> Vec<u8> {
        let mut wide = Bytes::default();
        if self.size >= WIDE {
            wide.u64(self.size).u64(self.size);
        }
        if self.offset >= WIDE {
            wide.u64(self.offset);
        }
        let mut extra = Bytes::default();
        if !wide.0.is_empty() {
            extra.u16(1).u16(wide.0.len() as u16).0.extend(wide.0);
        }
        let mut bytes = Bytes::default();
        // The version that made it: 2.0, on no system in particular.
        bytes.u32(0x0201_4b50).u16(20).0.extend(self.common(extra.0.len()).0);
        // No comment, disk 0, attributes, place.
        bytes.u16(0).u16(0).u16(0).u32(0).u32(self.offset.min(WIDE) as u32);
        [bytes.0, self.name.clone().into_bytes(), extra.0].concat()
    }
}

/// The header of a `.npy` file, version 1.0: a Python dictionary, padded so that the data begin at a multiple of 64.
fn npy_header(element: Element, shape: &[usize]) -> Vec<u8> {
    let lengths: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let descriptor = element.descriptor();
    let mut text =
        format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({}), }}", lengths.trim_end());
    let before = b"\x93NUMPY\x01\x00".len() + 2;
    while !(before + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    [b"\x93NUMPY\x01\x00".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

/// Little-endian numbers one after the other.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let mut archive = NpzWriter::new(Cursor::new(Vec::new()));
        let mut array = archive.array("a", Element::U8, &[9]).unwrap();
        array.write(b"1234").unwrap();
        array.write(b"56789").unwrap();
        array.finish().unwrap();
        let bytes = archive.finish().unwrap().into_inner();
        // Local header of 30 bytes, name of 5, npy header of 128, data of 9, directory entry of 46 + 5, end of 22.
        assert_eq!(bytes.len(), 30 + 5 + 128 + 9 + 46 + 5 + 22);
        assert_eq!(bytes[..10], [b'P', b'K', 3, 4, 20, 0, 0, 0, 0, 0]);
        let npy = &bytes[35..35 + 137];
        assert_eq!(npy[..10], *b"\x93NUMPY\x01\x00\x76\x00");
        assert!(npy[10..].starts_with(b"{'descr': '|u1', 'fortran_order': False, 'shape': (9,), } "));
        assert_eq!(npy[127..], *b"\n123456789");
        let checksum = crc32fast::hash(npy).to_le_bytes();
        assert_eq!(bytes[14..18], checksum);
        let directory = &bytes[172..];
        assert_eq!((&directory[..4], &directory[16..20]), (b"PK\x01\x02".as_slice(), checksum.as_slice()));
        assert_eq!(directory[46..51], *b"a.npy");
        let end = &directory[51..];
        assert_eq!((&end[..4], end[10], end[12], end[16]), (b"PK\x05\x06".as_slice(), 1, 51, 172));
    }

    #[test]
    fn shapes_are_python_tuples_and_data_begin_at_a_multiple_of_64() {
        for (shape, text) in [(&[][..], "()"), (&[3], "(3,)"), (&[50_000, 32, 32, 3], "(50000, 32, 32, 3,)")]
        {
            let header = npy_header(Element::I64, shape);
            assert!(header.len().is_multiple_of(64));
            let text = format!("'<i8', 'fortran_order': False, 'shape': {text}, }}");
            assert!(String::from_utf8_lossy(&header).contains(&text), "{header:?}");
        }
    }

    #[test]
    fn an_array_takes_as_much_as_was_announced() {
        let mut archive = NpzWriter::new(Cursor::new(Vec::new()));
        let mut array = archive.array("a", Element::I64, &[1]).unwrap();
        array.write(&[0; 7]).unwrap();
        assert!(array.write(&[0; 2]).is_err());
        let mut short = archive.array("b", Element::I64, &[1]).unwrap();
        short.write(&[0; 7]).unwrap();
        assert!(short.finish().is_err());
    }

    #[test]
    fn beyond_4_gib_the_fields_are_wide() {
        let size = 5_000_000_000;
        let entry = Entry { name: "a.npy".into(), size, offset: 4_999_999_999, checksum: 7 };
        let local = entry.local_header();
        assert_eq!((local.len(), &local[18..26]), (30 + 5 + 20, [255; 8].as_slice()));
        assert_eq!(local[39..47], size.to_le_bytes());
        let directory = entry.directory_entry();
        assert_eq!(directory.len(), 46 + 5 + 4 + 24);
        assert_eq!(directory[46 + 5..46 + 9], [1, 0, 24, 0]);
        assert_eq!(directory[71..], 4_999_999_999u64.to_le_bytes());
        // The end of the archive, as if that much had been written.
        let archive = NpzWriter { out: Cursor::new(Vec::new()), entries: vec![entry], at: 10_000_000_000 };
        let bytes = archive.finish().unwrap().into_inner();
        assert_eq!(bytes.len(), 79 + 56 + 20 + 22);
        assert_eq!(bytes[79..83], *b"PK\x06\x06");
        assert_eq!(bytes[79 + 48..79 + 56], 10_000_000_000u64.to_le_bytes());
        assert_eq!(bytes[135..139], *b"PK\x06\x07");
        assert_eq!(bytes[143..151], 10_000_000_079u64.to_le_bytes());
    }
}
