//! Folders of diffusers: `UNet2DModel`, alone or in a `ConsistencyModelPipeline`, in both directions.
//!
//! Its network is ADM's with other names. What a configuration says that no ADM here is, is refused with the field and what
//! is allowed.

mod config;
mod folder;
mod naming;
#[cfg(test)]
mod tests;

pub(crate) use config::{SchedulerConfig, UnetConfig};
pub(crate) use folder::{SCHEDULER, UNET_CONFIG, UNET_WEIGHTS, read};
pub(super) use naming::Diffusers;
