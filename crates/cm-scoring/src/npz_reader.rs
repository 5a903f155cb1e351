//! Arrays out of NumPy's `.npz`: a ZIP archive of `.npy` files, stored or deflated (`np.savez`, `np.savez_compressed`).
//!
//! An array is read from its front to its end and never held whole unless asked for. Deliberately absent: Python objects
//! and structured types, which are refused.

use flate2::read::DeflateDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use zip::{CompressionMethod, ZipArchive};

/// Bytes of an array's header that are read at most; NumPy's own are below a kilobyte.
const MAX_HEADER: usize = 1 << 16;
/// Values of an array that is read whole, at most: covariances of 16,384 features.
const MAX_VALUES: usize = 1 << 28;

/// Why an array cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NpzError {
    /// The file system's answer.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not a ZIP archive, or a damaged one.
    #[error("not a whole npz file: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// There is no such array.
    #[error("it has no array `{wanted}`, only {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })]
    NoArray {
        /// The name asked for.
        wanted: String,
        /// The names there are.
        names: Vec<String>,
    },
    /// The array is not what was expected.
    #[error("array `{name}`: {reason}")]
    Array {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// An archive of arrays.
pub(crate) struct NpzReader {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
}

/// What numbers an array holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NpyElement {
    /// Bytes.
    U8,
    /// 64-bit integers, little-endian.
    I64,
    /// Single precision, little-endian.
    F32,
    /// Double precision, little-endian.
    F64,
}

impl NpyElement {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

/// An array whose header was read, and whose values come next.
pub(crate) struct NpyStream {
    /// Its name, for messages.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) element: NpyElement,
    /// Its extents.
    pub(crate) shape: Vec<usize>,
    /// Whether the first index varies fastest.
    pub(crate) fortran_order: bool,
    reader: Box<dyn Read>,
}

impl NpzReader {
    /// Reads the archive's directory.
    ///
    /// # Errors
    /// [`NpzError`] if there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, NpzError> {
        let archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
        Ok(Self { path: path.to_owned(), archive })
    }

    /// The arrays' names.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .archive
            .file_names()
            .filter_map(|name| Some(name.ok()?.strip_suffix(".npy")?.to_owned()))
            .collect();
        names.sort_unstable();
        names
    }

    /// Whether there is such an array.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(&format!("{name}.npy")).is_some()
    }

    /// Opens an array.
    ///
    /// # Errors
    /// [`NpzError`] if there is none, or its header is not one that NumPy writes for plain numbers.
    pub(crate) fn array(&mut self, name: &str) -> Result<NpyStream, NpzError> {
        let Some(index) = self.archive.index_for_name(&format!("{name}.npy")) else {
            return Err(NpzError::NoArray { wanted: name.to_owned(), names: self.names() });
        };
        let array = |reason: String| NpzError::Array { name: name.to_owned(), reason };
        let entry = self.archive.by_index_raw(index)?;
        let (start, packed, size) =
            (entry.data_start().unwrap_or_default(), entry.compressed_size(), entry.size());
        let method = entry.compression();
        drop(entry);
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(start))?;
        let raw = BufReader::new(file).take(packed);
        let mut reader: Box<dyn Read> = match method {
            CompressionMethod::Stored => Box::new(raw),
            // A compressed stream that expands beyond what was announced is cut off there.
            CompressionMethod::Deflated => Box::new(BufReader::new(DeflateDecoder::new(raw)).take(size)),
            other => {
                return Err(array(format!("compressed by {other}, but only stored and deflated are read")));
            }
        };
        let (header, header_len) = read_header(&mut reader).map_err(&array)?;
        let (element, fortran_order, shape) = parse_header(&header).map_err(&array)?;
        let announced = shape.iter().try_fold(element.bytes(), |product, &n| product.checked_mul(n));
        let there = size.saturating_sub(header_len as u64);
        if announced.map(|bytes| bytes as u64) != Some(there) {
            return Err(array(format!("{shape:?} values of {element:?} do not make its {there} bytes")));
        }
        Ok(NpyStream { name: name.to_owned(), element, shape, fortran_order, reader })
    }

    /// A whole array of numbers in double precision, row by row, with its extents.
    ///
    /// # Errors
    /// [`NpzError`] if it is none, or too large to be meant.
    pub(crate) fn values(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f64>), NpzError> {
        let mut stream = self.array(name)?;
        let array = |reason: String| NpzError::Array { name: name.to_owned(), reason };
        let count: usize = stream.shape.iter().product();
        if count > MAX_VALUES {
            return Err(array(format!("{count} values, but at most {MAX_VALUES} are read at once")));
        }
        let mut values = Vec::new();
        // Piece by piece, so that a file that ends early costs no more memory than it holds.
        let mut buffer = vec![0; stream.element.bytes() << 14];
        while values.len() < count {
            let part = (count - values.len()).min(1 << 14) * stream.element.bytes();
            stream.read(&mut buffer[..part])?;
            decode(stream.element, &buffer[..part], &mut values);
        }
        if stream.fortran_order && stream.shape.len() > 1 {
            let [rows, columns] = *stream.shape.as_slice() else {
                return Err(array(
                    "the first index varies fastest, which is read of matrices only".to_owned(),
                ));
            };
            values = (0..count).map(|at| values[at % columns * rows + at / columns]).collect();
        }
        Ok((stream.shape, values))
    }
}

