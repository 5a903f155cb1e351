//! Element types and their bytes.

use half::{bf16, f16};

/// What the values of a tensor are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// 8 bits, signed.
    I8,
    /// 16 bits, signed.
    I16,
    /// 32 bits, signed.
    I32,
    /// 64 bits, signed.
    I64,
    /// 8 bits.
    U8,
    /// 16 bits.
    U16,
    /// 32 bits.
    U32,
    /// 64 bits.
    U64,
    /// A byte that is 0 or not.
    Bool,
}

/// Bytes to numbers, N at a time, appended to a vector.
fn decode<const N: usize, T>(bytes: &[u8], big: bool, out: &mut Vec<T>, value: impl Fn([u8; N]) -> T) {
    let (values, _) = bytes.as_chunks::<N>();
    out.extend(values.iter().map(|&bytes| {
        let mut bytes = bytes;
        if big {
            bytes.reverse();
        }
        value(bytes)
    }));
}

impl Dtype {
    /// Bytes of one value.
    pub fn bytes(self) -> u64 {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// Whether its values are of floating point, as weights are.
    pub fn is_float(self) -> bool {
        match self {
            Self::F16 | Self::Bf16 | Self::F32 | Self::F64 => true,
            Self::I8
            | Self::I16
            | Self::I32
            | Self::I64
            | Self::U8
            | Self::U16
            | Self::U32
            | Self::U64
            | Self::Bool => false,
        }
    }

    /// Appends the values of whole `bytes`, rounded to `f32` where they are wider.
    pub(crate) fn to_f32(self, bytes: &[u8], big: bool, out: &mut Vec<f32>) {
        match self {
            Self::F16 => decode(bytes, big, out, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => decode(bytes, big, out, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => decode(bytes, big, out, f32::from_le_bytes),
            Self::F64 => decode(bytes, big, out, |b| f64::from_le_bytes(b) as f32),
            Self::I8 => decode(bytes, big, out, |b| f32::from(i8::from_le_bytes(b))),
            Self::I16 => decode(bytes, big, out, |b| f32::from(i16::from_le_bytes(b))),
            Self::I32 => decode(bytes, big, out, |b| i32::from_le_bytes(b) as f32),
            Self::I64 => decode(bytes, big, out, |b| i64::from_le_bytes(b) as f32),
            Self::U8 => decode(bytes, big, out, |b| f32::from(u8::from_le_bytes(b))),
            Self::U16 => decode(bytes, big, out, |b| f32::from(u16::from_le_bytes(b))),
            Self::U32 => decode(bytes, big, out, |b| u32::from_le_bytes(b) as f32),
            Self::U64 => decode(bytes, big, out, |b| u64::from_le_bytes(b) as f32),
            Self::Bool => decode(bytes, big, out, |[b]| f32::from(u8::from(b != 0))),
        }
    }

    /// Appends the values of whole `bytes`; integers beyond 2^53 are rounded.
    pub(crate) fn to_f64(self, bytes: &[u8], big: bool, out: &mut Vec<f64>) {
        match self {
            Self::F64 => decode(bytes, big, out, f64::from_le_bytes),
            Self::I32 => decode(bytes, big, out, |b| f64::from(i32::from_le_bytes(b))),
            Self::I64 => decode(bytes, big, out, |b| i64::from_le_bytes(b) as f64),
            Self::U32 => decode(bytes, big, out, |b| f64::from(u32::from_le_bytes(b))),
            Self::U64 => decode(bytes, big, out, |b| u64::from_le_bytes(b) as f64),
            // Exact in `f32`.
            Self::F16 | Self::Bf16 | Self::F32 | Self::I8 | Self::I16 | Self::U8 | Self::U16 | Self::Bool => {
                let mut narrow = Vec::new();
                self.to_f32(bytes, big, &mut narrow);
                out.extend(narrow.into_iter().map(f64::from));
            }
        }
    }

    /// By the name that NumPy and JAX give it.
    pub(crate) fn by_numpy_name(name: &str) -> Option<Self> {
        Some(match name {
            "float16" => Self::F16,
            "bfloat16" => Self::Bf16,
            "float32" => Self::F32,
            "float64" => Self::F64,
            "int8" => Self::I8,
            "int16" => Self::I16,
            "int32" => Self::I32,
            "int64" => Self::I64,
            "uint8" => Self::U8,
            "uint16" => Self::U16,
            "uint32" => Self::U32,
            "uint64" => Self::U64,
            "bool" => Self::Bool,
            _ => return None,
        })
    }

    /// By NumPy's code without the byte order: `f4`.
    pub(crate) fn by_numpy_code(code: &str) -> Option<Self> {
        Some(match code {
            "f2" => Self::F16,
            "f4" => Self::F32,
            "f8" => Self::F64,
            "i1" => Self::I8,
            "i2" => Self::I16,
            "i4" => Self::I32,
            "i8" => Self::I64,
            "u1" => Self::U8,
            "u2" => Self::U16,
            "u4" => Self::U32,
            "u8" => Self::U64,
            "b1" => Self::Bool,
            _ => return None,
        })
    }
}
