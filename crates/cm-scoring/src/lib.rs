//! Sets of images against each other, comparably with the literature: what `cm evaluate`, `cm stats` and `cm lpips` do.
//!
//! A set is an npz file, a folder of pictures, a data set, or a file of statistics that another program wrote. It is
//! passed through a network once, in batches, and only sums are kept, and the features of every image where a metric
//! needs them. Every number comes with a [`Card`].
//!
//! Deliberately absent: drawing samples and the scores of a study (`cm-experiment`, which takes the Inception network, its
//! card and files of statistics from here), and the metrics themselves (`cm-evaluator`). It may know evaluator, networks and data sets, and `cm-study` for the notation of data sets and the
//! problems of options.
//!
//! ```
//! # fn main() -> Result<(), cm_scoring::ScoringError> {
//! use cm_evaluator::InceptionResize;
//! use cm_host::{Silent, StopFlag};
//! use cm_scoring::{EvaluateRequest, evaluate_sets};
//! let request = EvaluateRequest {
//!     samples: "dataset:Digits()@test".into(),
//!     reference: "dataset:Digits()@train".into(),
//!     features: "classifier".into(),
//!     resize: InceptionResize::SmoothBicubic,
//!     scaling: None,
//!     metrics: None,
//!     split: 100,
//!     neighbours: 3,
//!     batch: 100,
//!     cache: None,
//!     out: None,
//! };
//! let card = evaluate_sets(&request, &StopFlag::new(), &mut Silent)?.expect("nobody asked for a stop");
//! assert!(card.markdown().contains("297"));
//! # Ok(())
//! # }
//! ```

mod activation_cache;
mod card;
mod error;
mod evaluate;
mod folder;
mod image_source;
mod judge;
mod npz_reader;
mod perceptual;
mod side;
mod statistics;
mod statistics_file;

pub use card::{Card, FeatureCard, MetricCard, SetCard};
pub use error::ScoringError;
pub use evaluate::{EvaluateRequest, evaluate_sets};
pub use image_source::ImageSource;
pub use judge::{FeatureChoice, inception};
pub use perceptual::{Perceptual, PerceptualRequest, perceptual};
pub use statistics::{StatsRequest, write_statistics};
pub use statistics_file::StatisticsFile;
