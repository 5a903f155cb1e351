//! How a network is trained, as data. Durations count images, never steps.

use crate::{
    AugmentationConfig, EmaConfig, LearningRateConfig, OptimiserConfig, RangeError, SnapshotsConfig,
};
use serde::{Deserialize, Serialize};

/// What teacher and student training have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Images seen in all, 1 to 2^50; rounded up to whole batches.
    pub total_images: u64,
    /// Images of a step, 1 to 2^20.
    pub batch: usize,
    /// The optimiser.
    pub optimiser: OptimiserConfig,
    /// The learning rate over the run.
    pub learning_rate: LearningRateConfig,
    /// Parts of a batch whose gradients are computed one after the other, or by several processes: a power of two that
    /// divides the batch. Activations of one part are held at a time. As many processes, or half as many and so on, give
    /// the same bits; another number of parts gives others.
    pub shards: usize,
    /// Largest norm of the whole gradient, > 0; longer ones are scaled down to it. None: no clipping.
    pub gradient_clip: Option<f32>,
    /// The averages of the weights kept for evaluation, one model each; the first is the one reported.
    pub ema: Vec<EmaConfig>,
    /// Snapshots from which averages of other widths are worked out after the run. None: none are kept.
    pub snapshots: Option<SnapshotsConfig>,
    /// Whether about half of the images are mirrored left to right, chosen anew in every pass over the data.
    pub horizontal_flips: bool,
    /// The changes that images go through, which the network is told. None, and not written: they are trained on as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<AugmentationConfig>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            total_images: 409_600_000, // Song et al. 2023, Table 3: 800k x 512, CIFAR-10
            batch: 512,                // Song et al. 2023, Table 3, CIFAR-10
            optimiser: OptimiserConfig::default(), // beside that type
            learning_rate: LearningRateConfig::default(), // beside that type
            shards: 1,                 // ours: whole batches are fastest in one process
            gradient_clip: None,       // Song et al. 2023, Appendix C: none
            ema: vec![EmaConfig::default()], // beside that type
            snapshots: None,           // Song et al. 2023: none
            horizontal_flips: false, // ours: digits read one way; Song et al. 2023, Appendix C flips photographs
            augmentation: None,      // Song et al. 2023: none
        }
    }
}

/// Images of a step, at most.
const MOST_BATCH: usize = 1 << 20;

impl TrainConfig {
    /// Images of a run, at most: what is worked out of them stays a whole number of 64 bits.
    pub const MOST_IMAGES: u64 = 1 << 50;

    /// Steps of the run: whole batches that cover `total_images`.
    pub fn steps(&self) -> u64 {
        self.total_images.div_ceil(self.batch.max(1) as u64)
    }

    /// Images of all steps: `total_images` rounded up.
    pub fn images(&self) -> u64 {
        self.steps() * self.batch as u64
    }

    /// Everything that is out of range, with paths relative to this struct.
    pub fn problems(&self) -> Vec<RangeError> {
        let mut problems: Vec<_> = [
            RangeError::unless(
                (1..=Self::MOST_IMAGES).contains(&self.total_images),
                "total_images",
                self.total_images,
                "1 to 2^50 images",
            ),
            RangeError::unless(
                (1..=MOST_BATCH).contains(&self.batch),
                "batch",
                self.batch,
                "1 to 2^20 images",
            ),
            RangeError::unless(
                self.shards.is_power_of_two() && self.batch.is_multiple_of(self.shards),
                "shards",
                self.shards,
                "a power of two that divides the batch",
            ),
            self.gradient_clip.and_then(|clip| {
                RangeError::unless(clip > 0.0, "gradient_clip", clip, "above 0, or None for no clipping")
            }),
            RangeError::unless(!self.ema.is_empty(), "ema", "[]", "at least one average; [None] for none"),
        ]
        .into_iter()
        .flatten()
        .collect();
        problems.extend(inside("learning_rate", self.learning_rate.problems()));
        problems.extend(inside("optimiser", self.optimiser.problems()));
        problems.extend(inside("augmentation", self.augmentation.and_then(|config| config.problems())));
        problems.extend(inside("snapshots", self.snapshots.iter().flat_map(SnapshotsConfig::problems)));
        for (index, ema) in self.ema.iter().enumerate() {
            let field = format!("ema[{index}]");
            problems.extend(ema.problem(&field));
            if self.ema[..index].contains(ema) {
                problems.push(RangeError { field, given: ema.name(), allowed: "each average once" });
            }
        }
        problems
    }
}

/// Problems of the field `outer`, seen from outside.
fn inside(outer: &str, problems: impl IntoIterator<Item = RangeError>) -> impl Iterator<Item = RangeError> {
    problems
        .into_iter()
        .map(move |problem| RangeError { field: format!("{outer}.{}", problem.field), ..problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AdamWConfig;

    #[test]
    fn every_problem_is_reported() {
        let config = TrainConfig {
            batch: 0,
            gradient_clip: Some(-1.0),
            ema: vec![EmaConfig::PerStep(1.0), EmaConfig::PerStep(1.0), EmaConfig::Power(0.5)],
            learning_rate: LearningRateConfig { peak: -1.0, ..LearningRateConfig::default() },
            optimiser: OptimiserConfig::AdamW(AdamWConfig { beta2: 1.0, ..AdamWConfig::default() }),
            ..TrainConfig::default()
        };
        let fields: Vec<_> = config.problems().into_iter().map(|p| p.field).collect();
        let expected = ["batch", "gradient_clip", "learning_rate.peak", "optimiser.beta2"];
        assert_eq!(fields[..4], expected);
        assert_eq!(fields[4..], ["ema[0]", "ema[1]", "ema[1]", "ema[2]"]);
        assert!(TrainConfig::default().problems().is_empty());
    }
}
