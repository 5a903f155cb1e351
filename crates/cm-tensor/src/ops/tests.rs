//! Every operation's wiring: central differences by each input.

use super::device_tests::plain;
use super::*;
use crate::gradient_check::{assert_gradient, assert_gradient_with_step, largest_difference, normal_values};
use crate::{Graph, Images, Matrix, Var, Vector};

/// What `f32` leaves of a central difference with the helper's step.
const TOLERANCE: f64 = 4e-3;

fn images(shape: [usize; 4], stream: u64) -> Images {
    normal_values(shape, stream)
}

#[test]
fn activations() {
    assert_gradient(&images([2, 3, 3, 5], 0), TOLERANCE, silu);
    let away_from_the_kink: Vec<f32> =
        images([1, 4, 4, 3], 1).values().iter().map(|v| v + 0.2 * v.signum()).collect();
    assert_gradient(&Images::constant(away_from_the_kink, [1, 4, 4, 3]), TOLERANCE, relu);
}

#[test]
fn attention_by_queries_keys_and_values() {
    assert_gradient(&images([2, 2, 3, 24], 2), TOLERANCE, |g, x| attention(g, x, 2));
}

#[test]
fn sums_and_mixtures() {
    let other = images([3, 2, 2, 4], 3);
    let x = images([3, 2, 2, 4], 4);
    assert_gradient(&x, TOLERANCE, |g, x| add(g, x, &other, 0.7));
    assert_gradient(&x, TOLERANCE, |g, x| add(g, &other, x, 0.7));
    assert_gradient(&x, TOLERANCE, |g, x| add(g, x, x, 0.7));
    let (a, b) = (vec![0.5, -1.0, 2.0], vec![1.5, 0.3, -0.7]);
    assert_gradient(&x, TOLERANCE, |g, x| blend(g, a.clone(), x, b.clone(), &other));
    assert_gradient(&x, TOLERANCE, |g, x| blend(g, a.clone(), &other, b.clone(), x));
    assert_gradient(&x, TOLERANCE, |g, x| concat(g, x, &images([3, 2, 2, 3], 5)));
    assert_gradient(&x, TOLERANCE, |g, x| concat(g, &images([3, 2, 2, 3], 5), x));
    assert_gradient(&x, TOLERANCE, |g, x| dropout(g, x, 99, 0.4));
}

#[test]
fn convolutions_by_every_operand() {
    for (kernel, stride, [n, h, w, inputs], outputs) in
        [(3, 1, [2, 8, 8, 5], 6), (3, 2, [2, 7, 5, 4], 3), (1, 1, [2, 4, 4, 5], 7), (3, 1, [1, 4, 4, 16], 16)]
    {
        let out = [n, (h - 1) / stride + 1, (w - 1) / stride + 1, outputs];
        let x = images([n, h, w, inputs], 6);
        let weight: Vector = normal_values([kernel * kernel * inputs * outputs], 7);
        let bias: Vector = normal_values([outputs], 8);
        let image_bias: Matrix = normal_values([n, outputs], 9);
        let residual = images(out, 10);
        let run =
            |g: &mut Graph, x: &Images, weight: &Vector, bias: &Vector, shift: &Matrix, residual: &Images| {
                let conv = Conv2d {
                    weight,
                    bias,
                    kernel,
                    stride,
                    padding: kernel / 2,
                    out_channels: outputs,
                    image_bias: Some(shift),
                    residual: Some(residual),
                    scale: 0.6,
                };
                let y = conv2d(g, x, conv);
                assert_eq!(y.shape(), out);
                y
            };
        assert_gradient(&x, TOLERANCE, |g, v| run(g, v, &weight, &bias, &image_bias, &residual));
        assert_gradient(&weight, TOLERANCE, |g, v| run(g, &x, v, &bias, &image_bias, &residual));
        assert_gradient(&bias, TOLERANCE, |g, v| run(g, &x, &weight, v, &image_bias, &residual));
        assert_gradient(&image_bias, TOLERANCE, |g, v| run(g, &x, &weight, &bias, v, &residual));
        assert_gradient(&residual, TOLERANCE, |g, v| run(g, &x, &weight, &bias, &image_bias, v));
    }
}

