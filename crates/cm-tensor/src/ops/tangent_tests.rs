//! Tangents where several inputs change at once. That those of one input are right is [`crate::gradient_check`]'s.

use super::*;
use crate::gradient_check::normal_values;
use crate::{Graph, Images, Matrix, Operand, Var, Vector};
use dfdx::shapes::Shape;

/// A pass on inputs some of which change.
type Pass<'a> = dyn Fn(&mut Graph, &[bool]) -> Box<dyn Operand> + 'a;

fn moved<S: Shape>(x: &Var<S>, moves: bool, stream: u64) -> Var<S> {
    let along: Vector = normal_values([x.values().len()], 100 + stream);
    if moves { x.clone().moving(along.values().to_vec()) } else { x.clone() }
}

/// What changes along several inputs is the sum of the changes along each; what changes along none does not.
#[track_caller]
fn assert_linear(inputs: usize, pass: &Pass<'_>) {
    let run = |moves: &[bool]| -> Option<Vec<f32>> {
        let output = pass(&mut Graph::inference().with_tangents(), moves);
        output.tangent().map(<[f32]>::to_vec)
    };
    assert_eq!(run(&vec![false; inputs]), None);
    let alone: Vec<Vec<f32>> = (0..inputs)
        .map(|input| run(&(0..inputs).map(|other| other == input).collect::<Vec<_>>()).unwrap())
        .collect();
    let without = pass(&mut Graph::inference(), &vec![true; inputs]);
    assert!(without.tangent().is_none(), "a pass without tangents has none");
    // All, and all but one.
    for left_out in 0..=inputs {
        let moves: Vec<bool> = (0..inputs).map(|input| input != left_out).collect();
        let Some(together) = run(&moves) else {
            assert_eq!(inputs, 1);
            continue;
        };
        let largest = together.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        for (place, value) in together.iter().enumerate() {
            let sum: f32 = (0..inputs).filter(|&input| moves[input]).map(|input| alone[input][place]).sum();
            assert!((value - sum).abs() <= 1e-5 * largest, "{value} {sum} of {largest}");
        }
    }
}

#[test]
fn changes_of_several_inputs_add_up() {
    let x: Images = normal_values([2, 4, 4, 8], 1);
    let y: Images = normal_values([2, 4, 4, 8], 2);
    let (weight, bias): (Vector, Vector) = (normal_values([9 * 64], 3), normal_values([8], 4));
    let (scale, shift): (Matrix, Matrix) = (normal_values([2, 8], 5), normal_values([2, 8], 6));
    assert_linear(5, &|g, m| {
        let conv = Conv2d {
            weight: &moved(&weight, m[1], 1),
            bias: &moved(&bias, m[2], 2),
            kernel: 3,
            stride: 1,
            padding: 1,
            out_channels: 8,
            image_bias: Some(&moved(&shift, m[3], 3)),
            residual: Some(&moved(&y, m[4], 4)),
            scale: 0.7,
        };
        Box::new(conv2d(g, &moved(&x, m[0], 0), conv))
    });
    assert_linear(5, &|g, m| {
        let film = (&moved(&scale, m[3], 3), &moved(&shift, m[4], 4));
        let (gamma, beta) = (moved(&bias, m[1], 1), moved(&bias, m[2], 2));
        Box::new(group_norm(g, &moved(&x, m[0], 0), &gamma, &beta, Some(film), 2, 1e-5, true))
    });
    let square: Vector = normal_values([64], 7);
    assert_linear(3, &|g, m| {
        let (weight, bias) = (moved(&square, m[1], 1), moved(&bias, m[2], 2));
        Box::new(linear(g, &moved(&scale, m[0], 0), &weight, Some(&bias)))
    });
    assert_linear(2, &|g, m| Box::new(add(g, &moved(&x, m[0], 0), &moved(&y, m[1], 1), 0.7)));
    assert_linear(2, &|g, m| Box::new(concat(g, &moved(&x, m[0], 0), &moved(&y, m[1], 1))));
    let (a, b) = (vec![0.5, -1.0], vec![1.5, 0.3]);
    assert_linear(2, &|g, m| {
        Box::new(blend(g, a.clone(), &moved(&x, m[0], 0), b.clone(), &moved(&y, m[1], 1)))
    });
    assert_linear(2, &|g, m| Box::new(modulate(g, &moved(&x, m[0], 0), &moved(&scale, m[1], 1))));
}

/// No gradient flows to a target, and its change counts as little.
#[test]
fn a_target_s_change_does_not_count() {
    let (x, y): (Images, Images) = (normal_values([2, 2, 2, 3], 1), normal_values([2, 2, 2, 3], 2));
    let mut graph = Graph::inference().with_tangents();
    assert!(pair_distance(&mut graph, PairDistance::L2, &x, &moved(&y, true, 0)).tangent().is_none());
    assert!(feature_distance(&mut graph, &x, &moved(&y, true, 0)).tangent().is_none());
}

/// A region that is computed again carries tangents, and keeps none of its own.
#[test]
fn a_region_carries_tangents() {
    let x = moved(&normal_values::<[usize; 4]>([1, 2, 2, 4], 1).detached(true), true, 0);
    let region = |g: &mut Graph, x: &Images| {
        let y = silu(g, x);
        silu(g, &y)
    };
    let mut graph = Graph::recording().with_tangents();
    let (taken, again) = (x.clone(), x.clone());
    let output = graph.recomputed(move |g| region(g, &taken));
    let plain = region(&mut Graph::inference().with_tangents(), &again);
    assert_eq!(output.tangent(), plain.tangent());
    let mut gradients = graph.backward(&output, vec![1.0; 16]);
    assert!(gradients.take(&x).is_some());
}
