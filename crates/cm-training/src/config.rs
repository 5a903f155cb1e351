//! How a network is trained, as data. Durations count images, never steps.

use serde::{Deserialize, Serialize};

/// What teacher and student training have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Images seen in all; rounded up to whole batches.
    pub total_images: u64,
    /// Images of a step, at least 1.
    pub batch: usize,
    /// The optimiser.
    pub optimiser: OptimiserConfig,
    /// The learning rate over the run.
    pub learning_rate: LearningRateConfig,
    /// Largest norm of the whole gradient, > 0; longer ones are scaled down to it. None: no clipping.
    pub gradient_clip: Option<f32>,
    /// The averages of the weights kept for evaluation, one model each; the first is the one reported.
    pub ema: Vec<EmaConfig>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            total_images: 409_600_000, // Song et al. 2023, Table 3: 800k x 512, CIFAR-10
            batch: 512,                // Song et al. 2023, Table 3, CIFAR-10
            optimiser: OptimiserConfig::default(), // beside that type
            learning_rate: LearningRateConfig::default(), // beside that type
            gradient_clip: None,       // Song et al. 2023, Appendix C: none
            ema: vec![EmaConfig::default()], // beside that type
        }
    }
}

/// The optimisers there are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum OptimiserConfig {
    /// Rectified Adam (Liu et al. 2020).
    RAdam(MomentsConfig),
    /// Adam (Kingma and Ba 2015); with weight decay it is AdamW (Loshchilov and Hutter 2019).
    Adam(MomentsConfig),
}

impl Default for OptimiserConfig {
    fn default() -> Self {
        Self::RAdam(MomentsConfig::default()) // Song et al. 2023, Appendix C
    }
}

/// Constants of Adam and its relatives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MomentsConfig {
    /// Decay of the mean gradient, in [0, 1).
    pub beta1: f32,
    /// Decay of the mean squared gradient, in [0, 1).
    pub beta2: f32,
    /// Added to the root of the mean squared gradient, > 0.
    pub eps: f32,
    /// Decoupled weight decay, a share of each weight per unit of learning rate, >= 0.
    pub weight_decay: f32,
}

impl Default for MomentsConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,        // Kingma and Ba 2015; Song et al. 2023, Appendix C
            beta2: 0.999,      // Kingma and Ba 2015; Song et al. 2023, Appendix C
            eps: 1e-8,         // Kingma and Ba 2015
            weight_decay: 0.0, // Song et al. 2023, Appendix C
        }
    }
}

/// Learning rate over the images seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearningRateConfig {
    /// The largest rate, > 0.
    pub peak: f32,
    /// Images over which the rate rises linearly from 0.
    pub warmup_images: u64,
    /// What follows.
    pub decay: DecayConfig,
}

impl Default for LearningRateConfig {
    fn default() -> Self {
        Self {
            peak: 4e-4,                   // Song et al. 2023, Table 3, CIFAR-10
            warmup_images: 0,             // Song et al. 2023, Appendix C: no warm-up
            decay: DecayConfig::Constant, // Song et al. 2023, Appendix C: no decay
        }
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum DecayConfig {
    /// Not at all.
    Constant,
    /// Along half a cosine to 0 at the end of the run.
    Cosine,
    /// In a straight line to 0 at the end of the run.
    Linear,
}

/// An average of the weights over the past.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum EmaConfig {
    /// The weights themselves.
    None,
    /// average <- decay x average + (1 - decay) x weights each step; decay in [0, 1).
    PerStep(f32),
    /// The decay per step at which the past counts half after this many images, > 0.
    HalfLifeImages(u64),
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self::PerStep(0.9999) // Song et al. 2023, Table 3, CIFAR-10
    }
}

impl EmaConfig {
    /// The decay of one step of `batch` images.
    pub fn decay(self, batch: usize) -> f32 {
        match self {
            EmaConfig::None => 0.0,
            EmaConfig::PerStep(decay) => decay,
            EmaConfig::HalfLifeImages(images) => 0.5f64.powf(batch as f64 / images as f64) as f32,
        }
    }

