//! Training steps of whole networks in composed operations against the kernels: values, gradients, the optimiser's
//! step and the average.

use super::{ALL, networks, shaken};
use crate::Extra;
use cm_image::random::Random;
use cm_kernels::update::{Rule, Slices, apply};
use cm_tensor::composed::accelerator;
use cm_tensor::composed_update::Resident;
use cm_tensor::ops::{self, PairDistance};
use cm_tensor::{Graph, Images, TensorFromVec, Weights};

/// Of the output's largest value.
const FORWARD: f32 = 1e-5;
/// Of the largest gradient, and of the largest weight after the step.
const GRADIENT: f32 = 1e-4;

const RATE: f32 = 1e-3;
const DECAY: f32 = 0.9;

fn rule(step: u64) -> Rule {
    Rule::RAdam { lr: RATE, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, step }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, v| most.max(v.abs()))
}

fn assert_close(what: &str, unit: f32, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        let close = (a - b).abs() <= tolerance * unit;
        assert!(close, "{what}, value {index}: kernels {a}, composed {b}, tolerance {tolerance} of {unit}");
    }
}

/// Output and gradients of the pseudo-Huber distance to `target`.
fn differentiated(
    mut graph: Graph,
    forward: impl Fn(&mut Graph) -> Images,
    weights: &Weights,
    target: &Images,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let output = forward(&mut graph);
    let distances = ops::pair_distance(&mut graph, PairDistance::PseudoHuber { c: 0.03 }, &output, target);
    let share = vec![0.5; 2];
    let gradients = weights.gradients(&mut graph.backward(&distances, share));
    (output.values().to_vec(), gradients)
}

#[test]
fn training_steps_agree() {
    let device = accelerator();
    for (config, shape) in networks() {
        let (network, weights) = config.build(shape, ALL, 1).unwrap();
        let (mut by_kernels, mut by_composed) = (shaken(weights.clone()), shaken(weights));
        let mut moments: Vec<[Vec<f32>; 3]> = by_kernels
            .iter()
            .map(|(_, _, values)| [vec![0.0; values.len()], vec![0.0; values.len()], values.to_vec()])
            .collect();
        let mut resident: Vec<_> = by_composed
            .iter()
            .map(|(_, _, values)| {
                let on_device = |values: Vec<f32>| {
                    let len = values.len();
                    device.tensor_from_vec(values, (len,))
                };
                let zeros = || on_device(vec![0.0; values.len()]);
                let parameter = on_device(values.to_vec());
                let averages = vec![(parameter.clone(), DECAY)];
                Resident { parameter, first_moment: zeros(), second_moment: zeros(), averages }
            })
            .collect();
        for step in 1..=2 {
            let mut random = Random::with_stream(7, step);
            let mut draw = || {
                let values = (0..2 * shape.len()).map(|_| random.normal()).collect();
                Images::constant(values, [2, shape.height, shape.width, shape.channels])
            };
            let (x, target) = (draw(), draw());
            let extra =
                Extra { labels: Some(&[0, 2]), second_time: Some(&[0.4, -0.3]), dropout_key: Some(step) };
            let run = |graph: Graph, weights: &Weights| {
                let forward = |g: &mut Graph| network.forward(g, weights, &x, &[0.5, -1.0], extra);
                differentiated(graph, forward, weights, &target)
            };
            let (output, gradients) = run(Graph::recording().in_kernels(), &by_kernels);
            let (composed_output, composed_gradients) = run(Graph::recording().composed(), &by_composed);
            assert_close("output", largest(&output).max(1.0), &output, &composed_output, FORWARD);
            let unit = gradients.iter().map(|g| largest(g)).fold(0.0, f32::max);
            assert!(unit > 0.0, "the loss depends on the weights");
            for ((name, _, _), (a, b)) in by_kernels.iter().zip(gradients.iter().zip(&composed_gradients)) {
                assert_close(&format!("step {step}, gradient of {name}"), unit, a, b, GRADIENT);
            }
            for ((parameter, gradient), [first, second, average]) in
                by_kernels.values_mut().zip(&gradients).zip(&mut moments)
            {
                let averages = &mut [(average.as_mut_slice(), DECAY)];
                let slices =
                    Slices { parameter, gradient, first_moment: first, second_moment: second, averages };
                apply(&rule(step), 1.0, slices);
            }
            for ((values, gradient), resident) in
                by_composed.values_mut().zip(composed_gradients).zip(&mut resident)
            {
                let len = gradient.len();
                resident.step(&rule(step), 1.0, device.tensor_from_vec(gradient, (len,)));
                values.copy_from_slice(&resident.parameter.as_vec());
            }
            // A step is RATE times the gradient: the weights are held to a thousandth of that.
            let after = by_kernels.iter().zip(by_composed.iter()).zip(moments.iter().zip(&resident));
            for (((name, _, a), (_, _, b)), ([_, _, average], resident)) in after {
                let tolerance = GRADIENT * RATE * unit.max(1.0) * 10.0;
                assert_close(&format!("step {step}, {name}"), largest(a).max(1.0), a, b, tolerance);
                let theirs = resident.averages[0].0.as_vec();
                assert_close(
                    &format!("step {step}, average of {name}"),
                    largest(a).max(1.0),
                    average,
                    &theirs,
                    tolerance,
                );
            }
        }
    }
}
