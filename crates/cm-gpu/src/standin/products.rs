//! Stand-ins for cuBLASLt and cuDNN, which compute by loop nests, and in which things can go wrong; and for NCCL, by which
//! processes of one machine meet.

use super::{Unit, built, compiler, library_folder, put_into};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What goes wrong in both; bits that can be joined by `|`, as a number also the variable `STANDIN_PRODUCTS` of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong;

impl Wrong {
    /// They cannot be started.
    pub const NO_START: u32 = 1;
    /// They know no plan.
    pub const NO_PLANS: u32 = 2;
    /// Some of their results are too large by 1.
    pub const WRONG: u32 = 4;
    /// Their products end with an error.
    pub const FAILS: u32 = 8;
    /// A product takes 5 milliseconds more.
    pub const SLOW: u32 = 16;
    /// They say that all is well, and write nothing.
    pub const WRITES_NOTHING: u32 = 32;
    /// A plan of cuDNN wants more memory than there is.
    pub const NO_WORKSPACE: u32 = 64;
}

/// The stand-ins of this process.
#[derive(Debug)]
pub struct Products {
    cublaslt: Library,
    cudnn: Library,
    _nccl: Library,
}

/// The libraries for products and NCCL, built.
fn libraries() -> Option<[(PathBuf, &'static str); 3]> {
    let compiler = compiler()?;
    let build = |name: &'static str, unit: &str, text: &str| {
        let headers = vec![("products.h", include_str!("../../standin/products.h").to_owned())];
        let unit = Unit { name: unit.to_owned(), headers, text: text.to_owned() };
        (built(&compiler, name, &[unit]), name)
    };
    Some([
        build("libcublasLt.so", "cublaslt", include_str!("../../standin/cublaslt.cpp")),
        build("libcudnn.so", "cudnn", include_str!("../../standin/cudnn.cpp")),
        build("libnccl.so", "nccl", include_str!("../../standin/nccl.cpp")),
    ])
}

/// The stand-ins, loaded: from then on the engine finds these libraries in this process. `None` where there is no C++
/// compiler.
///
/// # Panics
/// If the compiler refuses something.
pub fn products() -> Option<&'static Products> {
    static PRODUCTS: OnceLock<Option<Products>> = OnceLock::new();
    let load = || {
        // SAFETY: both were just built here, and nothing runs when they are loaded but the initialisation of their
        // statics.
        let open = |file: &Path| unsafe { Library::open(Some(file), RTLD_NOW | RTLD_GLOBAL) }.unwrap();
        let [(cublaslt, _), (cudnn, _), (nccl, _)] = libraries()?;
        Some(Products { cublaslt: open(&cublaslt), cudnn: open(&cudnn), _nccl: open(&nccl) })
    };
    PRODUCTS.get_or_init(load).as_ref()
}

/// As [`library_folder`], with those for products and NCCL.
///
/// # Panics
/// If the compiler refuses something.
pub fn library_folder_with_products() -> Option<PathBuf> {
    let without = library_folder()?;
    let libraries = libraries()?;
    let digests =
        libraries.each_ref().map(|(file, _)| file.file_name().unwrap().to_string_lossy()[..16].to_owned());
    // Of any other of these, another folder.
    let name = without.file_name().unwrap().to_string_lossy().into_owned();
    let folder = without.with_file_name(format!("{}-{name}", digests.join("-")));
    let same = ["libcuda.so", "libnvrtc.so"].map(|name| (without.join(name), name));
    put_into(&folder, &same);
    put_into(&folder, &libraries);
    Some(folder)
}

impl Products {
    /// What goes wrong for this thread from now on.
    pub fn wrong(&self, bits: u32) {
        for (library, name) in
            [(&self.cublaslt, "standin_cublaslt_wrong"), (&self.cudnn, "standin_cudnn_wrong")]
        {
            // SAFETY: the functions are those of the stand-ins' sources.
            unsafe { library.get::<unsafe extern "C" fn(u32)>(name).unwrap()(bits) };
        }
    }

    /// How many products cuBLASLt and cuDNN were asked for by this thread since the last call.
    pub fn computed(&self) -> [u64; 2] {
        [(&self.cublaslt, "standin_cublaslt_products"), (&self.cudnn, "standin_cudnn_products")].map(
            |(library, name)| {
                // SAFETY: the functions are those of the stand-ins' sources.
                unsafe { library.get::<unsafe extern "C" fn() -> u64>(name).unwrap()() }
            },
        )
    }
}
