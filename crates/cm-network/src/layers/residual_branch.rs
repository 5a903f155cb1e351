//! What the residual blocks of both families have in common: the way to their last convolution.

use super::{Conv2d, Epilogue, GroupNorm, Grouping, Linear};
use crate::init::Builder;
use crate::{Extra, ResamplingConfig};
use cm_image::random::derive_seed;
use cm_tensor::{Graph, Images, Matrix, Weights, ops};

/// Whether a block changes the resolution on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resample {
    None,
    /// Halves height and width.
    Down,
    /// Doubles height and width.
    Up,
}

impl Resample {
    pub(crate) fn apply(self, g: &mut Graph, x: Images, how: ResamplingConfig) -> Images {
        match (self, how) {
            (Self::None, _) => x,
            (Self::Down, ResamplingConfig::Plain) => ops::average_down(g, &x),
            (Self::Up, ResamplingConfig::Plain) => ops::nearest_up(g, &x),
            (Self::Down, ResamplingConfig::Fir) => ops::fir_down(g, &x),
            (Self::Up, ResamplingConfig::Fir) => ops::fir_up(g, &x),
        }
    }
}

/// GroupNorm, SiLU, (resample), conv, + embedding; GroupNorm, SiLU, dropout.
pub(crate) struct ResidualBranch {
    norm0: GroupNorm,
    conv0: Conv2d,
    shift: Linear,
    /// With it, the embedding scales and shifts behind the second normalisation; without, it shifts before it.
    scale: Option<Linear>,
    norm1: GroupNorm,
    resample: (Resample, ResamplingConfig),
    dropout: f32,
    /// Tells blocks apart when dropout masks are drawn.
    dropout_stream: u64,
}

/// What is the same for the branches of all blocks of a network.
pub(crate) struct BranchContext {
    /// Values of the embedding.
    pub(crate) embedding: usize,
    pub(crate) grouping: Grouping,
    /// Whether the embedding scales, too.
    pub(crate) scale: bool,
    pub(crate) dropout: f32,
}

impl ResidualBranch {
    pub(crate) fn new(
        b: &mut Builder,
        name: &str,
        (inputs, outputs): (usize, usize),
        resample: (Resample, ResamplingConfig),
        context: &BranchContext,
        dropout_stream: u64,
    ) -> Self {
        let part = |part: &str| format!("{name}.{part}");
        let BranchContext { embedding, grouping, scale, dropout } = *context;
        Self {
            norm0: GroupNorm::new(b, &part("norm0"), inputs, grouping),
            conv0: Conv2d::new(b, &part("conv0"), inputs, outputs, 3, 1.0),
            shift: Linear::new(b, &part("affine"), embedding, outputs, 1.0),
            scale: scale.then(|| Linear::new(b, &part("film_scale"), embedding, outputs, 1.0)),
            norm1: GroupNorm::new(b, &part("norm1"), outputs, grouping),
            resample,
            dropout,
            dropout_stream,
        }
    }

    pub(crate) fn forward(
        &self,
        g: &mut Graph,
        w: &Weights,
        x: &Images,
        embedding: &Matrix,
        extra: Extra<'_>,
    ) -> Images {
        let hidden = self.norm0.forward(g, w, x, true);
        let hidden = self.resample.0.apply(g, hidden, self.resample.1);
        let shift = self.shift.forward(g, w, embedding);
        let hidden = match &self.scale {
            Some(scale) => {
                let scale = scale.forward(g, w, embedding);
                let hidden = self.conv0.forward(g, w, &hidden, Epilogue::default());
                self.norm1.forward_film(g, w, &hidden, (&scale, &shift))
            }
            None => {
                let epilogue = Epilogue { image_bias: Some(&shift), ..Epilogue::default() };
                let hidden = self.conv0.forward(g, w, &hidden, epilogue);
                self.norm1.forward(g, w, &hidden, true)
            }
        };
        match extra.dropout_key.filter(|_| self.dropout > 0.0) {
            Some(key) => ops::dropout(g, &hidden, derive_seed(key, self.dropout_stream), self.dropout),
            None => hidden,
        }
    }
}
