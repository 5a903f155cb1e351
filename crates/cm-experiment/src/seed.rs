//! From one seed of the plan to one seed for each use of chance. The only place that derives them.
//!
//! The arms of a study share their seeds: two arms with the same plan seed see the same batches, the same noise and
//! the same sample seeds, so their difference is the arm and not the luck.

use cm_image::random::derive_seed;

/// The seeds of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedSeeds {
    /// Fresh weights.
    pub init: u64,
    /// Noise levels and noise of training.
    pub noise: u64,
    /// Dropout masks; student and target are given the same one at each step.
    pub dropout: u64,
    /// The order of the training images.
    pub shuffle: u64,
    /// Generated images, one seed derived for each.
    pub sample: u64,
    /// The small classifier of a feature distance.
    pub features: u64,
    /// The noise on held-out images at which residuals are measured.
    pub probe: u64,
    /// The starts of the teacher's trajectories that mid-training learns from.
    pub trajectories: u64,
    /// Which of their states each step of mid-training sees.
    pub mid_training: u64,
    /// Noise levels and noise of a first stage.
    pub first_stage: u64,
}

impl NamedSeeds {
    /// The seeds of a run (or of a teacher) from its plan seed.
    pub fn of(seed: u64) -> Self {
        // The numbers are part of every result: they are never reused or reordered.
        Self {
            init: derive_seed(seed, 1),
            noise: derive_seed(seed, 2),
            dropout: derive_seed(seed, 3),
            shuffle: derive_seed(seed, 4),
            sample: derive_seed(seed, 5),
            features: derive_seed(seed, 6),
            probe: derive_seed(seed, 7),
            trajectories: derive_seed(seed, 8),
            mid_training: derive_seed(seed, 9),
            first_stage: derive_seed(seed, 10),
        }
    }

    /// The seeds of what judges all runs of a study alike: the evaluator's classifier and its projections.
    pub fn judge() -> Self {
        Self::of(derive_seed(0, u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_uses_of_chance_share_a_seed() {
        let all = |s: NamedSeeds| {
            [
                s.init,
                s.noise,
                s.dropout,
                s.shuffle,
                s.sample,
                s.features,
                s.probe,
                s.trajectories,
                s.mid_training,
                s.first_stage,
            ]
        };
        let mut seeds: Vec<u64> = (0..50).flat_map(|seed| all(NamedSeeds::of(seed))).collect();
        seeds.extend(all(NamedSeeds::judge()));
        assert_eq!(seeds.iter().collect::<BTreeSet<_>>().len(), 51 * 10);
    }
}
