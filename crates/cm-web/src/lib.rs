//! A consistency model as one page of HTML that draws and fills in, in any browser, without server and network.
//!
//! The page holds two things beside its text: this crate and those below it as a module of WebAssembly, and the model:
//! a [`Card`] and the weights in half precision. The module opens the model and draws with the sampler, the noise and the
//! kernels of `cm sample`, so the same seeds give the same pictures, up to what half precision and another
//! processor's rounding change.
//!
//! Built for a browser, the crate is [`Artist`] behind a handful of functions of numbers (`abi.rs`). Built for the
//! program it is [`page()`], which puts a page together, and the same artist for the tests.
//!
//! Deliberately absent: training, diffusion models, files, and where a model comes from (`cm-workbench`). May know
//! `cm-consistency`, `cm-network`, `cm-diffusion` and `cm-image`.

#[cfg(target_arch = "wasm32")]
mod abi;
mod artist;
mod card;
mod model;
mod packed;
#[cfg(not(target_arch = "wasm32"))]
mod page;

pub use artist::{Artist, DrawError, Pixels};
pub use card::{Card, CardError};
pub use model::{OpenError, packed_model};
pub use packed::PackError;
#[cfg(not(target_arch = "wasm32"))]
pub use page::{PageError, page};
