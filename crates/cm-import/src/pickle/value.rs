//! What a pickle may build, and what it may ask for.

use super::torch_type;
use crate::dtype::Dtype;
use crate::input::Span;
use std::sync::Arc;

/// The number of a node. Nodes are shared by number, so a list may be filled after it was remembered.
pub(crate) type Id = u32;

/// Bytes; many of them stay in the file.
#[derive(Clone, Debug)]
pub(crate) enum Blob {
    Here(Arc<[u8]>),
    InFile(Span),
}

/// A storage as a tensor names it.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub(crate) key: String,
    pub(crate) dtype: Dtype,
    /// Values it claims to have.
    pub(crate) len: u64,
    /// Values of the storage before this view of it (old files only).
    pub(crate) view_offset: u64,
}

/// Everything a pickle can build here.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Blob),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// A class of the packages in [`is_inert`], to be called.
    Class(Arc<str>),
    /// An object of a class, a module of TorchScript or a namespace: its state and nothing else.
    Object {
        class: Option<Arc<str>>,
        state: Option<Id>,
    },
    Storage(Storage),
    /// A storage saved on its own, as bytes of another stream of PyTorch's.
    SavedStorage(Blob),
    /// `dtype` is that of the storage unless given.
    Tensor {
        storage: Id,
        dtype: Option<Dtype>,
        offset: u64,
        shape: Vec<u64>,
        strides: Vec<u64>,
    },
    /// NumPy's dtype.
    Element {
        dtype: Dtype,
        big_endian: bool,
    },
    /// NumPy's array: shape, element type, whether column-major, bytes; without them until it is filled.
    Array {
        data: Option<(Vec<u64>, Id, bool, Id)>,
    },
}

/// What a pickle may ask for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    OrderedDict,
    /// torch.Size: a tuple.
    Size,
    /// `torch._utils._rebuild_tensor` and `_v2`.
    Tensor,
    /// `_rebuild_tensor_v3`, with a type of its own.
    TypedTensor,
    /// Its first argument: parameters, frozen lists of TorchScript.
    First,
    /// A storage type or an element type of PyTorch.
    TorchType(Dtype),
    Device,
    /// A module of TorchScript, or a namespace.
    Object,
    /// `copyreg._reconstructor`: an object of its first argument, which is a class.
    Reconstructor,
    /// `torch_utils.persistence`: an object whose class comes along as source text. The text is not looked at.
    Persistent,
    /// `torch.storage._load_from_bytes`.
    SavedStorage,
    /// Sets: tuples.
    Set,
    /// `numpy.core.multiarray._reconstruct`.
    Reconstruct,
    /// `numpy.core.multiarray.scalar`.
    Scalar,
    /// `numpy.core.numeric._frombuffer`.
    FromBuffer,
    Ndarray,
    NumpyType,
    /// `_codecs.encode`: how protocol 2 writes bytes.
    Encode,
}

impl Global {
    /// The list of what may be asked for.
    pub(crate) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("dnnlib" | "dnnlib.util", "EasyDict") => Self::OrderedDict,
            ("torch_utils.persistence", "_reconstruct_persistent_obj") => Self::Persistent,
            ("builtins" | "__builtin__", "set" | "frozenset") => Self::Set,
            ("copyreg" | "copy_reg", "_reconstructor") => Self::Reconstructor,
            ("builtins" | "__builtin__", "object") => Self::Object,
            ("torch.storage", "_load_from_bytes") => Self::SavedStorage,
            ("torch", "Size") => Self::Size,
            ("torch", "device") => Self::Device,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::Tensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::TypedTensor,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Self::First,
            (
                "torch.jit._pickle",
                "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist",
            ) => Self::First,
            ("torch" | "torch.storage", name) => Self::TorchType(torch_type(name)?),
            ("argparse", "Namespace") => Self::Object,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Self::Reconstruct,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Self::Scalar,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Self::FromBuffer,
            ("numpy", "ndarray") => Self::Ndarray,
            ("numpy", "dtype") => Self::NumpyType,
            ("_codecs", "encode") => Self::Encode,
            (module, _) if module == "__torch__" || module.starts_with("__torch__.") => Self::Object,
            _ => return None,
        })
    }
}

/// Whether objects of a module's classes are kept as their state: modules of PyTorch inside a pickled network, and what
/// training programs put beside the weights. No such class is known here, and none is ever run.
pub(crate) fn is_inert(module: &str) -> bool {
    const PACKAGES: [&str; 8] = [
        "torch.nn",
        "torch.optim",
        "pytorch_lightning",
        "lightning",
        "lightning_fabric",
        "omegaconf",
        "pathlib",
        "typing",
    ];
    PACKAGES.iter().any(|package| {
        module.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
