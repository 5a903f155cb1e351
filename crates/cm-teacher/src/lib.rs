//! The diffusion model that is distilled: a network under EDM preconditioning, trained by denoising score matching
//! (Karras et al. 2022).
//!
//! A [`Teacher`] is a [`cm_diffusion::Denoiser`] and nothing more to the rest of the program: a teacher may as well
//! be the exact denoiser of a known density. Deliberately absent: consistency models, data sets, files. May know
//! `cm-diffusion`, `cm-network`, `cm-training`, `cm-tensor` and `cm-image`.

mod config;
mod step;
mod teacher;

pub use config::TeacherConfig;
pub use step::TeacherStep;
pub use teacher::Teacher;
