//! The number of noise levels and the target's decay over a run.

use crate::{ContinuousConfig, CurriculumConfig, TargetConfig};
use cm_diffusion::NumLevels;
use cm_training::{Progress, Schedule};

/// How far apart the levels of a pair are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// They are neighbours among N levels.
    Levels(NumLevels),
    /// As in this stage of [`crate::ContinuousPairs`], counted from 0.
    Stage(u32),
}

/// N(k) and mu(k): Song et al. 2023, Appendix C, with k / K the share of the images seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curriculum {
    /// What N does.
    pub levels: CurriculumConfig,
    /// What mu does.
    pub target: TargetConfig,
}

impl Schedule for Curriculum {
    /// The spacing of the levels and the target's decay mu.
    type Value = (Spacing, f32);

    /// The paper divides by N(k) in mu(k) = exp(s0 ln(mu0) / N(k)); the original code divides by N(k) - 1. The
    /// paper's form is taken. For a fixed N the s0 of mu(k) is that N, so mu stays mu0.
    ///
    /// ```
    /// use cm_consistency::{AdaptiveConfig, Curriculum, CurriculumConfig, ProgressiveConfig, Spacing, TargetConfig};
    /// use cm_diffusion::NumLevels;
    /// use cm_training::{Progress, Schedule};
    /// let curriculum = Curriculum {
    ///     levels: CurriculumConfig::Progressive(ProgressiveConfig { start: 2, end: 150 }),
    ///     target: TargetConfig::Adaptive(AdaptiveConfig { start: 0.9 }),
    /// };
    /// let at = |step| curriculum.at(Progress { step, images: step, total_images: 800_000 });
    /// assert_eq!(at(0).0, Spacing::Levels(NumLevels::new(2)?));
    /// assert_eq!(at(100_000).0, Spacing::Levels(NumLevels::new(54)?));
    /// assert_eq!(at(800_000).0, Spacing::Levels(NumLevels::new(151)?));
    /// assert!((at(0).1 - 0.9).abs() < 1e-6);
    /// assert!((at(100_000).1 - 0.99611).abs() < 1e-5);
    /// # Ok::<(), cm_diffusion::QuantityError>(())
    /// ```
    fn at(&self, progress: Progress) -> (Spacing, f32) {
        // N, and the share s0 / N of ln(mu0) that is left in mu.
        let levels = |start: usize, num_levels: usize| {
            let num_levels = NumLevels::new(num_levels.max(2)).expect("at least 2");
            (Spacing::Levels(num_levels), start as f64 / num_levels.get() as f64)
        };
        let (spacing, share) = match self.levels {
            CurriculumConfig::Fixed(fixed) => levels(fixed.num_levels, fixed.num_levels),
            CurriculumConfig::Progressive(progressive) => {
                let (s0, s1) = (progressive.start as f64, progressive.end as f64);
                let intervals = (progress.fraction() * ((s1 + 1.0).powi(2) - s0 * s0) + s0 * s0).sqrt() - 1.0;
                levels(progressive.start, intervals.ceil().max(1.0) as usize + 1)
            }
            CurriculumConfig::Doubling(doubling) => {
                let phases = ((doubling.end / doubling.start).max(1) as f64).log2() + 1.0;
                // The paper's K', a whole number, in images.
                let length = ((progress.total_images as f64 / phases) as u64).max(1);
                let phase = (progress.images / length) as i32;
                let intervals = (doubling.start as f64 * 2f64.powi(phase)).min(doubling.end as f64) as usize;
                levels(doubling.start + 1, intervals + 1)
            }
            CurriculumConfig::Continuous(ContinuousConfig { stages, .. }) => {
                let stage = (progress.fraction() * f64::from(stages)) as u32;
                (Spacing::Stage(stage.min(stages - 1)), 1.0)
            }
            CurriculumConfig::Halving(halving) => {
                let steps = halving.at(progress).steps;
                levels(steps + 1, steps + 1)
            }
        };
        let decay = match self.target {
            TargetConfig::StopGradient => 0.0,
            TargetConfig::Ema(decay) => decay,
            TargetConfig::Adaptive(adaptive) => (share * f64::from(adaptive.start).ln()).exp() as f32,
        };
        (spacing, decay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdaptiveConfig, DoublingConfig, FixedConfig, ProgressiveConfig};

    fn num_levels(spacing: Spacing) -> usize {
        match spacing {
            Spacing::Levels(levels) => levels.get(),
            Spacing::Stage(_) => panic!("a number of levels was expected"),
        }
    }

    /// The rows of one kind of `scripts/parity/schedules.py`, which is plain Python.
    fn golden(what: &str) -> Vec<Vec<f64>> {
        let fixture = include_str!("../../../tests/fixtures/parity/schedules.csv");
        let rows = fixture.lines().filter_map(|line| line.strip_prefix(&format!("{what},")));
        rows.map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
    }

    /// All values of N(k) and mu(k) that are known of the paper's settings. The original code's mu(k) divides by N(k) - 1
    /// and so is another number, which the fixture also has.
    #[test]
    fn n_and_mu_are_those_of_the_paper_to_a_millionth() {
        let (levels, mus, codes) = (golden("progressive"), golden("mu"), golden("mu_code"));
        assert_eq!([levels.len(), mus.len(), codes.len()], [15; 3]);
        for ((row, mu), code) in levels.iter().zip(&mus).zip(&codes) {
            let [start, end] = [row[0], row[1]].map(|s| s as usize);
            let curriculum = Curriculum {
                levels: CurriculumConfig::Progressive(ProgressiveConfig { start, end }),
                target: TargetConfig::Adaptive(AdaptiveConfig { start: row[2] as f32 }),
            };
            let (spacing, decay) =
                curriculum.at(Progress { step: 0, images: row[3] as u64, total_images: row[4] as u64 });
            assert_eq!(num_levels(spacing), row[5] as usize, "{row:?}");
            assert!((f64::from(decay) - mu[5]).abs() < 1e-6, "{mu:?}: {decay}");
            assert!(f64::from(decay) - code[5] > 1e-6, "{code:?}: the code's form is lower");
        }
    }

    #[test]
    fn doubling_is_that_of_the_paper() {
        let rows = golden("doubling");
        assert_eq!(rows.len(), 18);
        for row in rows {
            let [start, end] = [row[0], row[1]].map(|s| s as usize);
            let levels = CurriculumConfig::Doubling(DoublingConfig { start, end });
            let curriculum = Curriculum { levels, target: TargetConfig::StopGradient };
            let progress = Progress { step: 0, images: row[2] as u64, total_images: row[3] as u64 };
            assert_eq!(num_levels(curriculum.at(progress).0), row[4] as usize, "{row:?}");
        }
    }

    /// The paper's column of the table in its Appendix C setting for ImageNet 64x64.
    #[test]
    fn the_paper_s_values() {
        let curriculum = Curriculum {
            levels: CurriculumConfig::Progressive(ProgressiveConfig { start: 2, end: 200 }),
            target: TargetConfig::Adaptive(AdaptiveConfig { start: 0.95 }),
        };
        let at = |images| curriculum.at(Progress { step: 0, images, total_images: 800_000 });
        assert_eq!([10_000, 400_000, 800_000].map(|images| num_levels(at(images).0)), [23, 143, 201]);
        assert!((at(800_000).1 - 0.95f32.powf(2.0 / 201.0)).abs() < 1e-6);
    }

    fn doubling(start: usize, end: usize, images: u64) -> usize {
        let levels = CurriculumConfig::Doubling(DoublingConfig { start, end });
        let curriculum = Curriculum { levels, target: TargetConfig::StopGradient };
        num_levels(curriculum.at(Progress { step: 0, images, total_images: 400_000 }).0)
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
    fn continuous_pairs_have_stages_of_equal_length() {
        let levels =
            CurriculumConfig::Continuous(ContinuousConfig { stages: 4, ..ContinuousConfig::default() });
        let curriculum = Curriculum { levels, target: TargetConfig::Ema(0.5) };
        let at = |images| curriculum.at(Progress { step: 0, images, total_images: 100 });
        let stages = [(0, 0), (24, 0), (25, 1), (74, 2), (75, 3), (100, 3)];
        assert!(stages.into_iter().all(|(images, stage)| at(images) == (Spacing::Stage(stage), 0.5)));
    }

    #[test]
    fn a_fixed_number_of_levels_keeps_mu() {
        let curriculum = Curriculum {
            levels: CurriculumConfig::Fixed(FixedConfig { num_levels: 18 }),
            target: TargetConfig::Adaptive(AdaptiveConfig { start: 0.9 }),
        };
        for images in [0, 50, 100] {
            let (levels, mu) = curriculum.at(Progress { step: 0, images, total_images: 100 });
            assert_eq!(num_levels(levels), 18);
            assert!((mu - 0.9).abs() < 1e-6);
        }
    }
}
