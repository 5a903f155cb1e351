//! Truncated consistency models (Lee et al. 2025): pairs of the upper noise levels, and which model answers where.

use crate::student_t::TruncatedStudentT;
use crate::{ContinuousPairs, TruncationConfig};
use cm_diffusion::{LevelPair, QuantityError, Sigma, SigmaRange};
use cm_image::random::Random;
use cm_tensor::Weights;

/// A truncation, built.
pub struct Truncation {
    config: TruncationConfig,
    level: Sigma,
    law: TruncatedStudentT,
    /// The weights of the model below the level.
    pub(crate) first: Weights,
}

impl Truncation {
    /// The truncation of a model with levels in `range`, above a consistency model whose weights are `first`.
    ///
    /// # Errors
    /// [`QuantityError`] if the level is not below the largest of the range.
    pub fn new(config: TruncationConfig, range: SigmaRange, first: Weights) -> Result<Self, QuantityError> {
        let above = SigmaRange::new(config.level, range.max().get())?;
        Ok(Self { config, level: above.min(), law: TruncatedStudentT::new(config.law, above), first })
    }

    /// The level itself.
    pub(crate) fn level(&self) -> Sigma {
        self.level
    }

    /// Whether the first model answers at this level.
    pub(crate) fn is_below(&self, sigma: Sigma) -> bool {
        sigma.get() < self.level.get()
    }

    /// How many of a batch's images are at the boundary; they come first.
    pub(crate) fn boundary(&self, count: usize) -> usize {
        self.config.images(count)
    }

    /// One pair for each of `count` images, in stage `stage`.
    pub(crate) fn draw(
        &self,
        pairs: &ContinuousPairs,
        stage: u32,
        count: usize,
        random: &mut Random,
    ) -> Vec<LevelPair> {
        let boundary = self.boundary(count);
        let level = self.level.get();
        let draw = |image| match image < boundary {
            true => pairs.pair(level, stage),
            // Rounding may not lead below the level, where the student does not answer.
            false => pairs.pair(self.law.draw(random).max(level), stage),
        };
        (0..count).map(draw).collect()
    }

    /// The weight of an image in the sum of both means over a batch of `count` images.
    pub(crate) fn share(&self, image: usize, count: usize) -> f32 {
        let boundary = self.boundary(count);
        match image < boundary {
            true => self.config.boundary_weight / boundary as f32,
            false => 1.0 / (count - boundary) as f32,
        }
    }

    /// The boundary's mean loss, without its weight, and the mean of the others, of the parts of a batch's loss.
    pub(crate) fn means(&self, parts: &[f64]) -> [f64; 2] {
        let (boundary, others) = parts.split_at(self.boundary(parts.len()));
        [boundary.iter().sum::<f64>() / f64::from(self.config.boundary_weight), others.iter().sum()]
    }
}
