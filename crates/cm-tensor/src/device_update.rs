//! The optimiser's step and the running averages on a device: what `cm_kernels::update` does parameter by parameter, in
//! one launch for all of them.

use crate::Vector;
use crate::device::{Device, done};
use cm_gpu::{Buffer, update};
use cm_kernels::update::Rule;

/// One parameter and what belongs to it, all of one length. They are changed where they lie, and brought to the device if
/// they are not there.
pub struct Resident<'a> {
    /// The parameter.
    pub parameter: &'a mut Vector,
    /// Its gradient, in single precision.
    pub gradient: &'a Buffer,
    /// Running mean of the gradient; zeros before the first step.
    pub first_moment: &'a mut Vector,
    /// Running mean of its square; zeros before the first step.
    pub second_moment: &'a mut Vector,
    /// Running averages of the parameter, as many for each.
    pub averages: Vec<&'a mut Vector>,
}

/// Norm of a whole gradient, and what it is to be multiplied by so that its norm is `most` at most, one value on the
/// device.
pub fn gradient_norm(device: &Device, most: Option<f32>, gradients: &[Buffer]) -> (f64, Buffer) {
    let all: Vec<&Buffer> = gradients.iter().collect();
    let gpu = device.gpu();
    let (norm, factor) = done(gpu.gradient_norm(most.unwrap_or(f32::INFINITY), &all));
    (done(gpu.download::<f32>(&norm)).into_iter().map(f64::from).sum(), factor)
}

/// One step of `rule` on all parameters under their gradients times `factor`, one value on the device; averages follow,
/// each with its decay.
///
/// # Panics
/// If lengths differ, there is not one average for each decay, or the step is 0.
pub fn step(device: &Device, rule: &Rule, factor: &Buffer, decays: &[f32], parameters: Vec<Resident<'_>>) {
    let (Rule::Adam { lr, beta1, beta2, eps, weight_decay, step }
    | Rule::RAdam { lr, beta1, beta2, eps, weight_decay, step }) = *rule;
    let rectified = matches!(rule, Rule::RAdam { .. });
    let rule = update::Rule { rectified, lr, beta1, beta2, eps, step };
    let mut parameters: Vec<update::Parameter<'_>> = (parameters.into_iter())
        .map(|Resident { parameter, gradient, first_moment, second_moment, averages }| update::Parameter {
            value: parameter.on_device_mut(device),
            gradient,
            first_moment: first_moment.on_device_mut(device),
            second_moment: second_moment.on_device_mut(device),
            averages: averages.into_iter().map(|average| average.on_device_mut(device)).collect(),
            copy: None,
            weight_decay,
        })
        .collect();
    done(device.gpu().update(&rule, factor, decays, &mut parameters));
}
