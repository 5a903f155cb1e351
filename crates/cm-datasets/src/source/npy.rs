//! Arrays in NumPy's `.npy` and `.npz` files (NumPy Enhancement Proposal 1), read row after row.
//!
//! The header says how many bytes there must be, and no more than a row of them is held. Deliberately absent: arrays
//! of objects (they are pickles), Fortran order, numbers other than whole ones.

use std::io::{self, Read};

/// Bytes of a header; NumPy itself reads no more than 10,000.
const MAX_HEADER: u32 = 10_000;

/// Why an array cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NpyError {
    #[error("{0}")]
    Header(String),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("row {row} of {rows} is cut off")]
    CutOff { row: usize, rows: usize },
    #[error("bytes follow the array, which has {0} rows")]
    Longer(usize),
}

/// Whole numbers of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    bytes: usize,
    signed: bool,
    big: bool,
}

impl Element {
    /// Bytes as they are.
    pub(crate) const U8: Self = Self { bytes: 1, signed: false, big: false };

    /// Numbers of 1, 2, 4 or 8 bytes.
    pub(crate) fn new(bytes: usize, signed: bool, big: bool) -> Self {
        Self { bytes, signed, big }
    }

    /// What a description such as `<i8` or `|u1` says.
    pub(crate) fn of(description: &str) -> Option<Self> {
        let (order, kind) = match description.strip_prefix(['<', '>', '|', '=']) {
            Some(kind) => (description.chars().next().unwrap_or('='), kind),
            None => ('=', description),
        };
        let (signed, bytes) = match kind {
            "u1" | "b1" => (false, 1),
            "u2" => (false, 2),
            "u4" => (false, 4),
            "u8" => (false, 8),
            "i1" => (true, 1),
            "i2" => (true, 2),
            "i4" => (true, 4),
            "i8" => (true, 8),
            _ => return None, // the text of a file, not a choice of ours
        };
        // Without an order it is that of the machine that wrote it: those are little-endian.
        Some(Self { bytes, signed, big: order == '>' })
    }

    /// Bytes of one number.
    pub(crate) fn bytes(self) -> usize {
        self.bytes
    }

    /// The number in these bytes; `None` beyond 63 bits.
    pub(crate) fn value(self, bytes: &[u8]) -> Option<i64> {
        let digit = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        let value = if self.big { bytes.iter().fold(0, digit) } else { bytes.iter().rev().fold(0, digit) };
        let unused = 64 - 8 * self.bytes as u32;
        if self.signed { Some((value << unused) as i64 >> unused) } else { i64::try_from(value).ok() }
    }
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) element: Element,
    pub(crate) shape: Vec<usize>,
}

