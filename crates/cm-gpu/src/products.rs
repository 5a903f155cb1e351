//! Who computes a convolution or a matrix product: our kernels, or NVIDIA's libraries where they are found, agree with ours
//! on this card, and are faster.
//!
//! Ours compute everything unless [`Choosing::Timed`] is asked for or a [table](Gpu::fix_products) is given. Then each
//! product is tried once when it is first wanted ([`trial`]), on values of its own; what was chosen, and why, is a line of
//! the [table](Gpu::products_table). A given table is kept to: what it does not name, ours compute unless products are
//! timed as well. A plan is held against ours once in every process before it is used.
//!
//! Products of fewer operations than a limit stay ours: a library's call cannot be part of a row of launches, and what it
//! saves is less than what it costs to begin.

/// Matrix products by cuBLASLt.
mod cublaslt;
/// Convolutions by cuDNN.
mod cudnn;
/// What was chosen, as text.
mod table;
/// A product tried on this card.
mod trial;

use crate::arena::Arena;
use crate::buffer::Buffer;
use crate::conv2d::{Epilogue, Product};
use crate::error::GpuError;
use crate::gpu::Gpu;
use crate::libraries::{self, Device};
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use table::{Choice, Library, Table};

use crate::description::Choosing;

/// Something that computes products.
trait Products {
    /// Puts a product into `out`, whose size and type are its result's, with what an epilogue does to it; all that comes
    /// from one call depends on the operands alone, to the bit.
    fn compute(
        &self,
        gpu: &Gpu,
        product: &Product,
        operands: [&Buffer; 2],
        epilogue: Epilogue<'_>,
        out: &mut Buffer,
    ) -> Result<(), GpuError>;
}

/// Our kernels.
struct Ours;

impl Products for Ours {
    fn compute(
        &self,
        gpu: &Gpu,
        product: &Product,
        operands: [&Buffer; 2],
        epilogue: Epilogue<'_>,
        out: &mut Buffer,
    ) -> Result<(), GpuError> {
        *out = gpu.own_product(product, operands, epilogue)?;
        Ok(())
    }
}

/// A plan of a library.
#[derive(Debug)]
pub(crate) enum Planned {
    Cublaslt(cublaslt::Plan),
    Cudnn(cudnn::Plan),
}

impl Products for Planned {
    fn compute(
        &self,
        gpu: &Gpu,
        product: &Product,
        operands: [&Buffer; 2],
        epilogue: Epilogue<'_>,
        out: &mut Buffer,
    ) -> Result<(), GpuError> {
        match self {
            Self::Cublaslt(plan) => plan.compute(gpu, product, operands, epilogue, out),
            Self::Cudnn(plan) => plan.compute(gpu, product, operands, epilogue, out),
        }
    }
}

impl Planned {
    /// What it is known again by.
    fn choice(&self) -> Choice {
        match self {
            Self::Cublaslt(plan) => Choice::Plan(Library::Cublaslt, plan.text()),
            Self::Cudnn(plan) => Choice::Plan(Library::Cudnn, plan.text().to_owned()),
        }
    }
}

/// The libraries, opened, or why they are not.
#[derive(Debug)]
struct Libraries {
    cublaslt: Result<Arc<cublaslt::Handle>, String>,
    cudnn: Result<Arc<cudnn::Handle>, String>,
}

impl Libraries {
    fn open(arena: &Arc<Arena>) -> Self {
        let words = |error: GpuError| error.to_string();
        Self {
            cublaslt: cublaslt::Handle::open(arena).map(Arc::new).map_err(words),
            cudnn: cudnn::Handle::open(arena).map(Arc::new).map_err(words),
        }
    }

    fn is_there(&self, library: Library) -> bool {
        match library {
            Library::Cublaslt => self.cublaslt.is_ok(),
            Library::Cudnn => self.cudnn.is_ok(),
        }
    }

    /// Which library there may be plans of for a product.
    fn of(product: &Product) -> Library {
        if product.is_of_matrices() { Library::Cublaslt } else { Library::Cudnn }
    }

