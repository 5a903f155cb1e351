//! What a file may claim. Each limit is far above what networks need and far below what hurts.

/// Values of a tensor that is larger than its storage, as an expanded one is: 64 MiB of `f32`.
pub(crate) const EXPANDED_VALUES: u64 = 1 << 24;
/// Instructions of a pickle.
pub(crate) const INSTRUCTIONS: u64 = 1 << 24;
/// Objects of a pickle or a msgpack file; also the depth of a pickle's stack and the size of its memo.
pub(crate) const OBJECTS: usize = 1 << 22;
/// Bytes of all texts of a pickle or a msgpack file.
pub(crate) const TEXT_BYTES: u64 = 1 << 26;
/// Containers inside containers.
pub(crate) const DEPTH: usize = 64;
/// Tensors of a file, and steps on the way to them.
pub(crate) const TENSORS: usize = 1 << 20;
/// Dimensions of a tensor, as in NumPy.
pub(crate) const DIMENSIONS: usize = 64;
/// Bytes of the header of a safetensors file, as in its library.
pub(crate) const SAFETENSORS_HEADER: u64 = 100_000_000;
/// Bytes of the header of a `.npy` file.
pub(crate) const NPY_HEADER: u64 = 1 << 16;
/// Bytes of a compressed array of an `.npz` archive, unpacked.
pub(crate) const UNPACKED: u64 = 1 << 32;
/// Numbers in a list that is an attribute of an object; longer ones are not kept.
pub(crate) const ATTRIBUTE_ITEMS: usize = 64;
/// Bytes of a text that is an attribute of an object; longer ones, such as a program's source, are not kept.
pub(crate) const ATTRIBUTE_TEXT: usize = 256;
/// Attributes of all objects.
pub(crate) const ATTRIBUTES: u64 = 1 << 20;
/// Bytes of an extra file of an archive of PyTorch's that is kept as text.
pub(crate) const EXTRA_TEXT: u64 = 1 << 16;
