//! What others published of an arm.

use cm_evaluator::SetMetric;
use serde::{Deserialize, Serialize};

/// One published number, by the published Inception network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedValue {
    /// Which metric: `Frechet` is the FID, `ClassScore` the inception score.
    pub metric: SetMetric,
    /// The sampler, by its name in tables, such as `one-step` or `multistep-0.5853`.
    pub sampler: String,
    /// The number, any.
    pub value: f64,
    /// How far a reproduction may be from it, at least 0.
    pub tolerance: f64,
    /// Where it stands, such as `Song et al. 2023, Table 1`.
    pub source: String,
}
