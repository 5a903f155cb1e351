//! The residual block of ADM.

use super::{BranchContext, Conv2d, Epilogue, Resample, ResidualBranch};
use crate::init::Builder;
use crate::{Extra, ResamplingConfig};
use cm_tensor::{Graph, Images, Matrix, Weights};

/// GroupNorm, SiLU, (resample), conv; GroupNorm, x (1 + scale) + shift, SiLU, dropout, conv; plus the (resampled,
/// projected) input. Without scale-shift the embedding is added before the second normalisation. Dhariwal and Nichol
/// 2021, Section 3.
pub(crate) struct AdmBlock {
    branch: ResidualBranch,
    conv1: Conv2d,
    /// Only where the channels change.
    skip: Option<Conv2d>,
    resample: Resample,
}

impl AdmBlock {
    pub(crate) fn new(
        b: &mut Builder,
        name: &str,
        (inputs, outputs): (usize, usize),
        resample: Resample,
        context: &BranchContext,
        dropout_stream: u64,
    ) -> Self {
        let part = |part: &str| format!("{name}.{part}");
        let how = (resample, ResamplingConfig::Plain);
        Self {
            branch: ResidualBranch::new(b, name, (inputs, outputs), how, context, dropout_stream),
            conv1: Conv2d::new(b, &part("conv1"), outputs, outputs, 3, 0.0),
            skip: (inputs != outputs).then(|| Conv2d::new(b, &part("skip"), inputs, outputs, 1, 1.0)),
            resample,
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
        let mut shortcut = self.resample.apply(g, x.clone(), ResamplingConfig::Plain);
        if let Some(skip) = &self.skip {
            shortcut = skip.forward(g, w, &shortcut, Epilogue::default());
        }
        let epilogue = Epilogue { residual: Some(&shortcut), ..Epilogue::default() };
        self.conv1.forward(g, w, &hidden, epilogue)
    }
}
