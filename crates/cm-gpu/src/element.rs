//! What values on a GPU are.

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// Single precision.
    F32,
    /// The upper half of single precision.
    Bf16,
    /// Whole numbers.
    U32,
    /// Addresses.
    U64,
}

impl Element {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::Bf16 => 2,
            Self::U64 => 8,
        }
    }
}

/// A type of the host that a buffer's values can have.
pub trait Scalar: Copy + Default + private::Sealed {
    /// What it is on the GPU.
    const ELEMENT: Element;
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

impl Scalar for f32 {
    const ELEMENT: Element = Element::F32;
}

/// The bits of a bf16.
impl Scalar for u16 {
    const ELEMENT: Element = Element::Bf16;
}

impl Scalar for u32 {
    const ELEMENT: Element = Element::U32;
}

impl Scalar for u64 {
    const ELEMENT: Element = Element::U64;
}
