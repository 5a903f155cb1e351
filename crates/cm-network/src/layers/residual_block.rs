//! The residual block of DDPM++.

use super::{BranchContext, Conv2d, Epilogue, Grouping, Resample, ResidualBranch, SelfAttention};
use crate::init::Builder;
use crate::{Extra, ResamplingConfig};
use cm_tensor::{Graph, Images, Matrix, Weights};
use std::f32::consts::FRAC_1_SQRT_2;

/// GroupNorm, SiLU, (resample), conv, + embedding; GroupNorm, SiLU, dropout, conv; plus the (resampled, projected)
/// input, over sqrt(2); then attention if there is any. Karras et al. 2022, SongUNet's UNetBlock.
pub(crate) struct ResidualBlock {
    branch: ResidualBranch,
    conv1: Conv2d,
    skip: Option<Conv2d>,
    attention: Option<SelfAttention>,
    resample: Resample,
    resampling: ResamplingConfig,
}

/// What is the same for all blocks of a network.
pub(crate) struct BlockContext {
    pub(crate) branch: BranchContext,
    pub(crate) heads: usize,
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
        let how = (resample, context.resampling);
        Self {
            branch: ResidualBranch::new(b, name, (inputs, outputs), how, &context.branch, dropout_stream),
            conv1: Conv2d::new(b, &part("conv1"), outputs, outputs, 3, 0.0),
            // A resampling block projects its shortcut even if the channels stay (SongUNet, resample_proj).
            skip: (inputs != outputs || resample != Resample::None)
                .then(|| Conv2d::new(b, &part("skip"), inputs, outputs, 1, 1.0)),
            attention: attention
                .then(|| SelfAttention::new(b, &part("attention"), outputs, context.heads, Grouping::Song)),
            resample,
            resampling: context.resampling,
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
        let hidden = self.branch.forward(g, w, x, embedding, extra);
        let shortcut = self.shortcut(g, w, x);
        let epilogue = Epilogue { residual: Some(&shortcut), scale: FRAC_1_SQRT_2, ..Epilogue::default() };
        let out = self.conv1.forward(g, w, &hidden, epilogue);
        match &self.attention {
            Some(attention) => attention.forward(g, w, &out),
            None => out,
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
            self.resample.apply(g, projected, self.resampling)
        } else {
            let resampled = self.resample.apply(g, x.clone(), self.resampling);
            project(g, resampled)
        }
    }
}
