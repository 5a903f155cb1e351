//! Central differences against the backward pass, for the tests of every crate.
//!
//! The arithmetic of a kernel is checked in `f64` against its naive twin in `cm-kernels`; here it is the wiring in
//! `f32` that is checked: that each input gets its own gradient, with the right factor, from the right place.

use crate::{Graph, Operand, Var};
use cm_image::random::Random;
use dfdx::shapes::Shape;

/// Asserts that the gradient of sum(r x f(x)) by `x`, r random, is that of central differences, along random
/// directions and along a sample of the coordinates.
///
/// The step is 1e-2 of the scale of `x` (or 1e-2 where `x` is 0), which in `f32` leaves about three digits.
///
/// # Panics
/// If a derivative differs by more than `tolerance` of the largest one seen, or no gradient arrives.
pub fn assert_gradient<S, T>(x: &Var<S>, tolerance: f64, f: impl Fn(&mut Graph, &Var<S>) -> Var<T>)
where
    S: Shape<Concrete = S>,
    T: Shape,
{
    assert_gradient_with_step(x, 1e-2, tolerance, f);
}

/// [`assert_gradient`] with another step, relative to the scale of `x`: a smaller one for functions with kinks,
/// which a step may cross, at the price of more rounding.
///
/// # Panics
/// As [`assert_gradient`].
pub fn assert_gradient_with_step<S, T>(
    x: &Var<S>,
    relative_step: f32,
    tolerance: f64,
    f: impl Fn(&mut Graph, &Var<S>) -> Var<T>,
) where
    S: Shape<Concrete = S>,
    T: Shape,
{
    let len = x.values().len();
    let weights = |n: usize| {
        let mut random = Random::with_stream(17, 1);
        (0..n).map(|_| random.normal()).collect::<Vec<_>>()
    };
    let tracked = x.detached(true);
    let mut graph = Graph::recording();
    let output = f(&mut graph, &tracked);
    let seed = weights(output.values().len());
    let mut gradients = graph.backward(&output, seed.clone());
    let gradient = gradients.take(&tracked).expect("the output depends on the input");
    assert_eq!(gradient.len(), len, "one derivative for each value");
    let loss = |moved: Vec<f32>| -> f64 {
        let output = f(&mut Graph::inference(), &Var::constant(moved, x.shape()));
        output.values().iter().zip(&seed).map(|(o, r)| f64::from(*o) * f64::from(*r)).sum()
    };
    let scale = x.values().iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let step = relative_step * if scale > 0.0 { scale } else { 1.0 };
    let mut random = Random::with_stream(17, 2);
    let mut directions: Vec<Vec<f32>> = (0..4)
        .map(|_| {
            let direction: Vec<f32> = (0..len).map(|_| random.normal()).collect();
            let norm = direction.iter().map(|d| d * d).sum::<f32>().sqrt();
            direction.iter().map(|d| d / norm).collect()
        })
        .collect();
    for _ in 0..len.min(12) {
        let mut direction = vec![0.0; len];
        direction[random.below(len as u64) as usize] = 1.0;
        directions.push(direction);
    }
    let pairs: Vec<(f64, f64)> = directions
        .iter()
        .map(|direction| {
            let moved =
                |h: f32| loss(x.values().iter().zip(direction).map(|(v, d)| v + h * d).collect::<Vec<_>>());
            let measured = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
            let claimed = gradient.iter().zip(direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            (claimed, measured)
        })
        .collect();
    let largest = pairs.iter().map(|(claimed, _)| claimed.abs()).fold(0.0, f64::max);
    for (index, (claimed, measured)) in pairs.iter().enumerate() {
        assert!(
            (claimed - measured).abs() <= tolerance * largest.max(1e-6),
            "direction {index}: the backward pass says {claimed}, central differences {measured}"
        );
    }
}

/// A tensor of reproducible normal values, for tests.
pub fn normal_values<S: Shape>(shape: S, stream: u64) -> Var<S> {
    let mut random = Random::with_stream(23, stream);
    Var::constant((0..shape.num_elements()).map(|_| random.normal()).collect(), shape)
}

/// The largest difference of two operands' values.
///
/// # Panics
/// If they have different numbers of values.
pub fn largest_difference(a: &dyn Operand, b: &dyn Operand) -> f32 {
    assert_eq!(a.values().len(), b.values().len(), "different numbers of values");
    a.values().iter().zip(b.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
