//! One GPU, opened for work.

use crate::arena::{Arena, Context};
use crate::buffer::Buffer;
use crate::compile;
use crate::description::{Choosing, MemoryUse};
use crate::error::{Doing, GpuError};
use crate::gathered::Gathered;
use crate::libraries::{self, Device};
use crate::signature::{Signature, signatures};
use crate::source::{Source, Variant};
use crate::staging::Staging;
use cudarc::driver::{result, sys};
use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// How a GPU is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its number, from 0.
    pub device: usize,
    /// Where compiled kernels are kept; `None` to compile them at every start.
    pub cache: Option<PathBuf>,
    /// Whether memory of dropped buffers is kept for others. Without, every buffer is an allocation of its own and of
    /// its exact size, which is slow, and lets tools that watch memory see each access beyond it.
    pub reuse: bool,
    /// Whether launches are handed over in rows, as CUDA graphs where they have come before; not without `reuse`, with which
    /// addresses are the same each time.
    pub graphs: bool,
    /// Whether a buffer that is not written yet holds NaN: what reads it before shows.
    pub poison: bool,
    /// Who computes convolutions and matrix products.
    pub products: Choosing,
}

/// The variable that turns CUDA graphs off, if it is `off`.
pub const GRAPHS_VARIABLE: &str = "CM_GRAPHS";

impl Default for Options {
    fn default() -> Self {
        let graphs = std::env::var(GRAPHS_VARIABLE).map_or(true, |text| text != "off");
        let cache = compile::cache_folder();
        Self { device: 0, cache, reuse: true, graphs, poison: false, products: Choosing::Ours }
    }
}

/// A kernel that can be launched.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) function: sys::CUfunction,
    pub(crate) signature: Arc<Signature>,
}

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Kernel {}

/// The kernels of a file in one variant, by their names.
type Module = HashMap<String, Kernel>;

/// What an engine has been asked for so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Kernels launched.
    pub kernels: u64,
    /// Calls of the driver that launched them.
    pub launches: u64,
    /// Copies to the GPU.
    pub copies_to: u64,
    /// Their bytes.
    pub bytes_to: u64,
    /// Copies from the GPU, each of which waits.
    pub copies_from: u64,
    /// Their bytes.
    pub bytes_from: u64,
}

impl std::ops::Sub for Work {
    type Output = Self;

    /// What came after `before`.
    fn sub(self, before: Self) -> Self {
        Self {
            kernels: self.kernels - before.kernels,
            launches: self.launches - before.launches,
            copies_to: self.copies_to - before.copies_to,
            bytes_to: self.bytes_to - before.bytes_to,
            copies_from: self.copies_from - before.copies_from,
            bytes_from: self.bytes_from - before.bytes_from,
        }
    }
}

/// A list of parameters as a kernel takes it, and its buffers.
type List = (Vec<u64>, [Buffer; 2]);

