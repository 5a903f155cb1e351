//! One GPU, opened for work.

use crate::arena::{Arena, Context, MemoryUse};
use crate::buffer::Buffer;
use crate::compile;
use crate::error::{Doing, GpuError};
use crate::libraries::{self, Device};
use crate::signature::{Signature, signatures};
use crate::source::{Source, Variant};
use cudarc::driver::{result, sys};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
}

impl Default for Options {
    fn default() -> Self {
        Self { device: 0, cache: compile::cache_folder(), reuse: true }
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

#[derive(Debug)]
struct Inner {
    device: Device,
    cache: Option<PathBuf>,
    /// Modules are never unloaded: they live as long as the context.
    modules: Mutex<HashMap<(&'static str, Variant), Module>>,
    /// The most dynamic shared memory that a kernel was allowed so far.
    allowed: Mutex<HashMap<usize, u32>>,
    tables: Mutex<HashMap<String, Buffer>>,
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
            Context { device: handle, context, stream }
        };
        Ok(Self(Arc::new(Inner {
            device,
            cache: options.cache.clone(),
            modules: Mutex::default(),
            allowed: Mutex::default(),
            tables: Mutex::default(),
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

    /// How much memory is taken.
    pub fn memory(&self) -> MemoryUse {
        self.0.arena.used()
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
