//! Where the values of a tensor are, and how they are fetched.

use crate::dtype::Dtype;
use crate::error::ImportError;
use crate::input::{Input, Source, Span};
use crate::{limits, zipped};
use std::sync::Arc;

/// Bytes that are read at a time.
const CHUNK: u64 = 1 << 20;

/// What a reader of a format finds: names with the places of their values.
pub(crate) type Found = Vec<(String, Place)>;

/// The bytes behind a tensor.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// Parts of the file, one after the other.
    Spans(Vec<Span>),
    /// Bytes of a pickle that are not in the file as they are.
    Here(Arc<[u8]>),
    /// A compressed entry of a zip archive, behind so many bytes of its content.
    Compressed { entry: usize, skip: u64, len: u64 },
}

impl Data {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Spans(spans) => spans.iter().map(|span| span.len).sum(),
            Self::Here(bytes) => bytes.len() as u64,
            Self::Compressed { len, .. } => *len,
        }
    }

    /// All but the first bytes; `None` if there are not so many.
    pub(crate) fn behind(self, first: u64) -> Option<Self> {
        if first > self.len() {
            return None;
        }
        let mut left = first;
        Some(match self {
            Self::Spans(mut spans) => {
                for span in &mut spans {
                    let cut = left.min(span.len);
                    *span = Span { start: span.start + cut, len: span.len - cut };
                    left -= cut;
                }
                Self::Spans(spans)
            }
            Self::Here(bytes) if first == 0 => Self::Here(bytes),
            Self::Here(bytes) => Self::Here(bytes[first as usize..].into()),
            Self::Compressed { entry, skip, len } => {
                Self::Compressed { entry, skip: skip + first, len: len - first }
            }
        })
    }
}

/// Values of a storage: `offset` and `strides` count values, not bytes.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    data: Data,
    dtype: Dtype,
    big_endian: bool,
    shape: Vec<u64>,
    offset: u64,
    strides: Vec<u64>,
}

impl Place {
    /// Values in row-major order.
    pub(crate) fn dense(
        data: Data,
        dtype: Dtype,
        big_endian: bool,
        shape: Vec<u64>,
    ) -> Result<Self, ImportError> {
        let strides = row_major(&shape)?;
        Self::strided(data, dtype, big_endian, shape, 0, strides)
    }

    /// # Errors
    /// If the values are not all inside the data, or are far more than it holds.
    pub(crate) fn strided(
        data: Data,
        dtype: Dtype,
        big_endian: bool,
        shape: Vec<u64>,
        offset: u64,
        strides: Vec<u64>,
    ) -> Result<Self, ImportError> {
        ImportError::limit("a number of dimensions", shape.len() as u64, limits::DIMENSIONS as u64)?;
        let at = match &data {
            Data::Spans(spans) => spans.first().map_or(0, |span| span.start),
            Data::Here(_) | Data::Compressed { .. } => 0,
        };
        let broken = |reason: String| ImportError::malformed(at, reason);
        if shape.len() != strides.len() {
            return Err(broken(format!("{} extents, but {} strides", shape.len(), strides.len())));
        }
        let held = data.len() / dtype.bytes();
        let overflow = || broken(format!("a tensor of shape {shape:?} has more values than can be counted"));
        let count = shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n)).ok_or_else(overflow)?;
        if count > 0 {
            let last = shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |last, (&n, &stride)| last.checked_add((n - 1).checked_mul(stride)?));
            let last = last.ok_or_else(overflow)?;
            if last >= held {
                return Err(broken(format!(
                    "a tensor of shape {shape:?} needs {} values, but its storage has {held}",
                    last.saturating_add(1)
                )));
            }
        }
        ImportError::limit("a tensor's number of values", count, held.max(limits::EXPANDED_VALUES))?;
        Ok(Self { data, dtype, big_endian, shape, offset, strides })
    }

    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        // A shape with an extent of 0 may have others of any size.
        self.shape.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect()
    }

    fn count(&self) -> u64 {
        self.shape.iter().product()
    }

    /// All values in row-major order, made by `decode` from whole bytes.
    pub(crate) fn read<T: Copy>(
        &self,
        source: &mut dyn Source,
        decode: impl Fn(Dtype, &[u8], bool, &mut Vec<T>),
    ) -> Result<Vec<T>, ImportError> {
        let count = self.count();
        let mut out = Vec::with_capacity(count as usize);
        if count == 0 {
            return Ok(out);
        }
        let size = self.dtype.bytes();
        if self.strides == row_major(&self.shape)? {
            let wanted = Span { start: self.offset * size, len: count * size };
            self.stream(source, wanted, &mut |bytes| decode(self.dtype, bytes, self.big_endian, &mut out))?;
            return Ok(out);
        }
        let reach: u64 = self.shape.iter().zip(&self.strides).map(|(n, stride)| (n - 1) * stride).sum();
        let mut held = Vec::with_capacity((reach + 1) as usize);
        let wanted = Span { start: self.offset * size, len: (reach + 1) * size };
        self.stream(source, wanted, &mut |bytes| decode(self.dtype, bytes, self.big_endian, &mut held))?;
        let mut index = vec![0u64; self.shape.len()];
        let mut at = 0u64;
        for _ in 0..count {
            out.push(held[at as usize]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * self.shape[axis];
                index[axis] = 0;
            }
        }
        Ok(out)
    }

    /// Hands over the `wanted` bytes of the data in pieces of whole values.
    fn stream(
        &self,
        source: &mut dyn Source,
        wanted: Span,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), ImportError> {
        let spans = match &self.data {
            Data::Compressed { entry, skip, .. } => {
                return zipped::unpack(source, *entry, skip + wanted.start, wanted.len, CHUNK, take);
            }
            Data::Here(bytes) => {
                take(&bytes[wanted.start as usize..(wanted.start + wanted.len) as usize]);
                return Ok(());
            }
            Data::Spans(spans) => spans,
        };
        let (mut before, end) = (0, wanted.start + wanted.len);
        let mut piece = Vec::new();
        for span in spans {
            let (from, to) = (wanted.start.max(before), end.min(before + span.len));
            if from < to {
                let part = Span { start: span.start + (from - before), len: to - from };
                let mut input = Input::new(source, part)?;
                while input.left() > 0 {
                    piece.resize(input.left().min(CHUNK) as usize, 0);
                    input.fill(&mut piece)?;
                    take(&piece);
                }
            }
            before += span.len;
        }
        Ok(())
    }
}

/// The strides of values one after the other.
fn row_major(shape: &[u64]) -> Result<Vec<u64>, ImportError> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1u64;
    for (place, &n) in strides.iter_mut().zip(shape).rev() {
        *place = stride;
        stride = stride.checked_mul(n.max(1)).ok_or_else(|| {
            ImportError::malformed(
                0,
                format!("a tensor of shape {shape:?} has more values than can be counted"),
            )
        })?;
    }
    Ok(strides)
}