impl NpyStream {
    /// Fills `bytes` with the next of the array.
    ///
    /// # Errors
    /// [`NpzError::Array`] if the file ends before, or is damaged.
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> Result<(), NpzError> {
        self.reader.read_exact(bytes).map_err(|error| NpzError::Array {
            name: self.name.clone(),
            reason: format!("it cannot be read to its end: {error}"),
        })
    }
}

fn decode(element: NpyElement, bytes: &[u8], values: &mut Vec<f64>) {
    let words = |size: usize| bytes.chunks_exact(size);
    let eight = |b: &[u8]| -> [u8; 8] { b.try_into().expect("pieces of eight") };
    match element {
        NpyElement::U8 => values.extend(bytes.iter().map(|&byte| f64::from(byte))),
        NpyElement::I64 => values.extend(words(8).map(|b| i64::from_le_bytes(eight(b)) as f64)),
        NpyElement::F32 => {
            values.extend(
                words(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("pieces of four")))),
            );
        }
        NpyElement::F64 => values.extend(words(8).map(|b| f64::from_le_bytes(eight(b)))),
    }
}

/// The Python dictionary at the front, and how many bytes it takes with what is around it.
fn read_header(reader: &mut dyn Read) -> Result<(String, usize), String> {
    let mut front = [0; 8];
    let cut = |error: io::Error| format!("its header cannot be read: {error}");
    reader.read_exact(&mut front).map_err(cut)?;
    if !front.starts_with(b"\x93NUMPY") {
        return Err("it does not begin as NumPy's arrays do".to_owned());
    }
    let (len, before) = match front[6] {
        1 => {
            let mut len = [0; 2];
            reader.read_exact(&mut len).map_err(cut)?;
            (usize::from(u16::from_le_bytes(len)), 10)
        }
        2 | 3 => {
            let mut len = [0; 4];
            reader.read_exact(&mut len).map_err(cut)?;
            (u32::from_le_bytes(len) as usize, 12)
        }
        version => return Err(format!("version {version} of NumPy's format is not known")),
    };
    if len > MAX_HEADER {
        return Err(format!("a header of {len} bytes"));
    }
    let mut text = vec![0; len];
    reader.read_exact(&mut text).map_err(cut)?;
    let text = String::from_utf8(text).map_err(|_| "its header is no text".to_owned())?;
    Ok((text, before + len))
}

