//! For tests, under the feature `standin`: the kernels on the CPU, built by the host's C++ compiler over a shim of CUDA's
//! threads, and stand-ins for driver and compiler, loaded as the libraries that the engine looks for.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

/// Stand-ins for the libraries that compute products.
mod products;

use crate::source::{ALL, HEADER, Source, Variant};
use crate::{Gpu, Options};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::{env, fs, thread};

pub use products::{Products, Wrong, library_folder_with_products, products};

/// A mistake put into a file of kernels: text that stands there once, and what it becomes.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    /// Its name, an identifier.
    pub name: &'static str,
    /// The file whose kernels have it.
    pub kernels: &'static str,
    /// The file where the text stands: the same, or the header.
    pub file: &'static str,
    /// The text.
    pub text: &'static str,
    /// What it becomes.
    pub becomes: &'static str,
}

/// The stand-ins of this process.
#[derive(Debug)]
pub struct Standin {
    driver: Library,
    compiler: Library,
}

const OPTIONS: [&str; 8] = [
    "-O2",
    "-std=c++17",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-U_FORTIFY_SOURCE",
    "-w",
    "-pthread",
];

/// A C++ compiler of this machine.
fn compiler() -> Option<String> {
    let named = env::var("CXX").ok().into_iter();
    let usual = ["c++", "g++", "clang++"].map(str::to_owned);
    named
        .chain(usual)
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()))
}

/// The options for this machine.
fn options() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        return [&OPTIONS[..], &["-mavx2", "-mfma"]].concat();
    }
    OPTIONS.to_vec()
}

/// Names of the kernels in a text.
fn kernels(text: &str) -> impl Iterator<Item = &str> {
    text.split("\nKERNEL(").skip(1).map(|text| text.split_once(", ").unwrap().1.split_once(')').unwrap().0)
}

/// Something to compile: its name, the texts it includes, and its own.
struct Unit {
    name: String,
    headers: Vec<(&'static str, String)>,
    text: String,
}

fn unit(source: &Source, variant: Variant) -> Unit {
    let suffix = variant.suffix();
    let exports: String = kernels(source.text)
        .map(|kernel| format!("EXPORT(host__{kernel}_{suffix}, {kernel}_{suffix})\n"))
        .collect();
    let text = format!("#define {}\n{}\n{exports}", variant.define(), source.text);
    Unit { name: format!("{}-{suffix}", source.file), headers: vec![(HEADER.0, HEADER.1.to_owned())], text }
}

fn planted(plant: &Plant) -> Vec<Unit> {
    let source = ALL.iter().find(|source| source.file == plant.kernels).unwrap();
    let put = |text: &str, file: &str| {
        if file != plant.file {
            return text.to_owned();
        }
        assert_eq!(text.matches(plant.text).count(), 1, "{}: the text stands there once", plant.name);
        text.replace(plant.text, plant.becomes)
    };
    let (header, text) = (put(HEADER.1, HEADER.0), put(source.text, source.file));
    source
        .variants
        .iter()
        .map(|variant| {
            let (suffix, name) = (variant.suffix(), plant.name);
            let exports: String = kernels(source.text)
                .map(|kernel| format!("EXPORT({name}__{kernel}_{suffix}, {kernel}_{suffix})\n"))
                .collect();
            let define = variant.define();
            Unit {
                name: format!("{name}-{suffix}"),
                headers: vec![(HEADER.0, header.clone())],
                text: format!("#define PLANTED\n#define {define}\n{text}\n{exports}"),
            }
        })
        .collect()
}

/// The file that `name` becomes, made by `make` at the path it is given unless it is there already.
fn made(folder: &Path, name: &str, depends: &[&str], make: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    for text in depends {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    }
    let file = folder.join(format!("{}-{name}", &hasher.finalize().to_hex()[..16]));
    if !file.exists() {
        let unfinished = folder.join(format!("{}-{name}", std::process::id()));
        make(&unfinished);
        fs::rename(unfinished, &file).unwrap();
    }
    file
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {log}");
}

fn object(folder: &Path, shim: &Path, compiler: &str, options: &[&str], unit: &Unit) -> PathBuf {
    let shim_text = fs::read_to_string(shim.join("shim.h")).unwrap();
    let command = format!("{compiler} {options:?}");
    let mut depends = vec![command.as_str(), shim_text.as_str(), unit.text.as_str()];
    depends.extend(unit.headers.iter().map(|(_, text)| text.as_str()));
    made(folder, &format!("{}.o", unit.name), &depends, |to| {
        let own = to.with_extension("d");
        fs::create_dir_all(&own).unwrap();
        for (name, text) in &unit.headers {
            fs::write(own.join(name), text).unwrap();
        }
        let source = own.join("unit.cpp");
        fs::write(&source, &unit.text).unwrap();
        let mut command = Command::new(compiler);
        command.args(options).arg("-I").arg(&own).arg("-I").arg(shim).arg("-c").arg(&source);
        run(command.arg("-o").arg(to));
        fs::remove_dir_all(own).unwrap();
    })
}

/// Where what is built is kept: beside the folder of the tests' program, for all of them.
fn folder() -> PathBuf {
    let program = env::current_exe().unwrap();
    program.parent().and_then(Path::parent).unwrap().join("standin")
}

fn built(compiler: &str, name: &str, units: &[Unit]) -> PathBuf {
    let folder = folder();
    let shim = Path::new(env!("CARGO_MANIFEST_DIR")).join("standin");
    fs::create_dir_all(&folder).unwrap();
    let options = options();
    let (next, objects) = (Mutex::new(units.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, |n| n.get().min(8)) {
            scope.spawn(|| {
                loop {
                    let Some(unit) = next.lock().unwrap().next() else { return };
                    let object = object(&folder, &shim, compiler, &options, unit);
                    objects.lock().unwrap().push(object);
                }
            });
        }
    });
    let mut objects = objects.into_inner().unwrap();
    objects.sort();
    let names: Vec<_> = objects.iter().map(|object| object.to_string_lossy()).collect();
    made(&folder, name, &names.iter().map(|name| &**name).collect::<Vec<_>>(), |to| {
        let mut command = Command::new(compiler);
        command.args(["-shared", "-pthread", &format!("-Wl,-soname,{name}"), "-o"]).arg(to).args(&objects);
        run(command.arg("-ldl"));
    })
}

