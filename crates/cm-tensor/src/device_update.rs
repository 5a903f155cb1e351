//! The optimiser's step and the running averages on a device: what `cm_kernels::update` does parameter by parameter, in
//! one launch for all of them.

use crate::Vector;
use crate::custom_op::Changed;
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
/// each with its decay, and so does what products in bf16 take of a parameter.
///
/// # Panics
/// If lengths differ, there is not one average for each decay, or the step is 0.
pub fn step(device: &Device, rule: &Rule, factor: &Buffer, decays: &[f32], parameters: Vec<Resident<'_>>) {
    let (Rule::Adam { lr, beta1, beta2, eps, weight_decay, step }
    | Rule::RAdam { lr, beta1, beta2, eps, weight_decay, step }) = *rule;
    let rectified = matches!(rule, Rule::RAdam { .. });
    let rule = update::Rule { rectified, lr, beta1, beta2, eps, step };
    let mut parameters: Vec<update::Parameter<'_>> = (parameters.into_iter())
        .map(|Resident { parameter, gradient, first_moment, second_moment, averages }| {
            let Changed { values, narrow } = parameter.changed(device, true);
            update::Parameter {
                value: values,
                gradient,
                first_moment: first_moment.on_device_mut(device),
                second_moment: second_moment.on_device_mut(device),
                averages: averages.into_iter().map(|average| average.on_device_mut(device)).collect(),
                copy: narrow,
                weight_decay,
            }
        })
        .collect();
    let gpu = device.gpu();
    // The end of a training step: what comes next is the host's.
    done(gpu.update(&rule, factor, decays, &mut parameters).and_then(|()| gpu.submit()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::normal_values;
    use crate::{Graph, ops};
    use cm_gpu::conv2d::Precision;
    use cm_gpu::standin::standin;

    /// The update writes what the next products take, so that nothing has to be converted in every pass; of a parameter
    /// that no product takes it does not.
    #[test]
    fn what_products_in_bf16_take_of_a_parameter_follows_it() {
        let Some(standin) = standin() else { return };
        let device = Device::new(standin.gpu(), Precision::Bf16);
        let gpu = device.gpu();
        let constant = |len: usize, stream| normal_values([len], stream);
        let (mut weight, mut bias) = (constant(6, 1), constant(3, 2));
        let x = normal_values([4, 2], 3);
        let pass = |weight: &Vector, bias: &Vector| {
            let mut graph = Graph::inference().on(&device);
            standin.tally();
            let y = ops::linear(&mut graph, &x, weight, Some(bias));
            (y.values().to_vec(), standin.tally().launches)
        };
        let bits = |buffer: &Buffer| gpu.download::<u16>(buffer).unwrap();
        let (before, first) = pass(&weight, &bias);
        for step in 1..=2 {
            let rule = Rule::Adam { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, step };
            let factor = device.uploaded(&[1.0]);
            let mut moments = [6, 6, 3, 3].map(|len| Vector::constant(vec![0.0; len], [len]));
            let [first6, second6, first3, second3] = &mut moments;
            let gradients = [constant(6, 4).on_device(&device), constant(3, 5).on_device(&device)];
            let resident = |parameter, gradient, first_moment, second_moment| Resident {
                parameter,
                gradient,
                first_moment,
                second_moment,
                averages: Vec::new(),
            };
            let residents = vec![
                resident(&mut weight, &gradients[0], first6, second6),
                resident(&mut bias, &gradients[1], first3, second3),
            ];
            super::step(&device, &rule, &factor, &[], residents);
            let (after, launches) = pass(&weight, &bias);
            // The first pass converted the input and the weight, and brought its output back as this one does.
            assert_eq!((launches, after != before), (first - 2, true), "step {step}");
            standin.tally();
            let narrow = weight.as_factor(&device);
            assert_eq!(standin.tally().launches, 0);
            let rounded = gpu.converted(&weight.on_device(&device), cm_gpu::Element::Bf16).unwrap();
            assert_eq!(bits(&narrow), bits(&rounded));
            assert!(bias.changed(&device, true).narrow.is_none());
        }
    }
}
