//! Raw networks F(x, c_noise): architecture only.
//!
//! A [`Network`] is a function of weights it does not hold, images and a noise-level number; preconditioning turns
//! it into a denoiser or a consistency function elsewhere. Fixed small networks that give features for distances
//! and metrics are in [`feature_net`].
//!
//! Deliberately absent: noise levels and their meaning, losses, training loops. May know `cm-tensor` and
//! `cm-image`.

mod adm;
mod assemble;
mod block_config;
mod config;
mod counts;
mod edm2;
mod edm2_config;
pub mod feature_net;
mod init;
mod layers;
mod limits;
mod mlp;
mod network;
mod preset;
mod problem;
mod recompute;
mod scaled;
#[cfg(test)]
mod tests;
mod traced;
mod unet;

pub use adm::Adm;
pub use block_config::{HeadsConfig, ResamplingConfig};
pub use config::{
    AdmConfig, EmbeddingConfig, FourierConfig, MlpConfig, NetworkConfig, ScaleConfig, UNetConfig,
};
pub use counts::Counts;
pub use edm2::Edm2;
pub use edm2_config::Edm2Config;
pub use limits::{MOST_BLOCKS, MOST_CHANNELS, MOST_PARAMETERS, MOST_WIDTH};
pub use mlp::Mlp;
pub use network::{Conditions, Extra, LabelsError, Network, check_labels};
pub use preset::Preset;
pub use problem::{NetworkConfigError, NetworkProblem};
pub use scaled::Scaling;
pub use unet::UNet;

// Who evaluates a network needs these, and reaches them from here.
pub use cm_tensor::{CheckpointError, Graph, Images, Matrix, TensorFile, Weights, fixed};