impl Header {
    /// Reads the header of a `.npy` file.
    pub(crate) fn read(input: &mut impl Read) -> Result<Self, NpyError> {
        let mut start = [0; 8];
        input.read_exact(&mut start)?;
        if &start[..6] != b"\x93NUMPY" {
            return Err(NpyError::Header("it does not begin as a .npy file".into()));
        }
        let len = match start[6] {
            1 => {
                let mut len = [0; 2];
                input.read_exact(&mut len)?;
                u32::from(u16::from_le_bytes(len))
            }
            2 | 3 => {
                let mut len = [0; 4];
                input.read_exact(&mut len)?;
                u32::from_le_bytes(len)
            }
            version => return Err(NpyError::Header(format!("version {version}, and 1 to 3 are known"))),
        };
        if len > MAX_HEADER {
            return Err(NpyError::Header(format!(
                "a header of {len} bytes, and at most {MAX_HEADER} are read"
            )));
        }
        let mut text = vec![0; len as usize];
        input.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let header = Self::parse(&text);
        header.map_err(|what| NpyError::Header(format!("{what} in the header {:?}", text.trim_end())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value = |key: &str| {
            let after = text.split_once(&format!("'{key}'")).ok_or(format!("no '{key}'"))?.1;
            let after = after.trim_start().strip_prefix(':').ok_or(format!("no value of '{key}'"))?;
            Ok::<&str, String>(after.trim_start())
        };
        let description = value("descr")?;
        let description = description.strip_prefix('\'').and_then(|d| d.split_once('\'')).map(|(d, _)| d);
        let description = description.ok_or("no plain type of numbers")?;
        let element = Element::of(description)
            .ok_or_else(|| format!("numbers of type '{description}', and whole ones (u1 to i8) are read"))?;
        if !value("fortran_order")?.starts_with("False") {
            return Err("Fortran order".into());
        }
        let shape = value("shape")?.strip_prefix('(').and_then(|s| s.split_once(')')).map(|(s, _)| s);
        let lengths = shape.ok_or("no shape")?.split(',').map(str::trim).filter(|length| !length.is_empty());
        let shape: Result<Vec<usize>, String> =
            lengths.map(|l| l.parse().map_err(|_| format!("the length '{l}'"))).collect();
        let shape = shape?;
        let bytes = shape.iter().try_fold(element.bytes, |bytes, &length| bytes.checked_mul(length));
        match bytes {
            Some(bytes) if bytes <= isize::MAX as usize => Ok(Self { element, shape }),
            Some(_) | None => Err(format!("the shape {shape:?}, which no memory holds,")),
        }
    }

    /// The length of the first dimension.
    pub(crate) fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Bytes of one row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.element.bytes * self.shape.get(1..).unwrap_or_default().iter().product::<usize>()
    }

    /// Hands over row after row of what follows the header, and finds out that nothing follows them.
    pub(crate) fn each_row<E: From<NpyError>>(
        &self,
        input: &mut impl Read,
        mut row: impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let rows = self.rows();
        let mut bytes = Vec::new();
        for index in 0..rows {
            bytes.clear();
            // A header may announce rows that no file has: memory is taken as the bytes come.
            let wanted = self.row_bytes() as u64;
            let read = (&mut *input).take(wanted).read_to_end(&mut bytes).map_err(NpyError::Io)?;
            if (read as u64) < wanted {
                return Err(NpyError::CutOff { row: index, rows }.into());
            }
            row(index, &bytes)?;
        }
        // The end of an entry of an archive is also where its checksum is compared.
        match input.read(&mut [0]).map_err(NpyError::Io)? {
            0 => Ok(()),
            _ => Err(NpyError::Longer(rows).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let len = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
    }

    fn rows(file: &[u8]) -> Result<Vec<Vec<u8>>, NpyError> {
        let mut input = file;
        let header = Header::read(&mut input)?;
        let mut rows = Vec::new();
        header.each_row::<NpyError>(&mut input, |_, row| {
            rows.push(row.to_vec());
            Ok(())
        })?;
        Ok(rows)
    }

    const HEADER: &str = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }\n";

    #[test]
    fn rows_come_one_after_the_other() {
        assert_eq!(rows(&npy(HEADER, b"abcdef")).unwrap(), [b"abc", b"def"]);
        let labels = HEADER.replace("|u1", "<i8").replace("(2, 3)", "(1,)");
        assert_eq!(rows(&npy(&labels, &7i64.to_le_bytes())).unwrap(), [7i64.to_le_bytes()]);
    }

    #[test]
    fn numbers_of_every_kind_are_understood() {
        let value = |kind: &str, bytes: &[u8]| Element::of(kind).unwrap().value(bytes);
        assert_eq!(value("|u1", &[200]), Some(200));
        assert_eq!(value("|i1", &[200]), Some(-56));
        assert_eq!(value("<i2", &[1, 2]), Some(513));
        assert_eq!(value(">i2", &[1, 2]), Some(258));
        assert_eq!(value("<i8", &(-3i64).to_le_bytes()), Some(-3));
        assert_eq!(value("<u8", &[255; 8]), None);
        assert_eq!((Element::of("<f4"), Element::of("|O")), (None, None));
    }

    #[test]
    fn damage_is_named() {
        for (file, part) in [
            (npy(HEADER, b"abcde"), "row 1 of 2 is cut off"),
            (npy(HEADER, b"abcdefg"), "bytes follow the array"),
            (npy(&HEADER.replace("|u1", "<f4"), b""), "type '<f4'"),
            (npy(&HEADER.replace("|u1", "|O"), b""), "type '|O'"),
            (npy(&HEADER.replace("False", "True"), b""), "Fortran"),
            (npy(&HEADER.replace("(2, 3)", "(-2, 3)"), b""), "'-2'"),
            (npy(&HEADER.replace("(2, 3)", "(9999999999, 9999999999)"), b""), "no memory holds"),
            // Announced, but not there: an error, and no memory taken for it.
            (npy(&HEADER.replace("(2, 3)", "(1, 9999999999999)"), b"abc"), "row 0 of 1 is cut off"),
            (npy("{}", b""), "no 'descr'"),
            (b"GIF89a..".to_vec(), "does not begin"),
            (b"\x93NUMPY\x07\x00".to_vec(), "version 7"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "a header of 4294967295 bytes"),
        ] {
            let said = rows(&file).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = rows(&bytes);
            let _ = rows(&npy(&String::from_utf8_lossy(&bytes), &[]));
        }
    }
}
