//! Convolutions by cuDNN's backend interface: plain ones, by engines that are compiled already and give the same bits each
//! time. Of fused ones the library would compile each at run time, for half a minute; what is done to the sums is a pass of
//! our own behind them.
//!
//! A gradient by weights in bf16 must be in single precision, and no engine gives that of bf16. So its factors are widened,
//! and an engine for tf32 multiplies them, of which every bf16 is one: the products are the same.
//!
//! Its fast engines take weights as \[out, k, k, in\], ours are \[k, k, in, out\]: weights are transposed on their way in,
//! and gradients by them on their way out.

/// Which engine, with which settings.
mod configuration;
/// What the interface is made of.
mod descriptor;
/// What is wanted.
mod graph;

use super::Products;
use crate::arena::Arena;
use crate::buffer::Buffer;
use crate::conv2d::{Epilogue, Precision, Product, Way};
use crate::element::Element;
use crate::error::GpuError;
use crate::gpu::Gpu;
use crate::libraries;
use configuration::{Configuration, execution_plan};
use cudarc::cudnn::sys;
use descriptor::{Descriptor, Kind, Name, check};
use graph::Graph;
use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};

const NAME: &str = "cuDNN";
/// Plans that are tried for a product.
const MOST_PLANS: usize = 4;
/// Names of the three tensors of a convolution: input, weight, output, or their gradients.
const TENSORS: [i64; 3] = [1, 2, 3];

/// The library, ready for a GPU.
#[derive(Debug)]
pub(crate) struct Handle {
    /// One thread at a time may use it.
    raw: Mutex<Raw>,
    arena: Arc<Arena>,
}

#[derive(Debug)]
struct Raw(sys::cudnnHandle_t);

// SAFETY: a handle may be used from any thread, by one at a time.
unsafe impl Send for Raw {}

impl Handle {
    pub(crate) fn open(arena: &Arc<Arena>) -> Result<Self, GpuError> {
        libraries::need(NAME)?;
        arena.context().enter()?;
        let mut raw = null_mut();
        // SAFETY: the library is there, and the handle is written to.
        check(unsafe { sys::cudnnCreate(&raw mut raw) }, || "its start".to_owned())?;
        let handle = Self { raw: Mutex::new(Raw(raw)), arena: Arc::clone(arena) };
        // SAFETY: handle and stream are there.
        check(unsafe { sys::cudnnSetStream(raw, arena.context().stream.cast()) }, || {
            "taking the stream".to_owned()
        })?;
        Ok(handle)
    }

    fn with<T>(&self, work: impl FnOnce(sys::cudnnHandle_t) -> T) -> T {
        work(self.raw.lock().unwrap_or_else(PoisonError::into_inner).0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // What fails here has failed before: there is nobody to tell.
        let _ = self.arena.wait();
        // SAFETY: the handle is this value's own, and nothing uses it any more.
        let _ = self.with(|raw| unsafe { sys::cudnnDestroy(raw) });
    }
}

/// What the library's tensors of a product are.
fn element(product: &Product) -> Element {
    match product.way {
        Way::Forward | Way::BackwardData => product.precision.element(),
        Way::BackwardWeight => Element::F32,
    }
}

/// How the library computes a product.
fn precision(product: &Product) -> Precision {
    match (product.way, product.precision) {
        (Way::BackwardWeight, Precision::Bf16) => Precision::Tf32,
        (_, precision) => precision,
    }
}

/// What plans are made for: the GPU of a handle, or one that is described.
#[derive(Clone, Copy)]
enum For<'a> {
    Handle(sys::cudnnHandle_t),
    Properties(&'a Descriptor),
}

/// A way of the library to compute one product.
#[derive(Debug)]
pub(crate) struct Plan {
    handle: Arc<Handle>,
    plan: Descriptor,
    workspace: usize,
    text: String,
    /// What the plan was made of, which the library may look at as long as it is used.
    _graph: Arc<Graph>,
    _configuration: Vec<Descriptor>,
}

/// A plan, its workspace's bytes, and what it was made of.
type Made = (Descriptor, usize, Vec<Descriptor>);

/// The first few configurations for a product that may be used and of which plans could be made, with these. What is said of
/// those that could not be is that of the last.
fn best(of: For<'_>, graph: &Graph, product: &Product) -> Result<Vec<(Configuration, Made)>, GpuError> {
    let asking = || format!("asking for plans of {product}");
    let (mut plans, mut last) = (Vec::new(), None);
    for described in graph.configurations(of, &asking)? {
        let Some(configuration) = Configuration::of(&described, precision(product))? else { continue };
        match execution_plan(of, &described, &asking) {
            Ok((plan, workspace)) => plans.push((configuration, (plan, workspace, vec![described]))),
            Err(error) => last = Some(error),
        }
        if plans.len() == MOST_PLANS {
            break;
        }
    }
    let none = || {
        let answer = "it knows none that is compiled, rounds as it should, and gives the same bits each time";
        GpuError::Library { library: NAME, doing: asking(), answer: answer.to_owned() }
    };
    if plans.is_empty() { Err(last.unwrap_or_else(none)) } else { Ok(plans) }
}

/// The plan of a configuration that was written as `text`.
fn again(of: For<'_>, graph: &Graph, product: &Product, text: &str) -> Result<Made, GpuError> {
    let taking_up = || format!("taking up the plan `{text}` of {product}");
    let configuration = Configuration::parse(text).ok_or_else(|| {
        let answer = "a plan is `engine N` with settings `KIND=VALUE`".to_owned();
        GpuError::Library { library: NAME, doing: taking_up(), answer }
    })?;
    let made_of = configuration.described(of, graph, &taking_up)?;
    let described = made_of.last().expect("the configuration itself");
    if Configuration::of(described, precision(product))?.is_none() {
        let answer = "the engine does not round as it should, or not the same each time".to_owned();
        return Err(GpuError::Library { library: NAME, doing: taking_up(), answer });
    }
    let (plan, workspace) = execution_plan(of, described, &taking_up)?;
    Ok((plan, workspace, made_of))
}

impl Plan {
    /// The first few that the library thinks best, at least one.
    pub(crate) fn best(handle: &Arc<Handle>, product: &Product) -> Result<Vec<Self>, GpuError> {
        handle.arena.context().enter()?;
        handle.with(|raw| {
            let graph = Arc::new(Graph::new(For::Handle(raw), product)?);
            let plans = best(For::Handle(raw), &graph, product)?;
            let with = |(configuration, made): (Configuration, Made)| {
                Self::of(handle, &graph, configuration.text(), made)
            };
            Ok(plans.into_iter().map(with).collect())
        })
    }

