//! `flax.serialization`: msgpack whose extension types 1 and 3 are NumPy arrays and numbers.

use crate::dtype::Dtype;
use crate::error::ImportError;
use crate::input::Input;
use crate::limits;
use crate::place::{Data, Found, Place};
use rmp::Marker;

/// Arrays of more than 2^30 bytes are cut into pieces, in a map with this key.
const CHUNKED: &str = "__msgpack_chunked_array__";
const ARRAY: i8 = 1;
const NUMPY_NUMBER: i8 = 3;

enum Value {
    Map(Vec<(String, Value)>),
    List(Vec<Value>),
    Whole(u64),
    Text(String),
    Array(Dtype, Vec<u64>, Data),
    Other,
}

/// The arrays of a file by the path to them, joined with `/`.
pub(crate) fn read(input: &mut Input<'_>) -> Result<Found, ImportError> {
    let mut reader = Reader { input, objects: 0, text: 0 };
    let value = reader.value(0)?;
    if reader.input.left() > 0 {
        return Err(ImportError::malformed(reader.input.at(), "bytes behind the msgpack value"));
    }
    let mut found = Vec::new();
    collect(value, &mut String::new(), &mut found)?;
    Ok(found)
}

fn collect(value: Value, path: &mut String, found: &mut Found) -> Result<(), ImportError> {
    let inside = |key: &str, value: Value, path: &mut String, found: &mut Found| {
        let len = path.len();
        if len > 0 {
            path.push('/');
        }
        path.push_str(key);
        collect(value, path, found)?;
        path.truncate(len);
        Ok(())
    };
    match value {
        Value::Array(dtype, shape, data) => {
            let name = if path.is_empty() { "tensor".to_owned() } else { path.clone() };
            found.push((name, Place::dense(data, dtype, false, shape)?));
            Ok(())
        }
        Value::Map(entries) if entries.iter().any(|(key, _)| key == CHUNKED) => {
            let (dtype, shape, data) = joined(entries).ok_or_else(|| {
                ImportError::malformed(0, format!("the pieces of the array `{path}` do not fit together"))
            })?;
            found.push((path.clone(), Place::dense(data, dtype, false, shape)?));
            Ok(())
        }
        Value::Map(entries) => {
            entries.into_iter().try_for_each(|(key, value)| inside(&key, value, path, found))
        }
        Value::List(values) => (values.into_iter().enumerate())
            .try_for_each(|(index, value)| inside(&index.to_string(), value, path, found)),
        Value::Whole(_) | Value::Text(_) | Value::Other => Ok(()),
    }
}

/// An array that was cut into pieces.
fn joined(entries: Vec<(String, Value)>) -> Option<(Dtype, Vec<u64>, Data)> {
    let (mut shape, mut pieces) = (None, None);
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("shape", value) => shape = ordered(value),
            ("chunks", value) => pieces = ordered(value),
            _ => {}
        }
    }
    let whole = |value: Value| match value {
        Value::Whole(n) => Some(n),
        _ => None,
    };
    let shape: Vec<u64> = shape?.into_iter().map(whole).collect::<Option<_>>()?;
    let mut spans = Vec::new();
    let mut dtype = None;
    for piece in pieces? {
        let Value::Array(own, extents, Data::Spans(own_spans)) = piece else { return None };
        let bytes: u64 = own_spans.iter().map(|span| span.len).sum();
        let expected = extents.iter().try_fold(own.bytes(), |product, &n| product.checked_mul(n))?;
        if dtype.is_some_and(|dtype| dtype != own) || bytes != expected {
            return None;
        }
        dtype = Some(own);
        spans.extend(own_spans);
    }
    Some((dtype?, shape, Data::Spans(spans)))
}

/// The values of a list, or of a map with the keys 0, 1, ...
fn ordered(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::List(values) => Some(values),
        Value::Map(entries) => {
            let mut entries: Vec<(usize, Value)> = (entries.into_iter())
                .map(|(key, value)| Some((key.parse().ok()?, value)))
                .collect::<Option<_>>()?;
            entries.sort_by_key(|(index, _)| *index);
            let complete = entries.iter().enumerate().all(|(at, (index, _))| at == *index);
            complete.then(|| entries.into_iter().map(|(_, value)| value).collect())
        }
        Value::Whole(_) | Value::Text(_) | Value::Array(..) | Value::Other => None,
    }
}

struct Reader<'r, 'a> {
    input: &'r mut Input<'a>,
    objects: usize,
    text: u64,
}

