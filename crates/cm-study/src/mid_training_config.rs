//! The settings of mid-training. Deliberately absent: doing it, which is the runner's.

use crate::samplers::{DpmSolverPlusPlusConfig, TeacherMethodConfig, TeacherSamplerConfig};
use cm_consistency::DistanceConfig;
use cm_diffusion::{FlowEnd, WeightingConfig};
use cm_training::TrainConfig;
use serde::{Deserialize, Serialize};

/// Consistency mid-training (Hu et al. 2025, CMT): before its own training the student learns, from each state of the
/// teacher's trajectories, where the trajectory ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MidTrainingConfig {
    /// Batches, optimiser, learning rate; the first average is what the student starts from.
    pub train: TrainConfig,
    /// Trajectories that are kept, at least 1.
    pub trajectories: usize,
    /// How they are made; without fresh noise.
    pub sampler: TeacherSamplerConfig,
    /// How the student's output is compared with a trajectory's end.
    pub distance: DistanceConfig,
    /// The weight of a state.
    pub weighting: WeightingConfig,
}

impl Default for MidTrainingConfig {
    fn default() -> Self {
        let flow = DpmSolverPlusPlusConfig { end: FlowEnd::SigmaMin };
        Self {
            train: TrainConfig {
                total_images: 38_400_000, // Hu et al. 2025, CIFAR-10
                batch: 128,               // Hu et al. 2025, CIFAR-10
                ..TrainConfig::default()  // the rest as beside that type
            },
            trajectories: 50_000, // ours: as many as CIFAR-10 has images
            sampler: TeacherSamplerConfig {
                method: TeacherMethodConfig::DpmSolverPlusPlus(flow), // Hu et al. 2025
                levels: 17,                                           // Hu et al. 2025: 16 steps
                spacing: None,                                        // as the student's
            },
            distance: DistanceConfig::default(), // Hu et al. 2025 have LPIPS or squared differences
            weighting: WeightingConfig::Uniform, // ours: the paper's is not known to us
        }
    }
}

/// Bytes of the kept trajectories.
pub(crate) fn bytes_kept(config: &MidTrainingConfig, values: usize) -> u64 {
    let numbers = (config.trajectories as u64).saturating_mul(config.sampler.levels as u64);
    numbers.saturating_mul(values as u64).saturating_mul(4)
}