    /// A short name, fit for tables and file names.
    pub fn name(self) -> String {
        match self {
            EmaConfig::None => "raw".into(),
            EmaConfig::PerStep(decay) => format!("ema-{decay}"),
            EmaConfig::HalfLifeImages(images) => format!("ema-{images}-images"),
        }
    }
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {given}: {allowed}")]
pub struct RangeError {
    /// Path of the field inside the configuration, e.g. `learning_rate.peak`.
    pub field: String,
    /// The value given.
    pub given: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl RangeError {
    /// A complaint about `field` unless `holds`.
    pub fn unless(holds: bool, field: &str, given: impl ToString, allowed: &'static str) -> Option<Self> {
        (!holds).then(|| Self { field: field.into(), given: given.to_string(), allowed })
    }
}

impl TrainConfig {
    /// Steps of the run: whole batches that cover `total_images`.
    pub fn steps(&self) -> u64 {
        self.total_images.div_ceil(self.batch.max(1) as u64)
    }

    /// Everything that is out of range, with paths relative to this struct.
    pub fn problems(&self) -> Vec<RangeError> {
        let rate = &self.learning_rate;
        let (OptimiserConfig::RAdam(moments) | OptimiserConfig::Adam(moments)) = &self.optimiser;
        let share = |x: f32| (0.0..1.0).contains(&x);
        let mut problems: Vec<_> = [
            RangeError::unless(self.total_images > 0, "total_images", self.total_images, "at least 1 image"),
            RangeError::unless(self.batch > 0, "batch", self.batch, "at least 1 image"),
            RangeError::unless(
                rate.peak > 0.0 && rate.peak.is_finite(),
                "learning_rate.peak",
                rate.peak,
                "a finite number above 0",
            ),
            RangeError::unless(share(moments.beta1), "optimiser.beta1", moments.beta1, "in [0, 1)"),
            RangeError::unless(share(moments.beta2), "optimiser.beta2", moments.beta2, "in [0, 1)"),
            RangeError::unless(moments.eps > 0.0, "optimiser.eps", moments.eps, "above 0"),
            RangeError::unless(
                moments.weight_decay >= 0.0,
                "optimiser.weight_decay",
                moments.weight_decay,
                "at least 0",
            ),
            self.gradient_clip.and_then(|clip| {
                RangeError::unless(clip > 0.0, "gradient_clip", clip, "above 0, or None for no clipping")
            }),
            RangeError::unless(!self.ema.is_empty(), "ema", "[]", "at least one average; [None] for none"),
        ]
        .into_iter()
        .flatten()
        .collect();
        for (index, ema) in self.ema.iter().enumerate() {
            let field = format!("ema[{index}]");
            problems.extend(match *ema {
                EmaConfig::None => None,
                EmaConfig::PerStep(decay) => RangeError::unless(share(decay), &field, decay, "in [0, 1)"),
                EmaConfig::HalfLifeImages(images) => {
                    RangeError::unless(images > 0, &field, images, "at least 1 image")
                }
            });
            if self.ema[..index].contains(ema) {
                problems.push(RangeError { field, given: ema.name(), allowed: "each average once" });
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_s_half_life() {
        // openai/consistency_models: 0.9999432189950708 is a half-life of 50 million images at batch 4096.
        let decay = EmaConfig::HalfLifeImages(50_000_000).decay(4096);
        assert!((decay - 0.999_943_2).abs() < 1e-7);
    }

    #[test]
    fn every_problem_is_reported() {
        let config = TrainConfig {
            batch: 0,
            gradient_clip: Some(-1.0),
            ema: vec![EmaConfig::PerStep(1.0), EmaConfig::PerStep(1.0)],
            ..TrainConfig::default()
        };
        let fields: Vec<_> = config.problems().into_iter().map(|p| p.field).collect();
        assert_eq!(fields, ["batch", "gradient_clip", "ema[0]", "ema[1]", "ema[1]"]);
        assert!(TrainConfig::default().problems().is_empty());
    }
}