    /// The one that was written as `text`.
    pub(crate) fn again(handle: &Arc<Handle>, product: &Product, text: &str) -> Result<Self, GpuError> {
        handle.arena.context().enter()?;
        handle.with(|raw| {
            let graph = Arc::new(Graph::new(For::Handle(raw), product)?);
            let made = again(For::Handle(raw), &graph, product, text)?;
            Ok(Self::of(handle, &graph, text.to_owned(), made))
        })
    }

    fn of(handle: &Arc<Handle>, graph: &Arc<Graph>, text: String, made: Made) -> Self {
        let ((plan, workspace, _configuration), _graph) = (made, Arc::clone(graph));
        Self { handle: Arc::clone(handle), plan, workspace, text, _graph, _configuration }
    }

    /// What it is known again by, by the same version of the library.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Runs the plan on an input, a weight and an output in the library's layouts, one of which is written.
    fn execute(&self, gpu: &Gpu, product: &Product, tensors: [u64; 3]) -> Result<(), GpuError> {
        let mut workspace = gpu.unwritten(Element::U32, self.workspace.div_ceil(4))?;
        let pack = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?;
        pack.integers(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &TENSORS)?;
        pack.addresses(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, &tensors)?;
        pack.addresses(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, &[workspace.address_to_write()])?;
        let computing = || format!("computing {product}");
        let pack = pack.finished(computing)?;
        gpu.context().enter_behind()?;
        // SAFETY: the plan and the addresses are of tensors of the sizes, types and layouts that were described; all work
        // is of one stream, so that memory is given away again only to what comes later.
        let execute = |raw| unsafe { sys::cudnnBackendExecute(raw, self.plan.raw(), pack.raw()) };
        check(self.handle.with(execute), computing)?;
        gpu.context().gathered.called();
        Ok(())
    }
}

impl Products for Plan {
    fn compute(
        &self,
        gpu: &Gpu,
        product: &Product,
        operands: [&Buffer; 2],
        epilogue: Epilogue<'_>,
        out: &mut Buffer,
    ) -> Result<(), GpuError> {
        let shape = &product.shape;
        let (outputs, rows) = (shape.out_channels, shape.weight_len() / shape.out_channels);
        let [a, b] = operands;
        // The weight, or its gradient, as the library lays it out.
        let mut weight = gpu.unwritten(element(product), shape.weight_len())?;
        match product.way {
            Way::Forward | Way::BackwardData => {
                gpu.transpose([rows, outputs], b, 1.0, &mut weight)?;
                let (a, out) = (a.address(), out.address_to_write());
                let [x, y] = if product.way == Way::Forward { [a, out] } else { [out, a] };
                self.execute(gpu, product, [x, weight.address(), y])?;
            }
            Way::BackwardWeight => {
                let (x, y) = (gpu.converted(a, Element::F32)?, gpu.converted(b, Element::F32)?);
                self.execute(gpu, product, [x.address(), weight.address_to_write(), y.address()])?;
                return gpu.transpose([outputs, rows], &weight, epilogue.scale, out);
            }
        }
        if product.finished { gpu.finish(shape, out, epilogue) } else { Ok(()) }
    }
}

/// Plans for a product on a GPU that is described by its properties: [`cudnn_plans`](super::cudnn_plans).
pub(super) fn plans_for_properties(
    properties: &CStr,
    product: &Product,
) -> Result<Vec<(String, [usize; 2])>, GpuError> {
    libraries::need(NAME)?;
    let device = Descriptor::new(Kind::CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR)?;
    device.text(Name::CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, properties)?;
    let device = device.finished(|| "taking a GPU's properties".to_owned())?;
    let of = For::Properties(&device);
    let graph = Graph::new(of, product)?;
    let made = best(of, &graph, product)?.into_iter().map(|(configuration, (_, workspace, _))| {
        let text = configuration.text();
        let (_, other, _) = again(of, &graph, product, &text)?;
        Ok((text, [workspace, other]))
    });
    made.collect()
}
