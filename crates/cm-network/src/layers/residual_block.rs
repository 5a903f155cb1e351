//! The residual block of DDPM++.

use super::{Conv2d, Epilogue, GroupNorm, Grouping, Linear, SelfAttention};
use crate::{Extra, ResamplingConfig, init::Builder};
use cm_image::random::derive_seed;
use cm_tensor::{Graph, Images, Matrix, Weights, ops};
use std::f32::consts::FRAC_1_SQRT_2;

/// Whether a block changes the resolution on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resample {
    None,
    /// Halves height and width.
    Down,
    /// Doubles height and width.
    Up,
}

/// GroupNorm, SiLU, (resample), conv, + embedding; GroupNorm, SiLU, dropout, conv; plus the (resampled, projected)
/// input, over sqrt(2); then attention if there is any. Karras et al. 2022, SongUNet's UNetBlock.
pub(crate) struct ResidualBlock {
    norm0: GroupNorm,
    conv0: Conv2d,
    affine: Linear,
    /// With it, the embedding scales and shifts behind the second normalisation; without, it shifts before it.
    film_scale: Option<Linear>,
    norm1: GroupNorm,
    conv1: Conv2d,
    skip: Option<Conv2d>,
    attention: Option<SelfAttention>,
    resample: Resample,
    resampling: ResamplingConfig,
    dropout: f32,
    /// Tells blocks apart when dropout masks are drawn.
    dropout_stream: u64,
}

/// What is the same for all blocks of a network.
pub(crate) struct BlockContext {
    pub(crate) embedding: usize,
    pub(crate) heads: usize,
    pub(crate) dropout: f32,
    pub(crate) film: bool,
    pub(crate) resampling: ResamplingConfig,
}

impl ResidualBlock {
    pub(crate) fn new(
        b: &mut Builder,
        name: &str,
        (inputs, outputs): (usize, usize),
        resample: Resample,
        attention: bool,
        context: &BlockContext,
        dropout_stream: u64,
    ) -> Self {
        let part = |part: &str| format!("{name}.{part}");
        Self {
            norm0: GroupNorm::new(b, &part("norm0"), inputs, Grouping::Song),
            conv0: Conv2d::new(b, &part("conv0"), inputs, outputs, 3, 1.0),
            affine: Linear::new(b, &part("affine"), context.embedding, outputs, 1.0),
            film_scale: context
                .film
                .then(|| Linear::new(b, &part("film_scale"), context.embedding, outputs, 1.0)),
            norm1: GroupNorm::new(b, &part("norm1"), outputs, Grouping::Song),
            conv1: Conv2d::new(b, &part("conv1"), outputs, outputs, 3, 0.0),
            // A resampling block projects its shortcut even if the channels stay (SongUNet, resample_proj).
            skip: (inputs != outputs || resample != Resample::None)
                .then(|| Conv2d::new(b, &part("skip"), inputs, outputs, 1, 1.0)),
            attention: attention
                .then(|| SelfAttention::new(b, &part("attention"), outputs, context.heads, Grouping::Song)),
            resample,
            resampling: context.resampling,
            dropout: context.dropout,
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
        let hidden = self.resampled(g, hidden);
        let shift = self.affine.forward(g, w, embedding);
        let mut hidden = match &self.film_scale {
            Some(film_scale) => {
                let scale = film_scale.forward(g, w, embedding);
                let hidden = self.conv0.forward(g, w, &hidden, Epilogue::default());
                self.norm1.forward_film(g, w, &hidden, (&scale, &shift))
            }
            None => {
                let epilogue = Epilogue { image_bias: Some(&shift), ..Epilogue::default() };
                let hidden = self.conv0.forward(g, w, &hidden, epilogue);
                self.norm1.forward(g, w, &hidden, true)
            }
        };
        if let Some(key) = extra.dropout_key.filter(|_| self.dropout > 0.0) {
            hidden = ops::dropout(g, &hidden, derive_seed(key, self.dropout_stream), self.dropout);
        }
        let shortcut = self.shortcut(g, w, x);
        let epilogue = Epilogue { residual: Some(&shortcut), scale: FRAC_1_SQRT_2, ..Epilogue::default() };
        let out = self.conv1.forward(g, w, &hidden, epilogue);
        match &self.attention {
            Some(attention) => attention.forward(g, w, &out),
            None => out,
        }
    }

    fn resampled(&self, g: &mut Graph, x: Images) -> Images {
        match (self.resample, self.resampling) {
            (Resample::None, _) => x,
            (Resample::Down, ResamplingConfig::Plain) => ops::average_down(g, &x),
            (Resample::Up, ResamplingConfig::Plain) => ops::nearest_up(g, &x),
            (Resample::Down, ResamplingConfig::Fir) => ops::fir_down(g, &x),
            (Resample::Up, ResamplingConfig::Fir) => ops::fir_up(g, &x),
        }
    }

    /// Projection and plain resampling commute, so the projection is done where there are fewer pixels. A filter sees
    /// zeros around the image, and these are not projected.
    fn shortcut(&self, g: &mut Graph, w: &Weights, x: &Images) -> Images {
        let project = |g: &mut Graph, x: Images| match &self.skip {
            Some(skip) => skip.forward(g, w, &x, Epilogue::default()),
            None => x,
        };
        if self.resample == Resample::Up && self.resampling == ResamplingConfig::Plain {
            let projected = project(g, x.clone());
            self.resampled(g, projected)
        } else {
            let resampled = self.resampled(g, x.clone());
            project(g, resampled)
        }
    }
}
