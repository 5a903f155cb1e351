//! Training steps of whole networks on a device against the CPU: values, gradients, the optimiser's step and the average.
//! The device is the stand-in, whose kernels the host's C++ compiler builds.

use super::{ALL, build, extra, networks, shaken, tiny_adm, tiny_unet};
use crate::Extra;
use cm_gpu::conv2d::Precision;
use cm_gpu::standin::gpu;
use cm_image::ImageShape;
use cm_image::random::Random;
use cm_kernels::update::{Rule, Slices, apply};
use cm_tensor::device::Device;
use cm_tensor::device_update::{Resident, gradient_norm, step};
use cm_tensor::ops::{self, PairDistance};
use cm_tensor::{Buffer, Gradients, Graph, Images, Vector, Weights};

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
        assert!(close, "{what}, value {index}: host {a}, device {b}, tolerance {tolerance} of {unit}");
    }
}

/// Output and gradients of the pseudo-Huber distance to `target`.
fn differentiated(
    mut graph: Graph,
    forward: impl Fn(&mut Graph) -> Images,
    target: &Images,
) -> (Vec<f32>, Gradients) {
    let output = forward(&mut graph);
    let distances = ops::pair_distance(&mut graph, PairDistance::PseudoHuber { c: 0.03 }, &output, target);
    (output.values().to_vec(), graph.backward(&distances, vec![0.5; 2]))
}

/// What belongs to a network's weights: both moments, which begin at 0, and an average, which begins at the weights.
fn beside(weights: &Weights) -> Vec<[Vector; 3]> {
    let of = |values: &[f32]| {
        let len = values.len();
        [vec![0.0; len], vec![0.0; len], values.to_vec()].map(|values| Vector::constant(values, [len]))
    };
    weights.iter().map(|(_, _, values)| of(values)).collect()
}

#[test]
fn training_steps_agree() {
    let Some(gpu) = gpu() else { return };
    let device = Device::new(gpu, Precision::F32);
    for (config, shape) in networks() {
        let (network, weights) = config.build(shape, ALL, 1).unwrap();
        let (mut by_host, mut by_device) = (shaken(&config, weights.clone()), shaken(&config, weights));
        let (mut on_host, mut on_device) = (beside(&by_host), beside(&by_device));
        for number in 1..=2 {
            let mut random = Random::with_stream(7, number);
            let mut draw = || {
                let values = (0..2 * shape.len()).map(|_| random.normal()).collect();
                Images::constant(values, [2, shape.height, shape.width, shape.channels])
            };
            let (x, target) = (draw(), draw());
            let extra = Extra {
                labels: Some(&[0, 2]),
                second_time: Some(&[0.4, -0.3]),
                dropout_key: Some(number),
                ..Extra::default()
            };
            let run = |graph: Graph, weights: &Weights| {
                let forward = |g: &mut Graph| network.forward(g, weights, &x, &[0.5, -1.0], extra);
                differentiated(graph, forward, &target)
            };
            let (output, mut gradients) = run(Graph::recording().on_host(), &by_host);
            let (their_output, mut theirs) = run(Graph::recording().on(&device), &by_device);
            let gradients = by_host.gradients(&mut gradients);
            let theirs: Vec<Buffer> = by_device.gradients_on_device(&device, &mut theirs);
            assert_close("output", largest(&output).max(1.0), &output, &their_output, FORWARD);
            let unit = gradients.iter().map(|g| largest(g)).fold(0.0, f32::max);
            assert!(unit > 0.0, "the loss depends on the weights");
            for ((name, _, _), (a, b)) in by_host.iter().zip(gradients.iter().zip(&theirs)) {
                let what = format!("step {number}, gradient of {name}");
                assert_close(&what, unit, a, &device.downloaded(b), GRADIENT);
            }
            for ((parameter, gradient), [first, second, average]) in
                by_host.values_mut().zip(&gradients).zip(&mut on_host)
            {
                let (first_moment, second_moment) = (first.values_mut(), second.values_mut());
                let averages = &mut [(average.values_mut(), DECAY)];
                let slices = Slices { parameter, gradient, first_moment, second_moment, averages };
                apply(&rule(number), 1.0, slices);
            }
            let (norm, factor) = gradient_norm(&device, None, &theirs);
            let exact: f64 = gradients.iter().flatten().map(|g| f64::from(*g).powi(2)).sum();
            assert!((norm - exact.sqrt()).abs() <= 1e-4 * exact.sqrt(), "norm {norm}, of the host's {exact}");
            let residents = (by_device.vectors_mut().zip(&theirs).zip(&mut on_device)).map(
                |((parameter, gradient), [first_moment, second_moment, average])| {
                    let averages = vec![average];
                    Resident { parameter, gradient, first_moment, second_moment, averages }
                },
            );
            step(&device, &rule(number), &factor, &[DECAY], residents.collect());
            // A step is RATE times the gradient: the weights are held to a thousandth of that.
            let after = by_host.iter().zip(by_device.iter()).zip(on_host.iter().zip(&on_device));
            for (((name, _, a), (_, _, b)), ([_, _, average], [_, _, their_average])) in after {
                let (unit_of, tolerance) = (largest(a).max(1.0), GRADIENT * RATE * unit.max(1.0) * 10.0);
                assert_close(&format!("step {number}, {name}"), unit_of, a, b, tolerance);
                let what = format!("step {number}, average of {name}");
                assert_close(&what, unit_of, average.values(), their_average.values(), tolerance);
            }
        }
    }
}