#[test]
fn affine_maps_and_classifiers() {
    let x: Matrix = normal_values([5, 4], 11);
    let (weight, bias): (Vector, Vector) = (normal_values([12], 12), normal_values([3], 13));
    assert_gradient(&x, TOLERANCE, |g, x| linear(g, x, &weight, Some(&bias)));
    assert_gradient(&weight, TOLERANCE, |g, w| linear(g, &x, w, Some(&bias)));
    assert_gradient(&bias, TOLERANCE, |g, b| linear(g, &x, &weight, Some(b)));
    assert_gradient(&x, TOLERANCE, |g, x| linear(g, x, &weight, None));
    assert_gradient(&weight, TOLERANCE, |g, w| linear(g, &x, w, None));
    assert_gradient(&x, TOLERANCE, |g, x| cross_entropy(g, x, &[0, 3, 1, 2, 3]));
}

#[test]
fn normalisation_by_every_operand() {
    let x = images([2, 3, 3, 8], 14);
    let (gamma, beta): (Vector, Vector) = (normal_values([8], 15), normal_values([8], 16));
    for silu in [false, true] {
        assert_gradient(&x, TOLERANCE, |g, v| group_norm(g, v, &gamma, &beta, None, 2, 1e-5, silu));
        assert_gradient(&gamma, TOLERANCE, |g, v| group_norm(g, &x, v, &beta, None, 2, 1e-5, silu));
        assert_gradient(&beta, TOLERANCE, |g, v| group_norm(g, &x, &gamma, v, None, 2, 1e-5, silu));
        let (scale, shift): (Matrix, Matrix) = (normal_values([2, 8], 30), normal_values([2, 8], 31));
        let run = |g: &mut Graph, x: &Images, scale: &Matrix, shift: &Matrix| {
            group_norm(g, x, &gamma, &beta, Some((scale, shift)), 2, 1e-5, silu)
        };
        assert_gradient(&x, TOLERANCE, |g, v| run(g, v, &scale, &shift));
        assert_gradient(&scale, TOLERANCE, |g, v| run(g, &x, v, &shift));
        assert_gradient(&shift, TOLERANCE, |g, v| run(g, &x, &scale, v));
    }
}

#[test]
fn resolutions_and_shapes() {
    let x = images([2, 4, 6, 3], 17);
    assert_gradient(&x, TOLERANCE, average_down);
    assert_gradient(&x, TOLERANCE, nearest_up);
    assert_gradient(&x, TOLERANCE, global_average);
    assert_gradient(&x, TOLERANCE, fir_down);
    assert_gradient(&x, TOLERANCE, fir_up);
    assert_gradient(&x, TOLERANCE, fir_smooth);
    assert_gradient(&x, TOLERANCE, |g, x| bilinear(g, x, (5, 3)));
    assert_gradient(&x, TOLERANCE, |g, x| {
        let rows = as_matrix(g, x);
        as_images(g, &rows, [6, 4, 3])
    });
}

#[test]
fn distances_by_the_student() {
    let (x, target) = (images([3, 2, 2, 4], 18), images([3, 2, 2, 4], 19));
    for kind in
        [PairDistance::L1, PairDistance::L2, PairDistance::SquaredL2, PairDistance::PseudoHuber { c: 0.1 }]
    {
        assert_gradient(&x, TOLERANCE, |g, x| pair_distance(g, kind, x, &target));
    }
    assert_gradient(&x, TOLERANCE, |g, x| feature_distance(g, x, &target));
    let weights = vec![0.5, 0.0, 2.0, 1.25];
    assert_gradient(&x, TOLERANCE, |g, x| weighted_feature_distance(g, weights.clone(), x, &target));
}

