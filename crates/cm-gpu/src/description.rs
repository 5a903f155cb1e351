//! What is said of a GPU, of its memory, of libraries, and of who computes products.

/// One library that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub what: &'static str,
    /// The names it was looked for under.
    pub looked_for: Vec<String>,
    /// The name under which it was found, and its version, `None` if it did not say.
    pub found: Option<(String, Option<String>)>,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number, from 0.
    pub number: usize,
    /// The maker's name for it.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of its memory.
    pub memory: usize,
    /// Bytes of shared memory that one block can have.
    pub shared_memory: usize,
}

/// How much memory an engine has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of living buffers, as they were asked for.
    pub held: usize,
    /// Living buffers.
    pub buffers: usize,
    /// The most that `held` has been.
    pub peak: usize,
    /// Bytes kept for buffers to come.
    pub kept: usize,
    /// Bytes that the driver has given and not taken back: of living buffers, rounded up, and those kept.
    pub taken: usize,
}

/// Who computes an engine's convolutions and matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choosing {
    /// Our kernels, but for what a table says.
    #[default]
    Ours,
    /// Whoever is fastest, which is tried when a product is first wanted: cuBLASLt, cuDNN or our kernels.
    Timed {
        /// Products of fewer floating-point operations stay ours.
        least_operations: u64,
    },
}

impl Choosing {
    /// By time, where it is worth a call of its own: a few microseconds of a large GPU's arithmetic.
    pub const TIMED: Self = Self::Timed { least_operations: 1 << 28 };
}
