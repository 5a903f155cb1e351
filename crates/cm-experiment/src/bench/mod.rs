//! How fast kernels, training steps and samplers are on this machine.
//!
//! A [`Suite`] is a list of named [`Case`]s. [`Suite::run`] times them one after the other; [`Suite::serve`] times
//! each when it is asked to, so that another program can take turns with it: on a machine that others use as well,
//! only times taken alternately can be compared.

mod case;
mod evaluation;
mod handover;
mod kernels;
mod network;
mod peak;
mod record;
mod sample;
mod step;

pub use case::{BenchError, Case, Suite};
pub use evaluation::{InceptionFile, evaluation};
pub use kernels::kernels;
pub use network::{BenchNetwork, ExportError, NetworkSize, Variation, export};
pub use record::Record;
pub use sample::sample;
pub use step::step;