fn file_unit(name: &str, text: &str) -> Unit {
    Unit { name: name.to_owned(), headers: Vec::new(), text: text.to_owned() }
}

/// The stand-ins for driver and compiler, built.
fn libraries(plants: &[Plant]) -> Option<[PathBuf; 2]> {
    let compiler = compiler()?;
    let mut units: Vec<Unit> =
        ALL.iter().flat_map(|source| source.variants.iter().map(|&variant| unit(source, variant))).collect();
    units.extend(plants.iter().flat_map(planted));
    units.push(file_unit("shim", include_str!("../standin/shim.cpp")));
    units.push(file_unit("driver", include_str!("../standin/driver.cpp")));
    let driver = built(&compiler, "libcuda.so", &units);
    let nvrtc = built(&compiler, "libnvrtc.so", &[file_unit("nvrtc", include_str!("../standin/nvrtc.cpp"))]);
    Some([driver, nvrtc])
}

/// Builds and loads everything. The engine's libraries are then found under their usual names because they are loaded
/// already.
fn load(plants: &[Plant]) -> Option<Standin> {
    let [driver, nvrtc] = libraries(plants)?;
    // SAFETY: both were just built here, and nothing runs when they are loaded but the initialisation of their statics.
    let open = |file: &Path| unsafe { Library::open(Some(file), RTLD_NOW | RTLD_GLOBAL) }.unwrap();
    Some(Standin { driver: open(&driver), compiler: open(&nvrtc) })
}

/// The stand-ins, with mistakes that can be chosen; or `None`, said once for each test, where there is no C++ compiler.
/// What the first call of a process asks for stands.
///
/// # Panics
/// If the compiler refuses something.
#[expect(clippy::print_stderr, reason = "a test that could not be done must say so")]
pub fn standin_with(plants: &[Plant]) -> Option<&'static Standin> {
    static STANDIN: OnceLock<Option<Standin>> = OnceLock::new();
    let standin = STANDIN.get_or_init(|| load(plants)).as_ref();
    if standin.is_none() {
        eprintln!("no C++ compiler was found (CXX, c++, g++, clang++): the kernels were not run");
    }
    standin
}

/// [`standin_with`] no mistakes.
pub fn standin() -> Option<&'static Standin> {
    standin_with(&[])
}

/// A folder with the stand-ins for driver and compiler under the names that the engine looks for: with it in
/// `LD_LIBRARY_PATH` another process finds a GPU. `None`, said, where there is no C++ compiler.
///
/// # Panics
/// If the compiler refuses something.
#[expect(clippy::print_stderr, reason = "a test that could not be done must say so")]
pub fn library_folder() -> Option<PathBuf> {
    let Some([driver, nvrtc]) = libraries(&[]) else {
        eprintln!("no C++ compiler was found (CXX, c++, g++, clang++): the kernels were not run");
        return None;
    };
    let folder = driver.with_extension("folder");
    put_into(&folder, &[(driver, "libcuda.so"), (nvrtc, "libnvrtc.so")]);
    Some(folder)
}

