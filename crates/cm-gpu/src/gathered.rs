//! Launches that are gathered and handed to the driver a row at a time.
//!
//! A training step launches the same kernels in the same order every time; what differs is a few of their arguments. So
//! launches wait until there are [`ROW`] of them, or until something must be copied or waited for, and a row that has come
//! before is one call of the driver: a CUDA graph, made at the row's second coming and kept, in which the arguments that
//! differ are replaced. What runs is always what was asked for, in its order: a graph is only a shorter way to say it.

use crate::error::{Doing, GpuError};
use crate::signature::Signature;
use cudarc::driver::{result, sys};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::c_void;
use std::hash::{Hash, Hasher};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};

/// Launches of a row at most: few, so that a GPU works on one while the next is gathered.
const ROW: usize = 64;
/// Shorter rows are not worth a graph.
const LEAST: usize = 3;
/// Graphs that are kept at most; the one that was used longest ago goes first.
const MOST_GRAPHS: usize = 256;
/// Rows that are remembered at most for having come once.
const MOST_SEEN: usize = 1 << 14;

/// A kernel with all that its launch needs.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) function: sys::CUfunction,
    pub(crate) signature: Arc<Signature>,
    pub(crate) grid: [u32; 3],
    pub(crate) shared_bytes: u32,
    /// Eight bytes each, whatever the parameter's type: the driver reads as many as it needs from the first.
    pub(crate) arguments: Vec<u64>,
}

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Call {}

impl Call {
    /// Whether both differ in their arguments only.
    fn is_alike(&self, other: &Self) -> bool {
        let of = |call: &Self| (call.function, call.grid, call.shared_bytes);
        of(self) == of(other)
    }

    fn doing(&self) -> String {
        let ([x, y, z], name) = (self.grid, &self.signature.name);
        format!("launching {x} x {y} x {z} blocks of the kernel {name}")
    }

    /// Where the driver finds the arguments. It knows how many a kernel has; a null pointer ends them for a stand-in, which
    /// does not.
    fn pointers(&mut self) -> Vec<*mut c_void> {
        let each = self.arguments.iter_mut().map(|argument| std::ptr::from_mut(argument).cast());
        each.chain([null_mut()]).collect()
    }

    fn launch(mut self, stream: sys::CUstream) -> Result<(), GpuError> {
        let ([x, y, z], mut pointers) = (self.grid, self.pointers());
        let block = (self.signature.threads, 1, 1);
        // SAFETY: there are as many arguments as parameters, each of its parameter's type; the driver copies them before
        // it returns. The buffers are the engine's, and their memory is given away again only to what comes later in
        // the same stream. That kernels keep to their buffers is what the tests are for.
        unsafe {
            result::launch_kernel(self.function, (x, y, z), block, self.shared_bytes, stream, &mut pointers)
        }
        .doing(|| self.doing())
    }

    /// What a graph's node is told, which holds as long as `pointers`.
    fn node(&self, pointers: &mut [*mut c_void]) -> sys::CUDA_KERNEL_NODE_PARAMS {
        let [x, y, z] = self.grid;
        sys::CUDA_KERNEL_NODE_PARAMS {
            func: self.function,
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: self.signature.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: self.shared_bytes,
            kernelParams: pointers.as_mut_ptr(),
            extra: null_mut(),
            kern: null_mut(),
            ctx: null_mut(),
        }
    }
}

/// A row as the driver keeps it.
#[derive(Debug)]
struct Graph {
    graph: sys::CUgraph,
    executable: sys::CUgraphExec,
    nodes: Vec<sys::CUgraphNode>,
    /// The launches as the executable has them.
    calls: Vec<Call>,
    used: u64,
}

// SAFETY: as for `Call`; the engine's lock keeps two threads from one graph.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: both are this value's own; the driver finishes what runs. Nobody can be told what fails.
        unsafe {
            if !self.executable.is_null() {
                let _ = sys::cuGraphExecDestroy(self.executable);
            }
            let _ = sys::cuGraphDestroy(self.graph);
        }
    }
}

impl Graph {
    fn new(mut calls: Vec<Call>, used: u64) -> Result<Self, GpuError> {
        let making = || "making a CUDA graph".to_owned();
        let mut graph = null_mut();
        // SAFETY: the argument is written to.
        unsafe { sys::cuGraphCreate(&raw mut graph, 0) }.result().doing(making)?;
        let mut made = Self { graph, executable: null_mut(), nodes: Vec::new(), calls: Vec::new(), used };
        for call in &mut calls {
            let mut pointers = call.pointers();
            let (mut node, parameters) = (null_mut(), call.node(&mut pointers));
            // One after the other, as in a stream.
            let before = made.nodes.last().map_or(std::ptr::null(), std::ptr::from_ref);
            // SAFETY: as for a launch; what comes before is a node of this graph, if there is one.
            unsafe {
                let count = usize::from(!before.is_null());
                sys::cuGraphAddKernelNode_v2(&raw mut node, graph, before, count, &raw const parameters)
            }
            .result()
            .doing(|| call.doing())?;
            made.nodes.push(node);
        }
        // SAFETY: the graph is whole, and the argument is written to.
        unsafe { sys::cuGraphInstantiateWithFlags(&raw mut made.executable, graph, 0) }
            .result()
            .doing(making)?;
        made.calls = calls;
        Ok(made)
    }

