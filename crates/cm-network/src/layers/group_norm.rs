//! Group normalisation.

use crate::init::Builder;
use cm_tensor::{Graph, Images, Matrix, ParameterId, Weights, ops};

/// Up to 32 groups of at least 4 channels, as in DDPM++.
pub(crate) struct GroupNorm {
    gamma: ParameterId,
    beta: ParameterId,
    groups: usize,
}

/// Added to the variance; Karras et al. 2022, SongUNet.
const EPS: f32 = 1e-6;

impl GroupNorm {
    pub(crate) fn new(b: &mut Builder, name: &str, channels: usize) -> Self {
        let gamma = b.constant(&format!("{name}.weight"), &[channels], 1.0);
        let beta = b.constant(&format!("{name}.bias"), &[channels], 0.0);
        // The largest divisor that leaves at least 4 channels a group; min(32, C / 4) itself where that divides.
        let most = (channels / 4).clamp(1, 32);
        let groups = (1..=most).rev().find(|&groups| channels.is_multiple_of(groups)).unwrap_or(1);
        Self { gamma, beta, groups }
    }

    pub(crate) fn forward(&self, g: &mut Graph, w: &Weights, x: &Images, silu: bool) -> Images {
        ops::group_norm(g, x, w.get(self.gamma), w.get(self.beta), None, self.groups, EPS, silu)
    }

    /// Normalised, times 1 + scale plus shift of each image and channel, through SiLU.
    pub(crate) fn forward_film(
        &self,
        g: &mut Graph,
        w: &Weights,
        x: &Images,
        film: (&Matrix, &Matrix),
    ) -> Images {
        ops::group_norm(g, x, w.get(self.gamma), w.get(self.beta), Some(film), self.groups, EPS, true)
    }
}