/// Copies libraries into a folder under the names that the engine looks for.
fn put_into(folder: &Path, libraries: &[(PathBuf, &str)]) {
    fs::create_dir_all(folder).unwrap();
    for (library, name) in libraries {
        // Another test may have been here first.
        if !folder.join(name).exists() {
            let unfinished = folder.join(format!("{}-{name}", std::process::id()));
            fs::copy(library, &unfinished).unwrap();
            fs::rename(unfinished, folder.join(name)).unwrap();
        }
    }
}

/// The variable that makes [`gpu`] take this machine's GPU, if it is set.
pub const REAL_GPU: &str = "CM_TEST_ON_GPU";

/// A GPU for tests that hold for every one: the stand-in, or this machine's own if [`REAL_GPU`] is set; `None`, said, where
/// there is no C++ compiler.
///
/// # Panics
/// If there is no GPU where one is asked for.
pub fn gpu() -> Option<Gpu> {
    if env::var_os(REAL_GPU).is_some() {
        return Some(Gpu::open(&Options::default()).unwrap());
    }
    Some(standin()?.gpu())
}

/// What the stand-in for the driver has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Kernels launched, alone or in graphs.
    pub launches: u64,
    /// Pieces of memory given.
    pub allocations: u64,
    /// Pieces of memory taken back.
    pub frees: u64,
    /// Bytes copied to the device.
    pub bytes_to: u64,
    /// Bytes copied from it.
    pub bytes_from: u64,
    /// Waits for the stream.
    pub waits: u64,
    /// Graphs launched.
    pub graphs: u64,
    /// Kernels of graphs whose arguments were replaced.
    pub replaced: u64,
}

/// What the shim has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// 8x8 matrices loaded from shared memory.
    pub matrices: u64,
    /// Accesses to shared memory that these took.
    pub wavefronts: u64,
    /// Products of matrices.
    pub products: u64,
    /// Bytes of asynchronous copies.
    pub copied_bytes: u64,
    /// Barriers of blocks.
    pub barriers: u64,
}

impl Standin {
    /// A GPU every buffer of which ends at memory that may not be touched.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn gpu(&self) -> Gpu {
        Gpu::open(&Options { cache: None, reuse: false, ..Options::default() }).unwrap()
    }

    fn ask<A, R>(&self, name: &str, argument: A) -> R {
        // SAFETY: the functions of the stand-in are those of its source; callers name the right types.
        unsafe { self.driver.get::<unsafe extern "C" fn(A) -> R>(name).unwrap()(argument) }
    }

    /// The order of threads and blocks of this thread's launches: 0 as they are, 1 backwards, else shuffled.
    pub fn order(&self, order: u32) {
        self.ask::<u32, ()>("shim_order", order);
    }

    /// Bytes of memory, for this thread.
    pub fn memory(&self, bytes: usize) {
        self.ask::<usize, ()>("standin_memory", bytes);
    }

    /// After `before` more allocations of this thread, `count` fail.
    pub fn fail_allocations(&self, before: usize, count: usize) {
        let [before, count] = [before, count].map(|number| i64::try_from(number).unwrap());
        // SAFETY: the function is that of the stand-in's source.
        unsafe {
            let ask = self.driver.get::<unsafe extern "C" fn(i64, i64)>("standin_fail_allocations").unwrap();
            ask(before, count);
        }
    }

    /// Whether this thread finds no memory of the host to lock from now on.
    pub fn fail_page_locked(&self, fails: bool) {
        self.ask::<bool, ()>("standin_fail_page_locked", fails);
    }

    /// Kernels that this thread loads from now on have the mistake; an empty name for none.
    pub fn plant(&self, name: &str) {
        let name = CString::new(name).unwrap();
        self.ask::<_, ()>("standin_plant", name.as_ptr());
    }

    /// What was counted in this thread since the last call.
    pub fn tally(&self) -> Tally {
        let mut all = [0_u64; 8];
        self.ask::<_, ()>("standin_tally", all.as_mut_ptr());
        let [launches, allocations, frees, bytes_to, bytes_from, waits, graphs, replaced] = all;
        Tally { launches, allocations, frees, bytes_to, bytes_from, waits, graphs, replaced }
    }

    /// What was counted in this thread's kernels since the last call.
    pub fn counts(&self) -> Counts {
        let mut all = [0_u64; 5];
        self.ask::<_, ()>("shim_counts", all.as_mut_ptr());
        let [matrices, wavefronts, products, copied_bytes, barriers] = all;
        Counts { matrices, wavefronts, products, copied_bytes, barriers }
    }

    /// How often this thread has compiled.
    pub fn compilations(&self) -> u64 {
        // SAFETY: the function is that of the stand-in's source.
        unsafe { self.compiler.get::<unsafe extern "C" fn() -> u64>("standin_compilations").unwrap()() }
    }
}