    /// The first few plans for a product that its library thinks best, at least one, or why there are none.
    fn plans(&self, product: &Product) -> Result<Vec<Planned>, String> {
        let words = |error: GpuError| error.to_string();
        Ok(match Self::of(product) {
            Library::Cublaslt => {
                let plans = cublaslt::Plan::best(self.cublaslt.as_ref()?, product).map_err(words)?;
                plans.into_iter().map(Planned::Cublaslt).collect()
            }
            Library::Cudnn => {
                let plans = cudnn::Plan::best(self.cudnn.as_ref()?, product).map_err(words)?;
                plans.into_iter().map(Planned::Cudnn).collect()
            }
        })
    }

    /// The plan for a product that was written as `text`.
    fn again(&self, library: Library, product: &Product, text: &str) -> Result<Planned, String> {
        let words = |error: GpuError| error.to_string();
        match library {
            Library::Cublaslt => {
                let plan = cublaslt::Plan::again(self.cublaslt.as_ref()?, product, text);
                plan.map(Planned::Cublaslt).map_err(words)
            }
            Library::Cudnn => {
                let plan = cudnn::Plan::again(self.cudnn.as_ref()?, product, text);
                plan.map(Planned::Cudnn).map_err(words)
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    choosing: Choosing,
    /// Opened when the first of their plans may be wanted.
    libraries: Option<Libraries>,
    table: Table,
    /// Who computes what has been asked for in this process; `None` for ours.
    chosen: HashMap<Product, Option<Arc<Planned>>>,
}

/// Who computes an engine's products.
#[derive(Debug)]
struct Chosen {
    state: Mutex<State>,
}

/// The card and the libraries: what a table is of.
fn here(device: &Device) -> String {
    let (major, minor) = device.capability;
    let mut text = format!("{}; compute capability {major}.{minor}", device.name);
    for found in libraries::search() {
        if [Library::Cublaslt.name(), Library::Cudnn.name()].contains(&found.what) {
            text += &match found.found {
                Some((_, version)) => format!("; {} {}", found.what, version.unwrap_or_default()),
                None => format!("; no {}", found.what),
            };
        }
    }
    text
}

impl Chosen {
    fn new(choosing: Choosing) -> Self {
        Self { state: Mutex::new(State { choosing, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The libraries; the table says what of them there is.
    fn libraries(&mut self, gpu: &Gpu) -> &Libraries {
        if self.table.of.is_empty() {
            self.table.of = here(gpu.device());
        }
        if self.libraries.is_none() {
            let opened = Libraries::open(gpu.arena());
            for absent in [opened.cublaslt.as_ref().err(), opened.cudnn.as_ref().err()].into_iter().flatten()
            {
                self.table.note(format!("{absent}: ours are used"));
            }
            self.libraries = Some(opened);
        }
        self.libraries.as_ref().expect("just opened")
    }

    fn plan(&mut self, gpu: &Gpu, product: &Product) -> Result<Option<Arc<Planned>>, GpuError> {
        if let Some(known) = self.chosen.get(product) {
            return Ok(known.clone());
        }
        let name = product.to_string();
        let entry = self.table.entries.get(&name).cloned();
        let chosen = match (entry, self.choosing) {
            (Some(entry), _) => match &entry.choice {
                Choice::Ours => None,
                Choice::Plan(library, plan) => self.again(gpu, product, *library, plan)?,
            },
            (None, Choosing::Timed { least_operations }) if product.operations() >= least_operations => {
                self.timed(gpu, product, name)?
            }
            (None, Choosing::Timed { .. } | Choosing::Ours) => None,
        };
        let chosen = chosen.map(Arc::new);
        self.chosen.insert(*product, chosen.clone());
        Ok(chosen)
    }

    /// A plan of the table, if it can be made again and still agrees with ours.
    fn again(
        &mut self,
        gpu: &Gpu,
        product: &Product,
        library: Library,
        plan: &str,
    ) -> Result<Option<Planned>, GpuError> {
        let told =
            |reason: String| format!("{}, {plan}, for {product}: {reason}: ours is used", library.name());
        let planned = match self.libraries(gpu).again(library, product, plan) {
            Ok(planned) => planned,
            Err(reason) => {
                self.table.note(told(reason));
                return Ok(None);
            }
        };
        let agreed = trial::Trial::new(gpu, product).and_then(|trial| trial.agrees(&planned));
        match trial::tolerated(agreed)? {
            Ok(_) => Ok(Some(planned)),
            Err(reason) => {
                self.table.note(told(reason));
                Ok(None)
            }
        }
    }

    /// The fastest that computes a product, by a trial of all.
    fn timed(&mut self, gpu: &Gpu, product: &Product, name: String) -> Result<Option<Planned>, GpuError> {
        let plans = match self.libraries(gpu).plans(product) {
            Ok(plans) => plans,
            Err(reason) => {
                let library = Libraries::of(product);
                // That a library is not there was noted when it was looked for.
                if self.libraries(gpu).is_there(library) {
                    let of = library.name();
                    self.table.note(format!("{of} has no plan for {name}: {reason}: ours is used"));
                }
                return Ok(None);
            }
        };
        let tried = trial::Trial::new(gpu, product).and_then(|trial| trial.fastest(plans));
        match trial::tolerated(tried)? {
            Ok(fastest) => {
                fastest.notes.into_iter().for_each(|note| self.table.note(format!("{name}: {note}")));
                self.table.entries.insert(name, fastest.entry);
                Ok(fastest.plan)
            }
            Err(reason) => {
                self.table.note(format!("{name} could not be tried: {reason}: ours is used"));
                Ok(None)
            }
        }
    }
}

fn chosen(gpu: &Gpu) -> &Chosen {
    gpu.chosen(Chosen::new)
}

impl Gpu {
    /// A product by a library's plan, if one was chosen for it.
    pub(crate) fn planned(
        &self,
        product: &Product,
        operands: [&Buffer; 2],
        epilogue: Epilogue<'_>,
    ) -> Result<Option<Buffer>, GpuError> {
        let Some(plan) = chosen(self).state().plan(self, product)? else { return Ok(None) };
        let (len, element) = product.result();
        let mut out = self.unwritten(element, len)?;
        plan.compute(self, product, operands, epilogue, &mut out)?;
        Ok(Some(out))
    }

    /// Which products were timed, on what, how long each took, and who computes it: a text for
    /// [`fix_products`](Self::fix_products). `None` if nothing was to be.
    pub fn products_table(&self) -> Option<String> {
        let mut state = chosen(self).state();
        let said = matches!(state.choosing, Choosing::Timed { .. })
            || !(state.table.entries.is_empty() && state.table.notes.is_empty());
        if said && state.table.of.is_empty() {
            state.table.of = here(self.device());
        }
        said.then(|| state.table.to_string())
    }

    /// From now on products are computed as a table says that names them.
    ///
    /// # Errors
    /// [`GpuError::Table`] if it is none; [`GpuError::OtherTable`] if it was timed on another card, or with other libraries.
    pub fn fix_products(&self, text: &str) -> Result<(), GpuError> {
        let (table, here) = (Table::parse(text)?, here(self.device()));
        if table.of != here {
            return Err(GpuError::OtherTable { found: table.of, here });
        }
        let mut state = chosen(self).state();
        state.table.of = here;
        table.notes.into_iter().for_each(|note| state.table.note(note));
        state.table.entries.extend(table.entries);
        state.chosen.clear();
        Ok(())
    }

    /// Who computes products, in words; nothing if ours do, as everywhere.
    pub fn products_described(&self) -> Option<String> {
        let state = chosen(self).state();
        match state.choosing {
            Choosing::Ours if state.table.entries.is_empty() => None,
            Choosing::Ours => Some("products by a table".to_owned()),
            Choosing::Timed { .. } => {
                let here = here(self.device());
                let libraries = here.splitn(3, "; ").nth(2).unwrap_or_default();
                Some(format!("products timed ({libraries})"))
            }
        }
    }
}

/// cuDNN's plans for a convolution on a GPU that is described by its properties, as the library itself writes them, in JSON:
/// each plan's text, and the bytes of its workspace, as it was proposed and as it was made again from its text. No GPU is
/// needed.
///
/// # Errors
/// [`GpuError::Library`] if the library is not there, does not take the properties, or has no plan.
///
/// # Panics
/// If the properties have a zero byte.
pub fn cudnn_plans(properties: &str, product: &Product) -> Result<Vec<(String, [usize; 2])>, GpuError> {
    let properties = CString::new(properties).expect("JSON has no zero byte");
    cudnn::plans_for_properties(&properties, product)
}
