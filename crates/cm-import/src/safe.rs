//! safetensors: a header of JSON, then the values.

use crate::dtype::Dtype;
use crate::error::ImportError;
use crate::input::{Input, Span};
use crate::limits;
use crate::place::{Data, Found, Place};
use safetensors::tensor::{Dtype as SafeDtype, Metadata};
use std::collections::BTreeMap;

pub(crate) fn read(input: &mut Input<'_>) -> Result<(Found, BTreeMap<String, String>), ImportError> {
    let len = u64::from_le_bytes(input.array()?);
    ImportError::limit("a header's length", len, limits::SAFETENSORS_HEADER)?;
    let text = input.bytes(len)?;
    let header: Metadata = serde_json::from_slice(&text)
        .map_err(|error| ImportError::malformed(8, format!("the header: {error}")))?;
    let start = input.at();
    if header.data_len() as u64 != input.left() {
        return Err(ImportError::malformed(
            start,
            format!(
                "the header speaks of {} bytes of values, but there are {}",
                header.data_len(),
                input.left()
            ),
        ));
    }
    let mut found = Vec::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else { continue };
        let dtype = match info.dtype {
            SafeDtype::F16 => Dtype::F16,
            SafeDtype::BF16 => Dtype::Bf16,
            SafeDtype::F32 => Dtype::F32,
            SafeDtype::F64 => Dtype::F64,
            SafeDtype::I8 => Dtype::I8,
            SafeDtype::I16 => Dtype::I16,
            SafeDtype::I32 => Dtype::I32,
            SafeDtype::I64 => Dtype::I64,
            SafeDtype::U8 => Dtype::U8,
            SafeDtype::U16 => Dtype::U16,
            SafeDtype::U32 => Dtype::U32,
            SafeDtype::U64 => Dtype::U64,
            SafeDtype::BOOL => Dtype::Bool,
            other => {
                return Err(ImportError::Unsupported(format!("tensor `{name}` of type {other:?}")));
            }
        };
        let (from, to) = info.data_offsets;
        let span = Span { start: start + from as u64, len: (to - from) as u64 };
        let shape = info.shape.iter().map(|&n| n as u64).collect();
        found.push((name, Place::dense(Data::Spans(vec![span]), dtype, false, shape)?));
    }
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok((found, metadata.into_iter().collect()))
}