    fn launch(&mut self, calls: Vec<Call>, stream: sys::CUstream) -> Result<(), GpuError> {
        for ((node, kept), mut call) in self.nodes.iter().zip(&mut self.calls).zip(calls) {
            if call.arguments == kept.arguments {
                continue;
            }
            let mut pointers = call.pointers();
            let parameters = call.node(&mut pointers);
            // SAFETY: as for a launch; the node is one of the executable's graph. What runs already keeps what it had.
            unsafe { sys::cuGraphExecKernelNodeSetParams_v2(self.executable, *node, &raw const parameters) }
                .result()
                .doing(|| call.doing())?;
            *kept = call;
        }
        // SAFETY: the executable is whole, and the stream is the engine's.
        unsafe { sys::cuGraphLaunch(self.executable, stream) }
            .result()
            .doing(|| format!("launching a row of {} kernels", self.calls.len()))
    }
}

/// What is known of a row by its hash.
#[derive(Debug)]
enum Row {
    Seen,
    Graph(Graph),
}

/// How much was handed to the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Submitted {
    /// Kernels.
    pub(crate) kernels: u64,
    /// Calls that launched them.
    pub(crate) calls: u64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Call>,
    rows: HashMap<u64, Row>,
    graphs: usize,
    rows_so_far: u64,
    submitted: Submitted,
}

/// The launches of an engine that its driver has not been given yet.
#[derive(Debug)]
pub(crate) struct Gathered {
    state: Mutex<State>,
    /// Launches are given to the driver at once.
    at_once: bool,
}

impl Gathered {
    pub(crate) fn new(at_once: bool) -> Self {
        Self { state: Mutex::default(), at_once }
    }

    pub(crate) fn submitted(&self) -> Submitted {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).submitted
    }

    /// Counts a call of a library that launched something itself.
    pub(crate) fn called(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.submitted.kernels += 1;
        state.submitted.calls += 1;
    }

    /// Takes a launch. The context must be current.
    pub(crate) fn push(&self, call: Call, stream: sys::CUstream) -> Result<(), GpuError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push(call);
        if self.at_once || state.waiting.len() >= ROW { state.hand_over(stream) } else { Ok(()) }
    }

    /// Gives the driver all that waits. The context must be current.
    pub(crate) fn hand_over(&self, stream: sys::CUstream) -> Result<(), GpuError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).hand_over(stream)
    }

    /// Forgets everything; nothing runs any more.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.waiting, state.rows, state.graphs) = (Vec::new(), HashMap::new(), 0);
    }
}

impl State {
    fn hand_over(&mut self, stream: sys::CUstream) -> Result<(), GpuError> {
        let calls = std::mem::take(&mut self.waiting);
        self.submitted.kernels += calls.len() as u64;
        if calls.len() < LEAST {
            return self.each(calls, stream);
        }
        let mut hasher = DefaultHasher::new();
        for call in &calls {
            (call.function as usize, call.grid, call.shared_bytes).hash(&mut hasher);
        }
        let key = hasher.finish();
        self.rows_so_far += 1;
        match self.rows.get_mut(&key) {
            None => {
                if self.rows.len() >= MOST_SEEN {
                    self.rows.retain(|_, row| matches!(row, Row::Graph(_)));
                }
                self.rows.insert(key, Row::Seen);
                return self.each(calls, stream);
            }
            Some(row @ Row::Seen) => match Graph::new(calls.clone(), self.rows_so_far) {
                Ok(graph) => {
                    *row = Row::Graph(graph);
                    self.graphs += 1;
                }
                // A driver that makes no graph, for want of memory or for ever, can still launch.
                Err(_) => return self.each(calls, stream),
            },
            Some(Row::Graph(_)) => {}
        }
        self.drop_one_too_many(stream, key)?;
        match self.rows.get_mut(&key) {
            Some(Row::Graph(graph))
                if graph.calls.len() == calls.len()
                    && graph.calls.iter().zip(&calls).all(|(kept, call)| kept.is_alike(call)) =>
            {
                graph.used = self.rows_so_far;
                self.submitted.calls += 1;
                graph.launch(calls, stream)
            }
            // Another row of the same hash.
            _ => self.each(calls, stream),
        }
    }

    fn each(&mut self, calls: Vec<Call>, stream: sys::CUstream) -> Result<(), GpuError> {
        self.submitted.calls += calls.len() as u64;
        calls.into_iter().try_for_each(|call| call.launch(stream))
    }

    fn drop_one_too_many(&mut self, stream: sys::CUstream, but: u64) -> Result<(), GpuError> {
        if self.graphs <= MOST_GRAPHS {
            return Ok(());
        }
        let used = |row: &Row| if let Row::Graph(graph) = row { graph.used } else { u64::MAX };
        let oldest = self.rows.iter().filter(|(key, _)| **key != but).min_by_key(|(_, row)| used(row));
        if let Some(key) = oldest.map(|(key, _)| *key) {
            // SAFETY: the stream is the engine's.
            unsafe { result::stream::synchronize(stream) }.doing(|| "waiting for the GPU".to_owned())?;
            self.rows.remove(&key);
            self.graphs -= 1;
        }
        Ok(())
    }
}
