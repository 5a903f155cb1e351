//! From a source to what a GPU can load: by NVRTC, the compiler in a library, once for each machine.
//!
//! What was compiled is kept in a file whose name is a digest of everything it depends on: sources, options, the
//! compiler's version. A file is written under another name and then renamed, so that nobody sees half of one, and its
//! first bytes are a digest of the rest.

use crate::error::GpuError;
use crate::libraries;
use crate::source::{HEADER, Source, Variant};
use cudarc::nvrtc::{result, sys};
use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs};

/// Where compiled kernels are kept unless told otherwise: `cm/kernels` in the user's cache folder, if there is one.
pub fn cache_folder() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(folder.join("cm").join("kernels"))
}

/// A file of kernels, made ready for GPUs of `capability`.
///
/// # Errors
/// [`GpuError::NoCompiler`] or [`GpuError::Compiler`].
pub fn compiled(
    source: &Source,
    variant: Variant,
    capability: (u32, u32),
    cache: Option<&Path>,
) -> Result<Vec<u8>, GpuError> {
    libraries::need_compiler()?;
    let architecture = Architecture::of(capability)?;
    let options = [
        format!("--gpu-architecture={}", architecture.option()),
        "--std=c++17".to_owned(),
        format!("-D{}", variant.define()),
    ];
    let version = version()?;
    let file = cache.map(|folder| folder.join(format!("{}.bin", key(source, &options, version))));
    if let Some(kept) = file.as_deref().and_then(read) {
        return Ok(kept);
    }
    let image = compile(source, &options, architecture)?;
    // A folder that cannot be written to costs time at the next start, nothing else.
    if let Some(file) = file {
        let _ = write(&file, &image);
    }
    Ok(image)
}

/// What the compiler is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Architecture {
    /// Machine code for one kind of GPU.
    Exact(u32),
    /// For GPUs newer than the compiler: code that the driver finishes.
    Portable(u32),
}

impl Architecture {
    /// What NVRTC can do for GPUs of `capability`.
    fn of((major, minor): (u32, u32)) -> Result<Self, GpuError> {
        let mut count: c_int = 0;
        // SAFETY: the library is there, and the argument is an int.
        check("counting architectures", unsafe { sys::nvrtcGetNumSupportedArchs(&raw mut count) })?;
        let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: there is room for as many as were said to be.
        check("listing architectures", unsafe { sys::nvrtcGetSupportedArchs(known.as_mut_ptr()) })?;
        let known: Vec<u32> = known.into_iter().filter_map(|arch| u32::try_from(arch).ok()).collect();
        Self::among(&known, 10 * major + minor).ok_or_else(|| GpuError::Compiler {
            file: "any kernel".to_owned(),
            architecture: format!("sm_{major}{minor}"),
            log: format!("the compiler knows {known:?} only"),
        })
    }

    fn among(known: &[u32], wanted: u32) -> Option<Self> {
        if known.contains(&wanted) {
            return Some(Self::Exact(wanted));
        }
        known.iter().copied().filter(|&arch| arch < wanted).max().map(Self::Portable)
    }

    fn option(self) -> String {
        match self {
            Self::Exact(number) => format!("sm_{number}"),
            Self::Portable(number) => format!("compute_{number}"),
        }
    }
}

/// The compiler's version.
fn version() -> Result<(c_int, c_int), GpuError> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is there, and the arguments are ints.
    check("asking for the version", unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) })?;
    Ok((major, minor))
}

/// A digest of all that an image depends on.
fn key(source: &Source, options: &[String], version: (c_int, c_int)) -> String {
    let mut hasher = blake3::Hasher::new();
    let version = format!("{version:?}");
    let texts = [HEADER.1, source.file, source.text, version.as_str()];
    for text in texts.into_iter().chain(options.iter().map(String::as_str)) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// What is kept in a file, if it is whole.
fn read(file: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(file).ok()?;
    let (digest, image) = bytes.split_at_checked(blake3::OUT_LEN)?;
    (blake3::hash(image).as_bytes() == digest).then(|| image.to_vec())
}

fn write(file: &Path, image: &[u8]) -> std::io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = file.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let unfinished = file.with_extension(format!("{}-{number}.part", std::process::id()));
    let mut bytes = blake3::hash(image).as_bytes().to_vec();
    bytes.extend_from_slice(image);
    fs::write(&unfinished, bytes)?;
    fs::rename(&unfinished, file)
}

