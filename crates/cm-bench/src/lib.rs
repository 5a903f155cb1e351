//! What this machine computes with, and how fast: kernels, training steps, samplers, evaluation.
//!
//! A [`Suite`] is a list of named [`Case`]s. [`Suite::run`] times them one after the other; [`Suite::serve`] times
//! each when it is asked to, so that another program can take turns with it: on a machine that others use as well,
//! only times taken alternately can be compared.
//!
//! Deliberately absent: whole runs, which are the runner's (`cm-experiment`), and printing. This crate may know kernels,
//! those of the GPU engine too, tensors, networks, trainers and the evaluator, and nothing of studies.
//!
//! ```
//! let suite = cm_bench::kernels();
//! assert!(suite.cases.iter().any(|case| case.name().starts_with("conv2d")));
//! ```

mod case;
mod devices;
mod evaluation;
mod gpu;
mod handover;
mod kernels;
mod network;
mod parity;
mod peak;
mod record;
mod sample;
mod step;

pub use case::{BenchError, Case, Suite};
pub use devices::describe_devices;
pub use evaluation::{InceptionFile, evaluation};
pub use gpu::gpu_kernels;
pub use kernels::kernels;
pub use network::{BenchNetwork, ExportError, NetworkSize, Variation, export};
pub use parity::{Parity, parity};
pub use record::{OnDevice, Record};
pub use sample::sample;
pub use step::step;
