//! The stages of progressive distillation.

use cm_training::{Progress, RangeError};
use serde::{Deserialize, Serialize};

/// Constants of [`crate::CurriculumConfig::Halving`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HalvingConfig {
    /// The student's steps in the first stage, a power of two.
    pub start: usize,
    /// Its steps in the last stage, a power of two, at most `start`.
    pub end: usize,
}

impl Default for HalvingConfig {
    fn default() -> Self {
        Self {
            start: 4096, // openai/consistency_models_cifar10, progressive distillation
            end: 1,      // Salimans and Ho 2022, Section 4: down to one step
        }
    }
}

/// One stage of progressive distillation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its number, counted from 0.
    pub index: usize,
    /// S: steps in which its student samples; its teacher takes twice as many.
    pub steps: usize,
    /// Images seen before its first step.
    pub from_image: u64,
    /// Images seen after its last step.
    pub to_image: u64,
}

impl Stage {
    /// How far the stage is when the run is at `progress`. The learning rate of each stage starts anew.
    pub fn progress(&self, progress: Progress) -> Progress {
        Progress {
            step: progress.step,
            images: progress.images - self.from_image,
            total_images: self.to_image - self.from_image,
        }
    }

    /// Whether the stage ends with the step after which `images` of `total_images` are seen.
    pub fn ends_at(&self, images: u64, total_images: u64) -> bool {
        images >= self.to_image.min(total_images)
    }
}

impl HalvingConfig {
    /// The stages of a run of `total_images`: S = start, start / 2, ..., end. Each takes one part of the run, those with
    /// S = 2 and S = 1 two parts (the original code's plan for CIFAR-10; Salimans and Ho 2022, Section 4, have a longer
    /// end as well). A stage begins with the first step at or after its share of the images.
    ///
    /// ```
    /// use cm_consistency::HalvingConfig;
    /// let stages = HalvingConfig { start: 4, end: 1 }.stages(500);
    /// let found: Vec<_> = stages.iter().map(|s| (s.steps, s.from_image, s.to_image)).collect();
    /// assert_eq!(found, [(4, 0, 100), (2, 100, 300), (1, 300, 500)]);
    /// ```
    pub fn stages(&self, total_images: u64) -> Vec<Stage> {
        let parts = u128::from(self.parts());
        let image = |part: u64| (u128::from(part) * u128::from(total_images)).div_ceil(parts) as u64;
        let mut part = 0;
        let mut stages = Vec::new();
        for (index, steps) in self.ladder().enumerate() {
            let from = part;
            part += share(steps);
            stages.push(Stage { index, steps, from_image: image(from), to_image: image(part) });
        }
        stages
    }

    /// The stage of the step that begins at `progress`.
    pub fn at(&self, progress: Progress) -> Stage {
        let stages = self.stages(progress.total_images);
        let begun = stages.iter().rev().find(|stage| stage.from_image <= progress.images);
        *begun.or(stages.first()).expect("at least one stage")
    }

    /// The steps S of each stage: start, start / 2, ..., end.
    pub fn ladder(&self) -> impl Iterator<Item = usize> {
        let end = self.end.max(1);
        std::iter::successors(Some(self.start.max(end)), move |steps| {
            (*steps > end).then_some((steps / 2).max(end))
        })
    }

    /// The parts of the run: at least as many steps it must have.
    pub fn parts(&self) -> u64 {
        self.ladder().map(share).sum()
    }

    /// What is out of range in a training of `train_steps`, with paths relative to the struct that has the curriculum.
    pub(crate) fn problems(&self, train_steps: u64) -> Vec<RangeError> {
        let Self { start, end } = *self;
        let steps = |steps: usize| steps.is_power_of_two() && steps <= 1 << 20;
        let mut problems = Vec::new();
        problems.extend(RangeError::unless(
            steps(start),
            "curriculum.start",
            start,
            "a power of two, at most 1048576",
        ));
        problems.extend(RangeError::unless(
            steps(end) && end <= start,
            "curriculum.end",
            end,
            "a power of two, at most `start`",
        ));
        if problems.is_empty() {
            problems.extend(RangeError::unless(
                train_steps >= self.parts(),
                "train.total_images",
                format!("enough for {train_steps} steps, but halving takes {} parts", self.parts()),
                "at least one step for each part: one for each stage, two for those of 2 and 1 steps",
            ));
        }
        problems
    }
}

/// The parts of the run that a stage with S steps takes.
fn share(steps: usize) -> u64 {
    if steps <= 2 { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scripts/parity/schedules.py`: the original code's stage plan in plain Python, its total being whole stages.
    #[test]
    fn stages_are_those_of_the_original_code() {
        let fixture = include_str!("../../../tests/fixtures/parity/schedules.csv");
        let rows: Vec<Vec<u64>> = (fixture.lines())
            .filter_map(|line| line.strip_prefix("stage,"))
            .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert_eq!(rows.len(), 42);
        for row in rows {
            let [start, step, total_steps, steps] = [row[0], row[1], row[2], row[3]];
            // The same in batches of 7 images.
            for batch in [1, 7] {
                let halving = HalvingConfig { start: start as usize, end: 1 };
                let progress = Progress { step, images: step * batch, total_images: total_steps * batch };
                assert_eq!(halving.at(progress).steps as u64, steps, "{row:?}");
            }
        }
    }

    #[test]
    fn stages_cover_the_run_each_once_whatever_its_length() {
        for (start, end, batch, steps) in [(8, 1, 32, 13), (16, 4, 5, 3), (1, 1, 3, 4), (64, 2, 128, 1000)] {
            let halving = HalvingConfig { start, end };
            let total_images = steps * batch;
            assert!(halving.problems(steps).is_empty());
            let stages = halving.stages(total_images);
            assert_eq!((stages[0].from_image, stages.last().unwrap().to_image), (0, total_images));
            assert!(stages.windows(2).all(|pair| pair[0].to_image == pair[1].from_image));
            let seen: Vec<Stage> = (0..steps)
                .map(|step| halving.at(Progress { step, images: step * batch, total_images }))
                .collect();
            assert!(stages.iter().all(|stage| seen.contains(stage)), "every stage has a step: {seen:?}");
            for (step, stage) in seen.iter().enumerate() {
                let after = (step as u64 + 1) * batch;
                let next = seen.get(step + 1);
                assert_eq!(stage.ends_at(after, total_images), next != Some(stage), "{step} {stage:?}");
            }
        }
    }

    #[test]
    fn a_stage_s_progress_starts_at_nothing() {
        let halving = HalvingConfig { start: 4, end: 1 };
        let at = |images| {
            let progress = Progress { step: images / 10, images, total_images: 500 };
            halving.at(progress).progress(progress)
        };
        assert_eq!([0, 90, 100, 290, 300].map(|k| at(k).images), [0, 90, 0, 190, 0]);
        assert_eq!([0, 100, 300].map(|k| at(k).total_images), [100, 200, 200]);
        assert_eq!(at(290).step, 29, "errors name the run's step");
    }

    #[test]
    fn what_is_no_power_of_two_or_too_short_is_refused() {
        let fields = |start, end, steps| {
            let problems = HalvingConfig { start, end }.problems(steps);
            problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(12, 1, 100), ["curriculum.start"]);
        assert_eq!(fields(0, 0, 100), ["curriculum.start", "curriculum.end"]);
        assert_eq!(fields(4, 8, 100), ["curriculum.end"]);
        assert_eq!(fields(8, 1, 5), ["train.total_images"]);
        assert!(fields(8, 1, 6).is_empty());
    }
}
