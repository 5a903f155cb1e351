//! A flow map, followed from level to level.

use super::{Labels, Sampler, starting_noise};
use crate::{FlowMap, ModelError, NoiseLevels};
use cm_image::{ImageBatch, ImageShape};

/// x <- phi(x, t_i, t_(i+1)) down the levels, from noise at the first to the last: one evaluation for each interval, and
/// no fresh noise. So progressively distilled models are sampled (Salimans and Ho 2022, Algorithm 2), shortcut models
/// (Frans et al. 2025, Algorithm 2) and consistency models of several segments (Heek et al. 2024, Algorithm 2).
pub struct Jumps<'a> {
    /// phi.
    pub map: Box<dyn FlowMap + 'a>,
    /// The shape of the model's images.
    pub shape: ImageShape,
    /// The levels visited.
    pub levels: NoiseLevels,
    /// The classes asked for.
    pub labels: Labels,
}

impl Sampler for Jumps<'_> {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
        let labels = self.labels.of(seeds);
        let mut x = starting_noise(self.shape, self.levels.as_slice()[0], seeds);
        for interval in 0..self.levels.intervals() {
            let pair = self.levels.pair(interval);
            let [from, to] = [pair.upper, pair.lower].map(|level| vec![level; seeds.len()]);
            x = self.map.jump(&x, &from, &to, &labels)?;
        }
        Ok(x)
    }

    fn evaluations(&self) -> usize {
        self.levels.intervals()
    }
}