fn check(doing: &str, result: sys::nvrtcResult) -> Result<(), GpuError> {
    result.result().map_err(|error| GpuError::Driver {
        doing: format!("NVRTC, {doing}"),
        name: format!("{:?}", error.0),
        text: String::new(),
    })
}

/// A program of NVRTC; it is destroyed when it is dropped.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program was created and is used no more.
        let _ = unsafe { sys::nvrtcDestroyProgram(&raw mut self.0) };
    }
}

fn compile(source: &Source, options: &[String], architecture: Architecture) -> Result<Vec<u8>, GpuError> {
    let text = |text: &str| CString::new(text).expect("a source has no zero byte");
    let (code, name) = (text(source.text), text(source.file));
    let (header, header_name) = (text(HEADER.1), text(HEADER.0));
    let mut program = Program(std::ptr::null_mut());
    // SAFETY: all pointers are to strings that live until the call has returned; there is one header.
    check("taking a source", unsafe {
        sys::nvrtcCreateProgram(
            &raw mut program.0,
            code.as_ptr(),
            name.as_ptr(),
            1,
            &header.as_ptr(),
            &header_name.as_ptr(),
        )
    })?;
    // SAFETY: the program is there.
    if unsafe { result::compile_program(program.0, options) }.is_err() {
        // SAFETY: as above.
        let log = unsafe { result::get_program_log(program.0) }.unwrap_or_default();
        let log: Vec<u8> = log.into_iter().map(|c| c as u8).take_while(|&c| c != 0).collect();
        return Err(GpuError::Compiler {
            file: source.file.to_owned(),
            architecture: architecture.option(),
            log: String::from_utf8_lossy(&log).into_owned(),
        });
    }
    let mut size = 0;
    // SAFETY: the program was compiled, the size is written to, and the image has as many bytes.
    unsafe {
        match architecture {
            Architecture::Exact(_) => check("measuring", sys::nvrtcGetCUBINSize(program.0, &raw mut size))?,
            Architecture::Portable(_) => check("measuring", sys::nvrtcGetPTXSize(program.0, &raw mut size))?,
        }
        let mut image = vec![0_u8; size];
        let to = image.as_mut_ptr().cast::<c_char>();
        match architecture {
            Architecture::Exact(_) => check("taking the image", sys::nvrtcGetCUBIN(program.0, to))?,
            Architecture::Portable(_) => check("taking the image", sys::nvrtcGetPTX(program.0, to))?,
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::ALL;

    #[test]
    fn a_card_gets_its_own_code_or_that_of_the_newest_before_it() {
        let known = [80, 86, 90];
        assert_eq!(Architecture::among(&known, 86), Some(Architecture::Exact(86)));
        assert_eq!(Architecture::among(&known, 120), Some(Architecture::Portable(90)));
        assert_eq!(Architecture::among(&known, 89), Some(Architecture::Portable(86)));
        assert_eq!(Architecture::among(&known, 75), None);
    }

    #[test]
    fn what_is_kept_is_taken_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep").join("kernel.bin");
        assert_eq!(read(&file), None);
        write(&file, b"an image").unwrap();
        assert_eq!(read(&file).as_deref(), Some(&b"an image"[..]));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing unfinished is left");
        let whole = fs::read(&file).unwrap();
        for (at, len) in [(0, whole.len()), (whole.len() - 1, whole.len()), (3, 20), (3, whole.len() - 1)] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&file, &damaged[..len]).unwrap();
            assert_eq!(read(&file), None, "byte {at} of {len}");
        }
    }

    #[test]
    fn the_key_depends_on_source_options_and_version() {
        let (options, others) = (vec!["a".to_owned()], vec!["b".to_owned()]);
        let base = key(&ALL[0], &options, (13, 0));
        assert_eq!(base, key(&ALL[0], &options, (13, 0)));
        for other in [
            key(&ALL[1], &options, (13, 0)),
            key(&ALL[0], &others, (13, 0)),
            key(&ALL[0], &options, (13, 1)),
            key(&Source { text: "", ..ALL[0] }, &options, (13, 0)),
        ] {
            assert_ne!(base, other);
        }
    }
}