/// Element, whether the first index varies fastest, and extents.
fn parse_header(text: &str) -> Result<(NpyElement, bool, Vec<usize>), String> {
    let value = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}'"))?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    };
    let bad = || format!("the header {:?} is not understood", text.trim_end());
    let descr = value("descr").ok_or_else(bad)?;
    let descr = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(descr, _)| descr);
    let element = match descr {
        Some("|u1") => NpyElement::U8,
        Some("<i8") => NpyElement::I64,
        Some("<f4") => NpyElement::F32,
        Some("<f8") => NpyElement::F64,
        Some(other) => {
            return Err(format!("numbers of type {other}, but |u1, <i8, <f4 and <f8 are read"));
        }
        None => return Err("it holds Python objects or structures, which are not read".to_owned()),
    };
    let order = value("fortran_order").ok_or_else(bad)?;
    let fortran_order = if order.starts_with("True") {
        true
    } else if order.starts_with("False") {
        false
    } else {
        return Err(bad());
    };
    let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')')).ok_or_else(bad)?.0;
    let extents = shape.split(',').map(str::trim).filter(|part| !part.is_empty());
    let extents: Result<Vec<usize>, _> = extents.map(str::parse).collect();
    Ok((element, fortran_order, extents.map_err(|_| bad())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_host::npz::{Element, NpzWriter};

    fn written(write: impl FnOnce(&mut NpzWriter<File>)) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let mut archive = NpzWriter::new(File::create(&path).unwrap());
        write(&mut archive);
        archive.finish().unwrap();
        (folder, path)
    }

    fn add(archive: &mut NpzWriter<File>, name: &str, element: Element, shape: &[usize], bytes: &[u8]) {
        let mut array = archive.array(name, element, shape).unwrap();
        array.write(bytes).unwrap();
        array.finish().unwrap();
    }

    #[test]
    fn what_was_written_is_read_back() {
        let doubles: Vec<u8> = [1.5f64, -2.0, 1e300, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let (_folder, path) = written(|archive| {
            add(archive, "arr_0", Element::U8, &[2, 1, 2, 1], &[7, 0, 255, 3]);
            add(archive, "sigma", Element::F64, &[2, 2], &doubles);
        });
        let mut reader = NpzReader::open(&path).unwrap();
        assert_eq!(reader.names(), ["arr_0", "sigma"]);
        assert!(reader.has("sigma") && !reader.has("mu"));
        assert_eq!(reader.values("sigma").unwrap(), (vec![2, 2], vec![1.5, -2.0, 1e300, 0.0]));
        let mut stream = reader.array("arr_0").unwrap();
        assert_eq!((stream.element, stream.shape.as_slice()), (NpyElement::U8, [2, 1, 2, 1].as_slice()));
        let mut bytes = [0; 3];
        stream.read(&mut bytes).unwrap();
        assert_eq!(bytes, [7, 0, 255]);
        let error = stream.read(&mut bytes).unwrap_err().to_string();
        assert!(error.starts_with("array `arr_0`: it cannot be read to its end"), "{error}");
        let error = reader.values("mu").unwrap_err().to_string();
        assert_eq!(error, "it has no array `mu`, only arr_0, sigma");
    }

    #[test]
    fn headers_of_numpy_and_headers_that_are_none() {
        let parse = |descr: &str, order: &str, shape: &str| {
            parse_header(&format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}  \n"))
        };
        assert_eq!(parse("'<f4'", "True", "(3, 2)"), Ok((NpyElement::F32, true, vec![3, 2])));
        assert_eq!(parse("'|u1'", "False", "()"), Ok((NpyElement::U8, false, vec![])));
        assert_eq!(parse("'<i8'", "False", "(5,)"), Ok((NpyElement::I64, false, vec![5])));
        assert!(parse("'|O'", "False", "(5,)").unwrap_err().contains("type |O"));
        assert!(parse("[('a', '<f4')]", "False", "(5,)").unwrap_err().contains("structures"));
        for (order, shape) in [("Maybe", "(5,)"), ("False", "(-5,)"), ("False", "(5,"), ("False", "5")] {
            assert!(parse("'|u1'", order, shape).unwrap_err().contains("not understood"), "{order} {shape}");
        }
        assert!(parse_header("").is_err());
    }

    #[test]
    fn damage_is_an_error_wherever_it_is() {
        let (_folder, path) = written(|archive| add(archive, "mu", Element::F64, &[3], &[0; 24]));
        let bytes = std::fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert!(
                NpzReader::open(&path).and_then(|mut reader| reader.values("mu")).is_err(),
                "{len} bytes"
            );
        }
        // Bits of the header: another shape is not the size that is there, and nothing panics.
        for at in 0..35 + 128 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let read = NpzReader::open(&path).and_then(|mut reader| reader.values("mu"));
            assert!(read.is_err() || read.unwrap().0 == [3], "byte {at}");
        }
    }
}
