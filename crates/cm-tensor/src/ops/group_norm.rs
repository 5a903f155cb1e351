//! Group normalisation, fused with the non-linearity that nearly always follows.

use crate::{BackwardContext, CustomOp, Graph, Images, Vector};
use cm_kernels::buffer::unwritten;
use cm_kernels::group_norm::{self as kernel, Affine, Grads, GroupNormShape};

struct GroupNorm {
    shape: GroupNormShape,
    silu: bool,
}

impl CustomOp for GroupNorm {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let mut stats = unwritten(self.shape.batch * self.shape.groups * 2);
        let affine = Affine { gamma: inputs[1], beta: inputs[2], film: None };
        kernel::forward(&self.shape, inputs[0], affine, self.silu, output, &mut stats);
        stats
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let [x, gamma, beta] = context.inputs else { unreachable!("three inputs were given") };
        let (mut grad_x, mut grad_gamma, mut grad_beta) =
            (unwritten(x.len()), unwritten(gamma.len()), unwritten(beta.len()));
        kernel::backward(
            &self.shape,
            x,
            Affine { gamma, beta, film: None },
            self.silu,
            context.saved,
            &context.gradient,
            Grads { grad_x: &mut grad_x, grad_gamma: &mut grad_gamma, grad_beta: &mut grad_beta, film: None },
        );
        let parts = [grad_x, grad_gamma, grad_beta];
        parts.into_iter().zip(context.wanted).map(|(part, &wanted)| wanted.then_some(part)).collect()
    }
}

/// Each group of channels of each image brought to mean 0 and variance 1, times `gamma`, plus `beta` (Wu and He
/// 2018), and through SiLU if `silu`.
///
/// # Shapes
/// `x`: [N, H, W, C]; `gamma`, `beta`: [C].
///
/// # Panics
/// If `groups` does not divide the channels.
pub fn group_norm(
    graph: &mut Graph,
    x: &Images,
    gamma: &Vector,
    beta: &Vector,
    groups: usize,
    eps: f32,
    silu: bool,
) -> Images {
    let [batch, height, width, channels] = x.shape();
    let shape = GroupNormShape { batch, pixels: height * width, channels, groups, eps };
    graph.apply(GroupNorm { shape, silu }, &[x, gamma, beta], x.shape())
}
