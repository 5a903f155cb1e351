//! Central differences against the backward pass, and that against tangents, for the tests of every crate.
//!
//! The arithmetic of a kernel is checked in `f64` against its naive twin in `cm-kernels`; here it is the wiring in
//! `f32` that is checked: that each input gets its own gradient, with the right factor, from the right place.

use crate::{Graph, Operand, Var};
use cm_image::random::Random;
use dfdx::shapes::Shape;

/// Asserts that the gradient of sum(r x f(x)) by `x`, r random, is that of central differences, along random
/// directions and along a sample of the coordinates; and that tangents agree with it ([`assert_forward_is_reverse`]).
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
    assert_forward_is_reverse(x, &f);
    let len = x.values().len();
    let tracked = x.detached(true);
    let mut graph = Graph::recording();
    let output = f(&mut graph, &tracked);
    let seed = normals(output.values().len(), 1);
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

/// The share of a derivative's usual size by which its two ways may differ: some thousands of roundings.
const BOTH_WAYS: f64 = 1e-4;

/// Asserts that for random u and v, with J the matrix of derivatives of f by `x`, u (J v) by tangents is (J^T u) v by the
/// backward pass; and that a pass with tangents has the values of one without, a recording one the tangents of one that
/// does not record, and the gradient of one without tangents.
///
/// # Panics
/// If any of it is not so, or nothing changes along v.
pub fn assert_forward_is_reverse<S, T>(x: &Var<S>, f: impl Fn(&mut Graph, &Var<S>) -> Var<T>)
where
    S: Shape<Concrete = S>,
    T: Shape,
{
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let plain = f(&mut Graph::inference().on_host(), &x.detached(false));
    for stream in 3..6 {
        let (u, v) = (normals(plain.values().len(), stream), normals(x.values().len(), 10 * stream));
        let output =
            f(&mut Graph::inference().on_host().with_tangents(), &x.detached(false).moving(v.clone()));
        assert_eq!(bits(output.values()), bits(plain.values()), "tangents change the values");
        let along = output.tangent().expect("the output depends on the input");
        let gradient = |with_tangents: bool| {
            let (tracked, graph) = (x.detached(true), Graph::recording().on_host());
            let (mut graph, input) = match with_tangents {
                true => (graph.with_tangents(), tracked.clone().moving(v.clone())),
                false => (graph, tracked.clone()),
            };
            let output = f(&mut graph, &input);
            if with_tangents {
                let recorded = output.tangent().expect("the output depends on the input");
                assert_eq!(bits(recorded), bits(along), "recording changes tangents");
            }
            graph.backward(&output, u.clone()).take(&tracked).expect("the output depends on the input")
        };
        let reverse = gradient(false);
        assert_eq!(bits(&gradient(true)), bits(&reverse), "tangents change gradients");
        let product = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let size = product(along, along).sqrt();
        assert!(size > 0.0, "nothing changes");
        let (forward, reverse) = (product(&u, along), product(&reverse, &v));
        assert!(
            (forward - reverse).abs() <= BOTH_WAYS * size,
            "u (J v) is {forward}, (J^T u) v {reverse}, of a size of {size}"
        );
    }
}

fn normals(count: usize, stream: u64) -> Vec<f32> {
    let mut random = Random::with_stream(17, stream);
    (0..count).map(|_| random.normal()).collect()
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
