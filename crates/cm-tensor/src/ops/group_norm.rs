//! Group normalisation, fused with the non-linearity that nearly always follows.

use crate::composed::{
    AnyDevice, Axes2, Axis, BroadcastTo, Flat, MeanTo, Tape, WithEmptyTape, flat, for_each_row, shaped, silu,
};
use crate::{BackwardContext, CustomOp, Graph, Images, Matrix, Operand, Vector};
use cm_kernels::buffer::unwritten;
use cm_kernels::group_norm::{self as kernel, Affine, Film, Grads, GroupNormShape};

struct GroupNorm {
    shape: GroupNormShape,
    silu: bool,
}

impl CustomOp for GroupNorm {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let mut stats = unwritten(self.shape.batch * self.shape.groups * 2);
        kernel::forward(&self.shape, inputs[0], affine(inputs), self.silu, output, &mut stats);
        stats
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let inputs = context.inputs;
        let mut parts: Vec<Vec<f32>> = inputs.iter().map(|input| unwritten(input.len())).collect();
        let [grad_x, grad_gamma, grad_beta, film @ ..] = parts.as_mut_slice() else {
            unreachable!("at least three inputs were given")
        };
        let film = match film {
            [scale, shift] => Some((scale.as_mut_slice(), shift.as_mut_slice())),
            _ => None,
        };
        kernel::backward(
            &self.shape,
            inputs[0],
            affine(inputs),
            self.silu,
            context.saved,
            &context.gradient,
            Grads { grad_x, grad_gamma, grad_beta, film },
        );
        parts.into_iter().zip(context.wanted).map(|(part, &wanted)| wanted.then_some(part)).collect()
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let GroupNormShape { batch, pixels, channels, groups, eps } = self.shape;
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().expect("given with the operation");
        let (x, gamma, beta) = (next(), next(), next());
        let grouped = (batch, pixels, groups, channels / groups);
        let x = shaped(x, grouped);
        let mean = x.with_empty_tape().mean::<(usize, usize), Axes2<1, 3>>();
        let centred = x - mean.broadcast_like::<_, Axes2<1, 3>>(&grouped);
        let variance = centred.with_empty_tape().square().mean::<(usize, usize), Axes2<1, 3>>();
        let factor = (variance + eps).sqrt().recip();
        let normed = centred * factor.broadcast_like::<_, Axes2<1, 3>>(&grouped);
        let normed = shaped(normed, (batch * pixels, channels));
        let gamma = for_each_row(gamma, &normed);
        let y = for_each_row(beta, &normed) + normed * gamma;
        let whole = (batch, pixels, channels);
        let mut y = shaped(y, whole);
        if let (Some(scale), Some(shift)) = (inputs.next(), inputs.next()) {
            let scale = shaped(scale, (batch, channels)).broadcast_like::<_, Axis<1>>(&whole);
            let shift = shaped(shift, (batch, channels)).broadcast_like::<_, Axis<1>>(&whole);
            y = y * (scale + 1.0) + shift;
        }
        flat(if self.silu { silu(y) } else { y })
    }
}

/// gamma, beta and, if given, the modulation, from the operation's inputs.
fn affine<'a>(inputs: &[&'a [f32]]) -> Affine<'a> {
    let film = match inputs {
        [_, _, _, scale, shift] => Some(Film { scale, shift }),
        _ => None,
    };
    Affine { gamma: inputs[1], beta: inputs[2], film }
}

/// Each group of channels of each image brought to mean 0 and variance 1, times `gamma`, plus `beta` (Wu and He
/// 2018); then, if `film` is given, times 1 + its first plus its second (Perez et al. 2018; ADM's scale-shift norm);
/// then through SiLU if `silu`.
///
/// # Shapes
/// `x`: `[N, H, W, C]`; `gamma`, `beta`: `[C]`; `film`: twice `[N, C]`.
///
/// # Panics
/// If `groups` does not divide the channels.
pub fn group_norm(
    graph: &mut Graph,
    x: &Images,
    gamma: &Vector,
    beta: &Vector,
    film: Option<(&Matrix, &Matrix)>,
    groups: usize,
    eps: f32,
    silu: bool,
) -> Images {
    let [batch, height, width, channels] = x.shape();
    let shape = GroupNormShape { batch, pixels: height * width, channels, groups, eps };
    let mut inputs: Vec<&dyn Operand> = vec![x, gamma, beta];
    inputs.extend(film.into_iter().flat_map(|(scale, shift)| [scale as &dyn Operand, shift]));
    graph.apply(GroupNorm { shape, silu }, &inputs, x.shape())
}
