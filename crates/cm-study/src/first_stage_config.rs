//! The settings of a first consistency training. Deliberately absent: doing it, which is the runner's.

use cm_consistency::{ConsistencyConfig, CurriculumConfig, DistanceConfig, TargetConfig};
use cm_diffusion::{IndexLawConfig, WeightingConfig};
use cm_training::TrainConfig;
use serde::{Deserialize, Serialize};

/// A consistency training before the student's own, by the same method and at the same noise levels, from
/// `consistency.init` or from what mid-training left: the student starts from its first average. With
/// `consistency.truncation` it is also the model below (Lee et al. 2025).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirstStageConfig {
    /// Batches, optimiser, learning rate; the first average is what the student starts from.
    pub train: TrainConfig, // each default beside its type, as those of the student
    /// The number of noise levels over its run.
    pub curriculum: CurriculumConfig,
    /// How often each pair of neighbouring levels is drawn.
    pub index_law: IndexLawConfig,
    /// The network that makes the target.
    pub target: TargetConfig,
    /// The distance of the two outputs of a pair.
    pub distance: DistanceConfig,
    /// The weight of a pair.
    pub weighting: WeightingConfig,
}

impl FirstStageConfig {
    /// The training itself: what is not its own is the student's.
    pub fn training(&self, student: &ConsistencyConfig) -> ConsistencyConfig {
        let Self { train, curriculum, index_law, target, distance, weighting } = self.clone();
        let (init, discretisation) = (student.init, student.discretisation);
        ConsistencyConfig {
            train,
            init,
            discretisation,
            curriculum,
            index_law,
            target,
            distance,
            weighting,
            ..ConsistencyConfig::default()
        }
    }
}
