//! How good are the samples: distances between feature distributions, coverage of the data, what a classifier
//! recognises, and, where the density is known, errors against the exact answer.
//!
//! The way through: [`Reference::new`] computes once what the metrics need of the reference images;
//! [`evaluate`] draws images from a [`Sampler`](cm_diffusion::Sampler), one seed per image, and scores them;
//! [`floor`] gives the same scores of held-out data, which a perfect model would reach; [`summarise`] joins seeds.
//! Every [`Score`] carries its number of samples in its name, because most of these metrics are biased by it.
//! [`SetCollector`] and [`compare`] do the same for two sets of images of any size, as published evaluators do, and a
//! study's metrics on features and classes go through them too: what is drawn from a model and scored later has the
//! bits of the study's table.
//!
//! What holds everywhere:
//! * Sums are in `f64`. Work is cut into pieces that do not depend on the number of threads and partial sums are
//!   added in a fixed order, so scores are the same bits for any number of threads.
//! * Infinite or NaN values are an error that says how many rows and which first, never a NaN score.
//! * Matrix products go through `faer` (single-threaded calls inside our own pieces) and not through the `gemm`
//!   crate: its entry point is `unsafe`, which this crate does not allow, and distances want `f64`.
//!
//! Deliberately absent: printing, files, the training of classifiers, and the name FID: a Fréchet distance is
//! called that only on Inception features. This crate cannot tell a teacher from a student, and knows `cm-image`,
//! `cm-diffusion`, and `cm-network` for the features of trained classifiers.

mod comparison;
mod evaluate;
mod features;
pub mod metric;
mod report;
mod self_consistency;
mod statistics;
mod symmetric_sqrt;

pub use comparison::{
    ComparisonError, SetCollector, SetMetric, SetPart, SetReference, SetScore, SetSummary, compare,
};
pub use evaluate::{
    Diversity, EvaluationError, ExactEndpoint, ExactModes, Judges, NetworkReference, Reference, SampleScorer,
    draw, draw_delivered, evaluate, floor, image_seeds,
};
pub use features::{
    ActivationExtractor, Activations, FeatureError, FeatureMatrix, InceptionJudge, InceptionResize,
    NetworkJudge, Pixels,
};
pub use metric::{FeatureScaling, MetricConfig, MetricConfigError, MetricError, MetricKind, Needs};
pub use report::{Score, Summary, summarise};
pub use self_consistency::{Spread, SpreadError, trajectory_spread};
pub use statistics::{RunningStatistics, Standardiser, Statistics};
pub use symmetric_sqrt::{nuclear_norm_of_product, symmetric_sqrt};