#[test]
fn windows_and_channels() {
    let x = images([2, 7, 6, 3], 21);
    assert_gradient_with_step(&x, 1e-3, TOLERANCE, |g, x| max_pool(g, x, 3, 2, true));
    assert_gradient_with_step(&x, 1e-3, TOLERANCE, |g, x| max_pool(g, x, 2, 2, false));
    assert_gradient(&x, TOLERANCE, |g, x| average_pool(g, x, 2, 2));
    let (scale, shift) = (vec![2.0, -0.5, 3.0], vec![0.1, 0.2, 0.3]);
    let affine = |g: &mut Graph, x: &Images| affine_channels(g, x, scale.clone(), shift.clone());
    assert_gradient(&x, TOLERANCE, affine);
    let grey = images([2, 3, 3, 1], 22);
    assert_gradient(&grey, TOLERANCE, affine);
    let coloured = affine(&mut Graph::inference(), &Images::constant(vec![1.0, -1.0], [1, 1, 2, 1]));
    assert_eq!(coloured.values(), [2.1, -0.3, 3.3, -1.9, 0.7, -2.7]);
    let largest =
        max_pool(&mut Graph::inference(), &Images::constant(vec![1.0, 5.0, 2.0], [1, 1, 3, 1]), 1, 2, true);
    assert_eq!((largest.shape(), largest.values()), ([1, 1, 2, 1], [1.0, 2.0].as_slice()));
}

#[test]
fn a_value_used_twice_gets_both_gradients_and_an_unused_one_none() {
    let x = Vector::tracked(vec![1.0, 2.0], [2]);
    let unused = Vector::tracked(vec![1.0], [1]);
    let constant = Vector::constant(vec![3.0, 4.0], [2]);
    let mut graph = Graph::recording();
    let sum = add(&mut graph, &x, &constant, 1.0);
    let output = add(&mut graph, &sum, &x, 1.0);
    let _dead_end = silu(&mut graph, &sum);
    let mut gradients = graph.backward(&output, vec![1.0, 10.0]);
    assert_eq!(gradients.take(&x), Some(vec![2.0, 20.0]));
    assert_eq!(gradients.take(&unused), None);
    assert_eq!(gradients.take(&constant), None);
}

#[test]
fn inference_gives_the_same_values_and_records_nothing() {
    let x = Var::tracked(images([2, 4, 4, 8], 20).values().to_vec(), [2, 4, 4, 8]);
    let (mut recorded, mut plain) = (Graph::recording(), Graph::inference());
    let (a, b) = (silu(&mut recorded, &x), silu(&mut plain, &x));
    assert_eq!(largest_difference(&a, &b), 0.0);
    assert!(recorded.is_recording() && !plain.is_recording());
}

#[test]
fn empty_batches_pass_through() {
    let x = Images::tracked(vec![], [0, 4, 4, 8]);
    let (weight, bias): (Vector, Vector) = (normal_values([9 * 64], 1), normal_values([8], 2));
    let mut g = Graph::recording();
    let y = conv2d(&mut g, &x, plain(&weight, &bias));
    let y = group_norm(&mut g, &y, &bias, &bias, None, 2, 1e-5, true);
    let y = global_average(&mut g, &y);
    assert_eq!(y.shape(), [0, 8]);
}

#[test]
fn operations_that_preserve_magnitudes() {
    let x = images([2, 3, 2, 12], 40);
    assert_gradient(&x, TOLERANCE, |g, x| pixel_norm(g, x, 1));
    assert_gradient(&x, TOLERANCE, |g, x| pixel_norm(g, x, 3));
    let by: Matrix = normal_values([2, 12], 41);
    assert_gradient(&x, TOLERANCE, |g, x| modulate(g, x, &by));
    assert_gradient(&by, TOLERANCE, |g, by| modulate(g, &x, by));
    // No value near the limit.
    let apart: Vec<f32> = x.values().iter().map(|v| if v.abs() > 0.8 { 3.0 * v } else { v * 0.5 }).collect();
    assert_gradient(&Images::constant(apart, [2, 3, 2, 12]), TOLERANCE, |g, x| clamp(g, x, 1.0));
    let mut graph = Graph::inference();
    // Root mean square 5; a pixel of zeros stays.
    let pixels = Images::constant(vec![3.0, 4.0, 5.0, -50f32.sqrt(), 0.0, 0.0, 0.0, 0.0], [1, 1, 2, 4]);
    let normed = pixel_norm(&mut graph, &pixels, 1);
    let expected = [0.6, 0.8, 1.0, -2f32.sqrt(), 0.0, 0.0, 0.0, 0.0];
    assert!(normed.values().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{:?}", normed.values());
}