impl Reader<'_, '_> {
    fn value(&mut self, depth: usize) -> Result<Value, ImportError> {
        self.objects += 1;
        ImportError::limit("a number of objects", self.objects as u64, limits::OBJECTS as u64)?;
        ImportError::limit("a depth of containers", depth as u64, limits::DEPTH as u64)?;
        let marker = Marker::from_u8(self.input.byte()?);
        Ok(match marker {
            Marker::FixPos(n) => Value::Whole(n.into()),
            Marker::U8 => Value::Whole(self.u8()?),
            Marker::U16 => Value::Whole(self.u16()?),
            Marker::U32 => Value::Whole(self.u32()?),
            Marker::U64 => Value::Whole(u64::from_be_bytes(self.input.array()?)),
            Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => Value::Other,
            Marker::I8 => self.skip(1)?,
            Marker::I16 => self.skip(2)?,
            Marker::I32 | Marker::F32 => self.skip(4)?,
            Marker::I64 => match u64::try_from(i64::from_be_bytes(self.input.array()?)) {
                Ok(n) => Value::Whole(n),
                Err(_) => Value::Other,
            },
            Marker::F64 => self.skip(8)?,
            Marker::FixStr(len) => self.text(len.into())?,
            Marker::Str8 => self.u8().and_then(|len| self.text(len))?,
            Marker::Str16 => self.u16().and_then(|len| self.text(len))?,
            Marker::Str32 => self.u32().and_then(|len| self.text(len))?,
            Marker::Bin8 => self.u8().and_then(|len| self.skip(len))?,
            Marker::Bin16 => self.u16().and_then(|len| self.skip(len))?,
            Marker::Bin32 => self.u32().and_then(|len| self.skip(len))?,
            Marker::FixArray(len) => self.list(len.into(), depth)?,
            Marker::Array16 => self.u16().and_then(|len| self.list(len, depth))?,
            Marker::Array32 => self.u32().and_then(|len| self.list(len, depth))?,
            Marker::FixMap(len) => self.map(len.into(), depth)?,
            Marker::Map16 => self.u16().and_then(|len| self.map(len, depth))?,
            Marker::Map32 => self.u32().and_then(|len| self.map(len, depth))?,
            Marker::FixExt1 => self.extension(1, depth)?,
            Marker::FixExt2 => self.extension(2, depth)?,
            Marker::FixExt4 => self.extension(4, depth)?,
            Marker::FixExt8 => self.extension(8, depth)?,
            Marker::FixExt16 => self.extension(16, depth)?,
            Marker::Ext8 => self.u8().and_then(|len| self.extension(len, depth))?,
            Marker::Ext16 => self.u16().and_then(|len| self.extension(len, depth))?,
            Marker::Ext32 => self.u32().and_then(|len| self.extension(len, depth))?,
            Marker::Reserved => return Err(self.broken("a byte that begins no value")),
        })
    }

    fn broken(&self, reason: &str) -> ImportError {
        ImportError::malformed(self.input.at(), reason)
    }

    fn u8(&mut self) -> Result<u64, ImportError> {
        Ok(self.input.byte()?.into())
    }

    fn u16(&mut self) -> Result<u64, ImportError> {
        Ok(u16::from_be_bytes(self.input.array()?).into())
    }

    fn u32(&mut self) -> Result<u64, ImportError> {
        Ok(u32::from_be_bytes(self.input.array()?).into())
    }

    fn skip(&mut self, len: u64) -> Result<Value, ImportError> {
        self.input.skip(len)?;
        Ok(Value::Other)
    }

    fn text(&mut self, len: u64) -> Result<Value, ImportError> {
        self.text += len;
        ImportError::limit("a length of texts", self.text, limits::TEXT_BYTES)?;
        let bytes = self.input.bytes(len)?;
        String::from_utf8(bytes).map(Value::Text).map_err(|_| self.broken("a text is not UTF-8"))
    }

    fn list(&mut self, len: u64, depth: usize) -> Result<Value, ImportError> {
        // Grows as values come: a length is only a claim.
        let mut values = Vec::new();
        for _ in 0..len {
            values.push(self.value(depth + 1)?);
        }
        Ok(Value::List(values))
    }

    fn map(&mut self, len: u64, depth: usize) -> Result<Value, ImportError> {
        let mut entries = Vec::new();
        for _ in 0..len {
            let key = match self.value(depth + 1)? {
                Value::Text(key) => key,
                Value::Whole(key) => key.to_string(),
                Value::Map(_) | Value::List(_) | Value::Array(..) | Value::Other => {
                    return Err(self.broken("a key is neither a text nor a number"));
                }
            };
            entries.push((key, self.value(depth + 1)?));
        }
        Ok(Value::Map(entries))
    }

    /// An extension of `len` bytes behind its type. An array is (shape, name of the type, bytes).
    fn extension(&mut self, len: u64, depth: usize) -> Result<Value, ImportError> {
        let kind = self.input.byte()? as i8;
        let end = self.input.at() + len;
        if len > self.input.left() {
            return self.skip(len);
        }
        if kind != ARRAY && kind != NUMPY_NUMBER {
            return self.skip(len);
        }
        if self.input.byte()? != Marker::FixArray(3).to_u8() {
            return Err(self.broken("an array is not a list of shape, type and bytes"));
        }
        let shape = self.value(depth + 1)?;
        let name = self.value(depth + 1)?;
        let len = match Marker::from_u8(self.input.byte()?) {
            Marker::Bin8 => self.u8()?,
            Marker::Bin16 => self.u16()?,
            Marker::Bin32 => self.u32()?,
            _ => return Err(self.broken("an array has no bytes")),
        };
        let span = self.input.skip(len)?;
        if self.input.at() != end {
            return Err(self.broken("an array does not fill its extension"));
        }
        let (Value::List(shape), Value::Text(name)) = (shape, name) else {
            return Err(self.broken("an array has no shape or no type"));
        };
        let dtype = Dtype::by_numpy_name(&name)
            .ok_or_else(|| ImportError::Unsupported(format!("NumPy's element type `{name}`")))?;
        let shape = (shape.into_iter())
            .map(|n| match n {
                Value::Whole(n) => Ok(n),
                _ => Err(self.broken("a shape is not of whole numbers")),
            })
            .collect::<Result<_, _>>()?;
        Ok(Value::Array(dtype, shape, Data::Spans(vec![span])))
    }
}
