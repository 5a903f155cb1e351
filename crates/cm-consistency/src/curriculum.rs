//! The number of noise levels and the target's decay over a run.

use crate::{CurriculumConfig, TargetConfig};
use cm_diffusion::NumLevels;
use cm_training::{Progress, Schedule};

/// N(k) and mu(k): Song et al. 2023, Appendix C, with k / K the share of the images seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curriculum {
    /// What N does.
    pub levels: CurriculumConfig,
    /// What mu does.
    pub target: TargetConfig,
}

impl Schedule for Curriculum {
    /// The number of noise levels N and the target's decay mu.
    type Value = (NumLevels, f32);

    /// The paper divides by N(k) in mu(k) = exp(s0 ln(mu0) / N(k)); the original code divides by N(k) - 1. The
    /// paper's form is taken. For a fixed N the s0 of mu(k) is that N, so mu stays mu0.
    ///
    /// ```
    /// use cm_consistency::{AdaptiveConfig, Curriculum, CurriculumConfig, ProgressiveConfig, TargetConfig};
    /// use cm_training::{Progress, Schedule};
    /// let curriculum = Curriculum {
    ///     levels: CurriculumConfig::Progressive(ProgressiveConfig { start: 2, end: 150 }),
    ///     target: TargetConfig::Adaptive(AdaptiveConfig { start: 0.9 }),
    /// };
    /// let at = |step| curriculum.at(Progress { step, images: step, total_images: 800_000 });
    /// assert_eq!(at(0).0.get(), 2);
    /// assert_eq!(at(100_000).0.get(), 54);
    /// assert_eq!(at(800_000).0.get(), 151);
    /// assert!((at(0).1 - 0.9).abs() < 1e-6);
    /// assert!((at(100_000).1 - 0.99611).abs() < 1e-5);
    /// ```
    fn at(&self, progress: Progress) -> (NumLevels, f32) {
        let (start, levels) = match self.levels {
            CurriculumConfig::Fixed(fixed) => (fixed.num_levels, fixed.num_levels),
            CurriculumConfig::Progressive(progressive) => {
                let (s0, s1) = (progressive.start as f64, progressive.end as f64);
                let intervals = (progress.fraction() * ((s1 + 1.0).powi(2) - s0 * s0) + s0 * s0).sqrt() - 1.0;
                (progressive.start, intervals.ceil().max(1.0) as usize + 1)
            }
            CurriculumConfig::Doubling(doubling) => {
                let phases = ((doubling.end / doubling.start).max(1) as f64).log2() + 1.0;
                let phase = (progress.fraction() * phases).floor() as i32;
                let intervals = (doubling.start as f64 * 2f64.powi(phase)).min(doubling.end as f64) as usize;
                (doubling.start + 1, intervals + 1)
            }
        };
        let levels = NumLevels::new(levels.max(2)).expect("at least 2 by construction");
        let decay = match self.target {
            TargetConfig::StopGradient => 0.0,
            TargetConfig::Ema(decay) => decay,
            TargetConfig::Adaptive(adaptive) => {
                (start as f64 * f64::from(adaptive.start).ln() / levels.get() as f64).exp() as f32
            }
        };
        (levels, decay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdaptiveConfig, DoublingConfig, FixedConfig, ProgressiveConfig};

    /// The paper's column of the table in its Appendix C setting for ImageNet 64x64.
    #[test]
    fn the_paper_s_values() {
        let curriculum = Curriculum {
            levels: CurriculumConfig::Progressive(ProgressiveConfig { start: 2, end: 200 }),
            target: TargetConfig::Adaptive(AdaptiveConfig { start: 0.95 }),
        };
        let at = |images| curriculum.at(Progress { step: 0, images, total_images: 800_000 });
        assert_eq!([at(10_000).0.get(), at(400_000).0.get(), at(800_000).0.get()], [23, 143, 201]);
        assert!((at(800_000).1 - 0.95f32.powf(2.0 / 201.0)).abs() < 1e-6);
    }

    fn doubling(start: usize, end: usize, images: u64) -> usize {
        let levels = CurriculumConfig::Doubling(DoublingConfig { start, end });
        let curriculum = Curriculum { levels, target: TargetConfig::StopGradient };
        curriculum.at(Progress { step: 0, images, total_images: 400_000 }).0.get()
    }

    /// Song and Dhariwal 2024, Section 3.4: 10 to 1280 intervals in eight phases of 50,000 of 400,000 iterations.
    #[test]
    fn doubling_has_eight_equal_phases_from_10_to_1280_intervals() {
        for phase in 0..8 {
            let levels = 10 * (1 << phase) + 1;
            assert_eq!(doubling(10, 1280, phase * 50_000), levels);
            assert_eq!(doubling(10, 1280, phase * 50_000 + 49_999), levels);
        }
        assert_eq!(doubling(10, 1280, 400_000), 1281);
    }

    #[test]
    fn doubling_ends_at_its_end_also_where_that_is_no_power_of_two() {
        assert_eq!([0, 150_000, 160_000, 399_999].map(|k| doubling(10, 30, k)), [11, 11, 21, 31]);
        assert_eq!([0, 399_999].map(|k| doubling(7, 7, k)), [8, 8]);
    }

    #[test]
    fn a_fixed_number_of_levels_keeps_mu() {
        let curriculum = Curriculum {
            levels: CurriculumConfig::Fixed(FixedConfig { num_levels: 18 }),
            target: TargetConfig::Adaptive(AdaptiveConfig { start: 0.9 }),
        };
        for images in [0, 50, 100] {
            let (levels, mu) = curriculum.at(Progress { step: 0, images, total_images: 100 });
            assert_eq!(levels.get(), 18);
            assert!((mu - 0.9).abs() < 1e-6);
        }
    }
}
