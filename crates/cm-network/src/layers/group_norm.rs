//! Group normalisation.

use crate::init::Builder;
use cm_tensor::{Graph, Images, Matrix, ParameterId, Weights, ops};

pub(crate) struct GroupNorm {
    gamma: ParameterId,
    beta: ParameterId,
    groups: usize,
    eps: f32,
}

/// How channels are grouped, and what is added to the variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// Up to 32 groups of at least 4 channels; 1e-6 (DDPM++; Karras et al. 2022, SongUNet).
    Song,
    /// 32 groups; 1e-5 (ADM).
    Adm,
    /// As many as `Song`; 1e-5 (Karras et al. 2022, DhariwalUNet).
    Dhariwal,
}

impl GroupNorm {
    pub(crate) fn new(b: &mut Builder, name: &str, channels: usize, grouping: Grouping) -> Self {
        let gamma = b.constant(&format!("{name}.weight"), &[channels], 1.0);
        let beta = b.constant(&format!("{name}.bias"), &[channels], 0.0);
        let (groups, eps) = match grouping {
            Grouping::Song => (of_four(channels), 1e-6),
            Grouping::Adm => (32, 1e-5),
            Grouping::Dhariwal => (of_four(channels), 1e-5),
        };
        Self { gamma, beta, groups, eps }
    }

    pub(crate) fn forward(&self, g: &mut Graph, w: &Weights, x: &Images, silu: bool) -> Images {
        ops::group_norm(g, x, w.get(self.gamma), w.get(self.beta), None, self.groups, self.eps, silu)
    }

    /// Normalised, times 1 + scale plus shift of each image and channel, through SiLU.
    pub(crate) fn forward_film(
        &self,
        g: &mut Graph,
        w: &Weights,
        x: &Images,
        film: (&Matrix, &Matrix),
    ) -> Images {
        ops::group_norm(g, x, w.get(self.gamma), w.get(self.beta), Some(film), self.groups, self.eps, true)
    }
}

/// The largest divisor that leaves at least 4 channels a group; min(32, C / 4) itself where that divides.
fn of_four(channels: usize) -> usize {
    let most = (channels / 4).clamp(1, 32);
    (1..=most).rev().find(|&groups| channels.is_multiple_of(groups)).unwrap_or(1)
}
