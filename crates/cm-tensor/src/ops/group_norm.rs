//! Group normalisation, fused with the non-linearity that nearly always follows.

use crate::device::Device;
use crate::operation::Operation;
use crate::{
    BackwardContext, CustomOp, DeviceContext, Graph, Images, Matrix, Operand, TangentContext, Vector,
};
use cm_gpu::{Buffer, GpuError};
use cm_kernels::buffer::{unwritten, written_by};
use cm_kernels::group_norm::{self as kernel, Affine, Along, Film, Grads, GroupNormShape};

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

    fn operation(&self) -> Option<Operation> {
        let GroupNormShape { groups, eps, .. } = self.shape;
        Some(Operation::GroupNorm { groups, eps, silu: self.silu })
    }

    fn keeps_input(&self, _: usize) -> bool {
        true
    }

    fn tangent(&self, context: TangentContext<'_>) -> Vec<f32> {
        let TangentContext { inputs, tangents, saved, .. } = context;
        let part = |index: usize| tangents.get(index).copied().flatten();
        let along = Along { x: part(0), gamma: part(1), beta: part(2), scale: part(3), shift: part(4) };
        written_by(inputs[0].len(), |out| {
            kernel::tangent(&self.shape, inputs[0], affine(inputs), self.silu, saved, along, out);
        })
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

    fn device_forward(&self, device: &Device, inputs: &[Buffer]) -> Result<(Buffer, Vec<Buffer>), GpuError> {
        let inputs = self.device_inputs(device, |index| inputs.get(index))?;
        let (output, stats) = device.gpu().group_norm(
            &on_device(&self.shape),
            &inputs[0],
            device_affine(&inputs),
            self.silu,
        )?;
        Ok((output, vec![stats]))
    }

    fn device_backward(
        &self,
        device: &Device,
        context: DeviceContext<'_>,
    ) -> Result<Vec<Option<Buffer>>, GpuError> {
        let inputs = self.device_inputs(device, |index| context.inputs.get(index)?.as_ref())?;
        let grads = device.gpu().group_norm_backward(
            &on_device(&self.shape),
            &inputs[0],
            device_affine(&inputs),
            self.silu,
            &context.saved[0],
            &context.gradient,
            context.wanted[0],
        )?;
        let (scale, shift) = grads.film.unzip();
        let parts = [grads.x, Some(grads.gamma), Some(grads.beta), scale, shift];
        Ok(parts.into_iter().zip(context.wanted).map(|(part, &wanted)| part.filter(|_| wanted)).collect())
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

impl GroupNorm {
    /// The inputs as the device's kernels take them: all but the images in single precision.
    fn device_inputs<'a>(
        &self,
        device: &Device,
        input: impl Fn(usize) -> Option<&'a Buffer>,
    ) -> Result<Vec<Buffer>, GpuError> {
        (0..)
            .map_while(input)
            .enumerate()
            .map(|(index, input)| if index == 0 { Ok(input.clone()) } else { device.single(input) })
            .collect()
    }
}

/// [`affine`] on a device.
fn device_affine(inputs: &[Buffer]) -> cm_gpu::group_norm::Affine<'_> {
    let film = match inputs {
        [_, _, _, scale, shift] => Some((scale, shift)),
        _ => None,
    };
    cm_gpu::group_norm::Affine { gamma: &inputs[1], beta: &inputs[2], film }
}

fn on_device(shape: &GroupNormShape) -> cm_gpu::group_norm::GroupNormShape {
    let GroupNormShape { batch, pixels, channels, groups, eps } = *shape;
    cm_gpu::group_norm::GroupNormShape { batch, pixels, channels, groups, eps }
}
