//! Self-attention with its normalisation, projections and residual.

use super::{Conv2d, Epilogue, GroupNorm, Grouping};
use crate::init::Builder;
use cm_tensor::{Graph, Images, Weights, ops};
use std::f32::consts::FRAC_1_SQRT_2;

pub(crate) struct SelfAttention {
    norm: GroupNorm,
    qkv: Conv2d,
    out: Conv2d,
    heads: usize,
    /// Factor of the sum with the residual.
    scale: f32,
}

impl SelfAttention {
    /// `heads` must divide `channels`.
    pub(crate) fn new(
        b: &mut Builder,
        name: &str,
        channels: usize,
        heads: usize,
        grouping: Grouping,
    ) -> Self {
        // Karras et al. 2022, SongUNet: gain sqrt(0.2) before the softmax, none behind it.
        let norm = GroupNorm::new(b, &format!("{name}.norm"), channels, grouping);
        let qkv = Conv2d::new(b, &format!("{name}.qkv"), channels, 3 * channels, 1, 0.2f32.sqrt());
        let out = Conv2d::new(b, &format!("{name}.proj"), channels, channels, 1, 0.0);
        let scale = match grouping {
            Grouping::Song => FRAC_1_SQRT_2,
            Grouping::Adm | Grouping::Dhariwal => 1.0,
        };
        Self { norm, qkv, out, heads, scale }
    }

    pub(crate) fn forward(&self, g: &mut Graph, w: &Weights, x: &Images) -> Images {
        let normed = self.norm.forward(g, w, x, false);
        let qkv = self.qkv.forward(g, w, &normed, Epilogue::default());
        let mixed = ops::attention(g, &qkv, self.heads);
        let epilogue = Epilogue { residual: Some(x), scale: self.scale, ..Epilogue::default() };
        self.out.forward(g, w, &mixed, epilogue)
    }
}
