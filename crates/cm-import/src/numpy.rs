//! NumPy's `.npy` files (NumPy Enhancement Proposal 1) and zip archives of them.

use crate::dtype::Dtype;
use crate::error::ImportError;
use crate::input::{Input, Source, Span};
use crate::limits;
use crate::place::{Data, Found, Place};
use crate::zipped::{self, ZipEntry};

/// An array as a `.npy` header describes it.
struct Header {
    dtype: Dtype,
    big_endian: bool,
    fortran: bool,
    shape: Vec<u64>,
    /// Bytes of the header.
    len: u64,
}

impl Header {
    fn place(self, data: Data) -> Result<Place, ImportError> {
        array(data, self.dtype, self.big_endian, self.fortran, self.shape)
    }
}

/// An array in row-major or, if `fortran`, in column-major order.
pub(crate) fn array(
    data: Data,
    dtype: Dtype,
    big_endian: bool,
    fortran: bool,
    shape: Vec<u64>,
) -> Result<Place, ImportError> {
    if !fortran {
        return Place::dense(data, dtype, big_endian, shape);
    }
    let mut stride = 1u64;
    let strides = shape.iter().map(|&n| {
        let own = stride;
        stride = stride.saturating_mul(n.max(1));
        own
    });
    let strides = strides.collect();
    Place::strided(data, dtype, big_endian, shape, 0, strides)
}

/// The array of a `.npy` file.
pub(crate) fn npy(input: &mut Input<'_>) -> Result<Place, ImportError> {
    let header = header(input)?;
    let span = input.skip(input.left())?;
    header.place(Data::Spans(vec![span]))
}

/// The arrays of a `.npz` file.
pub(crate) fn npz(source: &mut dyn Source, entries: &[ZipEntry]) -> Result<Found, ImportError> {
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.name.strip_suffix(".npy").unwrap_or(&entry.name).to_owned();
        let place = match entry.stored {
            Some(span) => npy(&mut Input::new(source, span)?)?,
            None => {
                ImportError::limit("a compressed array's size", entry.size, limits::UNPACKED)?;
                let mut head = Vec::new();
                let len = entry.size.min(limits::NPY_HEADER);
                zipped::unpack(source, entry.index, 0, len, len.max(1), &mut |bytes| head = bytes.to_vec())?;
                let mut head = std::io::Cursor::new(head);
                let header = header(&mut Input::new(&mut head, Span { start: 0, len })?)?;
                let skip = header.len;
                header.place(Data::Compressed { entry: entry.index, skip, len: entry.size - skip })?
            }
        };
        found.push((name, place));
    }
    Ok(found)
}

fn header(input: &mut Input<'_>) -> Result<Header, ImportError> {
    let start = input.at();
    let broken = |reason: &str| ImportError::malformed(start, format!("the .npy header: {reason}"));
    let [.., major, _minor] = input.array::<8>()?;
    let len = match major {
        1 => u64::from(u16::from_le_bytes(input.array()?)),
        2 | 3 => u64::from(u32::from_le_bytes(input.array()?)),
        _ => return Err(broken("its version is none of 1, 2 and 3")),
    };
    ImportError::limit("a .npy header's length", len, limits::NPY_HEADER)?;
    let text = String::from_utf8(input.bytes(len)?).map_err(|_| broken("it is not text"))?;
    let value = |key: &str| -> Option<&str> {
        let (_, rest) = text.split_once(&format!("'{key}':"))?;
        Some(rest.trim_start())
    };
    let descriptor = value("descr").and_then(|rest| rest.strip_prefix('\''));
    let descriptor = descriptor.and_then(|rest| rest.split_once('\'')).map(|(code, _)| code);
    let descriptor = descriptor.ok_or_else(|| broken("it names no plain element type"))?;
    let (dtype, big_endian) = element(descriptor)?;
    let fortran = value("fortran_order").ok_or_else(|| broken("it has no order"))?.starts_with("True");
    let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
    let (shape, _) = shape.ok_or_else(|| broken("it has no shape"))?;
    let shape = shape.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse);
    let shape = shape.collect::<Result<_, _>>().map_err(|_| broken("its shape is not of whole numbers"))?;
    Ok(Header { dtype, big_endian, fortran, shape, len: input.at() - start })
}

/// A type as NumPy writes it: byte order, kind, bytes.
pub(crate) fn element(descriptor: &str) -> Result<(Dtype, bool), ImportError> {
    let unsupported = || ImportError::Unsupported(format!("NumPy's element type `{descriptor}`"));
    let (big_endian, code) = match descriptor.split_at_checked(1) {
        Some(("<" | "|" | "=", code)) => (false, code),
        Some((">", code)) => (true, code),
        _ => (false, descriptor),
    };
    Ok((Dtype::by_numpy_code(code).ok_or_else(unsupported)?, big_endian))
}
