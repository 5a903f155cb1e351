//! The residual block of ADM.

use super::{Conv2d, Epilogue, GroupNorm, Grouping, Linear, Resample};
use crate::{Extra, init::Builder};
use cm_image::random::derive_seed;
use cm_tensor::{Graph, Images, Matrix, Weights, ops};

/// GroupNorm, SiLU, (resample), conv; GroupNorm, x (1 + scale) + shift, SiLU, dropout, conv; plus the (resampled,
/// projected) input. Without scale-shift the embedding is added before the second normalisation. Dhariwal and Nichol
/// 2021, Section 3.
pub(crate) struct AdmBlock {
    norm0: GroupNorm,
    conv0: Conv2d,
    shift: Linear,
    scale: Option<Linear>,
    norm1: GroupNorm,
    conv1: Conv2d,
    /// Only where the channels change.
    skip: Option<Conv2d>,
    resample: Resample,
    dropout: f32,
    /// Tells blocks apart when dropout masks are drawn.
    dropout_stream: u64,
}

/// What is the same for all blocks of a network.
pub(crate) struct AdmContext {
    pub(crate) embedding: usize,
    pub(crate) dropout: f32,
    pub(crate) scale_shift: bool,
}

impl AdmBlock {
    pub(crate) fn new(
        b: &mut Builder,
        name: &str,
        (inputs, outputs): (usize, usize),
        resample: Resample,
        context: &AdmContext,
        dropout_stream: u64,
    ) -> Self {
        let part = |part: &str| format!("{name}.{part}");
        Self {
            norm0: GroupNorm::new(b, &part("norm0"), inputs, Grouping::Adm),
            conv0: Conv2d::new(b, &part("conv0"), inputs, outputs, 3, 1.0),
            shift: Linear::new(b, &part("affine"), context.embedding, outputs, 1.0),
            scale: context
                .scale_shift
                .then(|| Linear::new(b, &part("film_scale"), context.embedding, outputs, 1.0)),
            norm1: GroupNorm::new(b, &part("norm1"), outputs, Grouping::Adm),
            conv1: Conv2d::new(b, &part("conv1"), outputs, outputs, 3, 0.0),
            skip: (inputs != outputs).then(|| Conv2d::new(b, &part("skip"), inputs, outputs, 1, 1.0)),
            resample,
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
        let shift = self.shift.forward(g, w, embedding);
        let mut hidden = match &self.scale {
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
        if let Some(key) = extra.dropout_key.filter(|_| self.dropout > 0.0) {
            hidden = ops::dropout(g, &hidden, derive_seed(key, self.dropout_stream), self.dropout);
        }
        let mut shortcut = self.resampled(g, x.clone());
        if let Some(skip) = &self.skip {
            shortcut = skip.forward(g, w, &shortcut, Epilogue::default());
        }
        let epilogue = Epilogue { residual: Some(&shortcut), ..Epilogue::default() };
        self.conv1.forward(g, w, &hidden, epilogue)
    }

    fn resampled(&self, g: &mut Graph, x: Images) -> Images {
        match self.resample {
            Resample::None => x,
            Resample::Down => ops::average_down(g, &x),
            Resample::Up => ops::nearest_up(g, &x),
        }
    }
}
