//! What work needs from the machine it runs on: files that are whole or not there ([`durable`]) and can be told from
//! others later ([`Seal`], [`Manifest`]), arrays in npz files ([`npz`]), a pool of threads ([`on_threads`]), how much
//! [`memory`] there is, a flag that asks for a stop ([`StopFlag`]), somebody to tell of its progress ([`Progress`]),
//! and what made a result ([`Provenance`], [`SamplesCard`]).
//!
//! Deliberately absent: anything of images, networks or studies, printing, and signals. Of the workspace it may know
//! `cm-kernels`, whose allocator it sets up and whose instruction set it tells, and nothing else.
//!
//! ```
//! # fn main() -> Result<(), cm_host::FileError> {
//! use cm_host::{FileError, durable};
//! let path = std::env::temp_dir().join(format!("cm-host-{}.txt", std::process::id()));
//! durable::write(&path, b"whole or not there").map_err(FileError::io(&path))?;
//! assert_eq!(std::fs::read(&path).map_err(FileError::io(&path))?, b"whole or not there");
//! # std::fs::remove_file(&path).map_err(FileError::io(&path))
//! # }
//! ```

pub mod durable;
mod error;
mod folder;
mod manifest;
pub mod memory;
pub mod npz;
mod progress;
mod provenance;
mod samples_card;
mod seal;
mod set_aside;
mod stop;
mod threads;
mod unfinished;

pub use error::FileError;
pub use manifest::{Identity, MANIFEST, Manifest};
pub use progress::{Part, Progress, Silent};
pub use provenance::{Build, Provenance, computes_on};
pub use samples_card::SamplesCard;
pub use seal::{Seal, Sealer, self_sealed};
pub use set_aside::SetAside;
pub use stop::StopFlag;
pub use threads::{ThreadsError, on_threads};
pub use unfinished::{NewFile, NewFolder, ResultFolder, abandon};
