//! Fixed networks whose activations serve as features: for distances and for metrics. How they are trained is not
//! this crate's business.

mod classifier;

pub use classifier::{Classifier, ClassifierOutput};
