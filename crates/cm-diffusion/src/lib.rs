//! The vocabulary of diffusion: the paper's quantities, and the traits in which crates meet that must not know
//! each other.
//!
//! A trained network appears here only as a [`Denoiser`] (a posterior mean) or a [`ConsistencyFunction`] (the end
//! of a trajectory). These are two traits though their signatures agree, so no ODE solver can be handed a
//! consistency model. Solvers, samplers and [`editing`] are built on them, and [`analytic`] holds densities whose
//! denoiser and flow are known exactly: the test bench of everything else, and a teacher that needs no training.
//!
//! Deliberately absent: networks, tensors, autograd, training, files. This crate knows `cm-image` only.

pub mod analytic;
mod denoiser;
mod discretisation;
pub mod editing;
mod flow_map;
mod guidance;
mod index_law;
pub mod noise;
mod noise_distribution;
mod precondition;
mod sampler;
mod sigma;
mod solver;
mod weighting;

pub use denoiser::{ConsistencyFunction, Denoiser, ModelError};
pub use discretisation::{
    Cosine, CosineConfig, Discretisation, DiscretisationConfig, Exponential, Karras, KarrasConfig, Linear,
    SpacingConfig,
};
pub use flow_map::{AlongLine, FlowMap, euler_jump};
pub use guidance::{Autoguided, Guidance, Guided, ToGuide};
pub use index_law::{IndexLaw, IndexLawConfig, LogNormalIndexConfig};
pub use noise_distribution::{
    LogNormal, LogNormalConfig, LogUniform, LogUniformConfig, NoiseDistribution, NoiseDistributionConfig,
};
pub use precondition::{Boundary, Coefficients, Edm, Iddpm, Precondition, Ve, Vp};
pub use sampler::{
    Ancestral, Churn, DpmSolverPlusPlus, FlowEnd, Gamma, Jumps, Labels, Multistep, OneStep, ProbabilityFlow,
    Sampler, Stochastic,
};
pub use sigma::{LevelPair, NoiseLevels, NumLevels, QuantityError, Sigma, SigmaRange};
pub use solver::{DpmSolver2, Euler, Heun, Midpoint, OdeSolver, Rho3Midpoint, SolverConfig};
pub use weighting::{Weighting, WeightingConfig};