/// Copies in one direction and their bytes.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    copies: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    pub(crate) fn add(&self, bytes: usize) {
        self.copies.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn so_far(&self) -> (u64, u64) {
        (self.copies.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Inner {
    device: Device,
    cache: Option<PathBuf>,
    /// Modules are never unloaded: they live as long as the context.
    modules: Mutex<HashMap<(&'static str, Variant), Module>>,
    /// The most dynamic shared memory that a kernel was allowed so far.
    allowed: Mutex<HashMap<usize, u32>>,
    tables: Mutex<HashMap<String, Buffer>>,
    /// The latest lists of parameters by what is done to them.
    lists: Mutex<HashMap<&'static str, List>>,
    to: Traffic,
    from: Traffic,
    poison: bool,
    choosing: Choosing,
    /// What chooses who computes products, made when it is first wanted. Before the arena: it is given back first.
    chosen: OnceLock<Box<dyn Any + Send + Sync>>,
    arena: Arc<Arena>,
}

/// A GPU with its stream, its memory and its kernels. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Gpu(Arc<Inner>);

impl PartialEq for Gpu {
    /// Whether both share one engine.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Gpu {
    /// Opens a GPU.
    ///
    /// # Errors
    /// [`GpuError`] if there is no driver or no such GPU, or it cannot be opened.
    pub fn open(options: &Options) -> Result<Self, GpuError> {
        let mut devices = libraries::devices()?;
        let (wanted, found) = (options.device, devices.len());
        if wanted >= found {
            return Err(GpuError::NoDevice { wanted, found });
        }
        let device = devices.swap_remove(wanted);
        let opening = || format!("opening GPU {wanted}");
        let number = i32::try_from(wanted).expect("the driver counts GPUs in i32");
        let handle = result::device::get(number).doing(opening)?;
        // SAFETY: the device is one of the driver's; the context is released when `Context` is dropped.
        let context = unsafe {
            let context = result::primary_ctx::retain(handle).doing(opening)?;
            result::ctx::set_current(context).doing(opening)?;
            let stream = result::stream::create(result::stream::StreamKind::NonBlocking).doing(opening)?;
            let gathered = Gathered::new(!(options.graphs && options.reuse));
            Context { gathered, staging: Staging::default(), device: handle, context, stream }
        };
        Ok(Self(Arc::new(Inner {
            device,
            cache: options.cache.clone(),
            modules: Mutex::default(),
            allowed: Mutex::default(),
            tables: Mutex::default(),
            lists: Mutex::default(),
            to: Traffic::default(),
            from: Traffic::default(),
            poison: options.poison,
            choosing: options.products,
            chosen: OnceLock::new(),
            arena: Arc::new(Arena::new(context, options.reuse)),
        })))
    }

    /// What the driver says of it.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// What the driver answered, also about kernels launched before.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.0.arena.wait()
    }

    /// Gives the driver all launches that wait to be a row, and does not wait for them.
    ///
    /// # Errors
    /// What the driver answered.
    pub fn submit(&self) -> Result<(), GpuError> {
        self.context().enter_behind()
    }

    /// How much memory is taken.
    pub fn memory(&self) -> MemoryUse {
        self.0.arena.used()
    }

    /// What was asked for so far; launches that the driver has not been given yet are not counted.
    pub fn work(&self) -> Work {
        let submitted = self.context().gathered.submitted();
        let ((copies_to, bytes_to), (copies_from, bytes_from)) = (self.0.to.so_far(), self.0.from.so_far());
        let (kernels, launches) = (submitted.kernels, submitted.calls);
        Work { kernels, launches, copies_to, bytes_to, copies_from, bytes_from }
    }

    pub(crate) fn to(&self) -> &Traffic {
        &self.0.to
    }

    pub(crate) fn from(&self) -> &Traffic {
        &self.0.from
    }

    /// What chooses who computes products: one for each engine, made from what was asked for.
    ///
    /// # Panics
    /// If it is of another type than the first time.
    pub(crate) fn chosen<T: Any + Send + Sync>(&self, make: impl FnOnce(Choosing) -> T) -> &T {
        let chosen = self.0.chosen.get_or_init(|| Box::new(make(self.0.choosing)));
        chosen.downcast_ref().expect("one type chooses products")
    }

    /// Whether unwritten memory is filled with NaN.
    pub(crate) fn poisons(&self) -> bool {
        self.0.poison
    }

    /// Lists of parameters that were the same the last time, or are made now.
    pub(crate) fn list(
        &self,
        what: &'static str,
        list: Vec<u64>,
        make: impl FnOnce(&[u64]) -> Result<[Buffer; 2], GpuError>,
    ) -> Result<[Buffer; 2], GpuError> {
        let mut lists = self.0.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, made)) = lists.get(what).filter(|(before, _)| *before == list) {
            return Ok(made.clone());
        }
        let made = make(&list)?;
        lists.insert(what, (list, made.clone()));
        Ok(made)
    }

    /// Gives memory that is kept for buffers to come back to the driver.
    ///
    /// # Errors
    /// What the driver answered.
    pub fn release_memory(&self) -> Result<(), GpuError> {
        self.0.arena.release()
    }

    /// Tables by their names.
    pub(crate) fn tables(&self) -> MutexGuard<'_, HashMap<String, Buffer>> {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.0.arena
    }

    pub(crate) fn context(&self) -> &Context {
        self.0.arena.context()
    }

    /// A kernel by its file, variant and name, compiled and loaded if it is the first of its file.
    pub(crate) fn kernel(&self, source: &Source, variant: Variant, name: &str) -> Result<Kernel, GpuError> {
        let mut modules = self.0.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (source.file, variant);
        let module = match modules.entry(key) {
            Entry::Occupied(module) => module.into_mut(),
            Entry::Vacant(place) => place.insert(self.loaded(source, variant)?),
        };
        let kernel = module.get(name).cloned();
        Ok(kernel.unwrap_or_else(|| panic!("{} has no kernel {name}", source.file)))
    }

    fn loaded(&self, source: &Source, variant: Variant) -> Result<Module, GpuError> {
        let image = compile::compiled(source, variant, self.0.device.capability, self.0.cache.as_deref())?;
        self.context().enter()?;
        // SAFETY: the image is what the compiler made.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) }
            .doing(|| format!("loading the kernels of {}", source.file))?;
        signatures(source, variant)
            .into_iter()
            .map(|signature| {
                let full = format!("{}_{}", signature.name, variant.suffix());
                let c_name = CString::new(full.as_str()).expect("a kernel's name has no zero byte");
                // SAFETY: the module is loaded and never unloaded.
                let function = unsafe { result::module::get_function(module, c_name) }
                    .doing(|| format!("looking for the kernel {full}"))?;
                Ok((signature.name.clone(), Kernel { function, signature: Arc::new(signature) }))
            })
            .collect()
    }

    /// Lets a kernel have `bytes` of dynamic shared memory.
    pub(crate) fn allow_shared(&self, kernel: &Kernel, bytes: u32) -> Result<(), GpuError> {
        const ALWAYS: u32 = 48 << 10;
        let mut allowed = self.0.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let most = allowed.entry(kernel.function as usize).or_insert(ALWAYS);
        if bytes > *most {
            let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let value = i32::try_from(bytes).unwrap_or(i32::MAX);
            // SAFETY: the function is of a loaded module.
            unsafe { result::function::set_function_attribute(kernel.function, which, value) }
                .doing(|| format!("giving {} {bytes} bytes of shared memory", kernel.signature.name))?;
            *most = bytes;
        }
        Ok(())
    }
}