/// Gradients in narrower products point where the host's do.
#[test]
fn gradients_in_narrow_products_are_near_the_host_s() {
    let Some(gpu) = gpu() else { return };
    for (config, shape) in [(tiny_unet(), ImageShape::new(8, 8, 2)), (tiny_adm(), ImageShape::new(8, 8, 2))] {
        let (network, weights) = build(&config, shape);
        let draw = |stream| {
            let mut random = Random::with_stream(9, stream);
            let values = (0..2 * shape.len()).map(|_| random.normal()).collect();
            Images::constant(values, [2, shape.height, shape.width, shape.channels])
        };
        let (x, target) = (draw(1), draw(2));
        let run = |graph: Graph| {
            let forward = |g: &mut Graph| network.forward(g, &weights, &x, &[0.5, -1.0], extra(None));
            let (output, mut gradients) = differentiated(graph, forward, &target);
            (output, weights.gradients(&mut gradients).concat())
        };
        let (output, gradient) = run(Graph::recording().on_host());
        let length = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        for (precision, most) in [(Precision::Tf32, 3e-3), (Precision::Bf16, 4e-2)] {
            let (theirs, their_gradient) = run(Graph::recording().on(&Device::new(gpu.clone(), precision)));
            for (what, a, b) in [("output", &output, &theirs), ("gradient", &gradient, &their_gradient)] {
                let apart: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
                let share = length(&apart) / length(a);
                assert!(share < most, "{what} in {precision:?} is {share:.1e} of its length off");
                assert!(share > 1e-6, "{what} in {precision:?} is as in single precision");
            }
        }
    }
}

/// The mean losses of ten runs of twenty steps each, in which a small U-Net learns to take noise from stripes.
fn learning(on: &dyn Fn() -> Graph) -> Vec<f64> {
    const IMAGES: usize = 2;
    const SIDE: usize = 4;
    const BETA: f32 = 0.9;
    let shape = ImageShape::new(SIDE, SIDE, 1);
    let (network, mut weights) = build(&tiny_unet(), shape);
    let mut moments = beside(&weights);
    let mut losses = Vec::new();
    for number in 1..=200 {
        let mut random = Random::with_stream(13, number);
        let mut stripes = |_| {
            let (slope, phase) = (random.normal(), 3.0 * random.normal());
            (0..shape.len()).map(move |at| (slope * (at % SIDE) as f32 + (at / SIDE) as f32 + phase).sin())
        };
        let clean: Vec<f32> = (0..IMAGES).flat_map(&mut stripes).collect();
        let noisy = clean.iter().map(|value| value + 0.5 * random.normal()).collect();
        let images = |values| Images::constant(values, [IMAGES, SIDE, SIDE, 1]);
        let extra = Extra { labels: Some(&[0, 2]), second_time: Some(&[0.5; IMAGES]), ..Extra::default() };
        let mut graph = on();
        let output = network.forward(&mut graph, &weights, &images(noisy), &[0.5; IMAGES], extra);
        let each = ops::pair_distance(&mut graph, PairDistance::SquaredL2, &output, &images(clean));
        losses.push(each.values().iter().map(|&loss| f64::from(loss)).sum::<f64>() / IMAGES as f64);
        let mut gradients = graph.backward(&each, vec![1.0 / IMAGES as f32; IMAGES]);
        let rule =
            Rule::Adam { lr: 2e-3, beta1: BETA, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: number };
        let gradients = weights.gradients(&mut gradients);
        for ((parameter, gradient), [first, second, _]) in
            weights.values_mut().zip(&gradients).zip(&mut moments)
        {
            let (first_moment, second_moment) = (first.values_mut(), second.values_mut());
            apply(&rule, 1.0, Slices { parameter, gradient, first_moment, second_moment, averages: &mut [] });
        }
    }
    losses.chunks_exact(20).map(|losses| losses.iter().sum::<f64>() / 20.0).collect()
}

/// The curves of two hundred steps of a U-Net. By hand, `cargo test -p cm-network -- --ignored`: the stand-in computes
/// each thread of each block by itself, and takes 13 minutes of processor time for them.
#[test]
#[ignore = "a quarter of an hour of the stand-in's time"]
fn a_u_net_learns_in_narrow_products_as_in_single_precision() {
    let host = learning(&|| Graph::recording().on_host());
    assert!(host[9] < 0.6 * host[0], "something is learnt: {host:?}");
    let Some(gpu) = gpu() else { return };
    for (precision, band) in [(Precision::Bf16, 0.03), (Precision::Tf32, 0.01)] {
        let device = Device::new(gpu.clone(), precision);
        let there = learning(&|| Graph::recording().on(&device));
        for (a, b) in host.iter().zip(&there) {
            assert!((a - b).abs() <= band * a, "{precision:?}: host {host:?}, device {there:?}");
        }
    }
}
