//! Sums, mixtures, concatenation.

use crate::composed::{
    AnyDevice, Axis, Flat, HasShape, Tape, TryConcatAlong, flat, for_each_column, shaped, taken,
};
use crate::{BackwardContext, CustomOp, Graph, Images, Var};
use cm_kernels::{
    buffer::{unwritten, written_by},
    elementwise,
};
use dfdx::shapes::Shape;

struct Add {
    scale: f32,
}

impl CustomOp for Add {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        elementwise::add(inputs[0], inputs[1], self.scale, output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let mut gradient = context.gradient;
        if self.scale != 1.0 {
            let scaled = written_by(gradient.len(), |out| elementwise::scaled(&gradient, self.scale, out));
            gradient = scaled;
        }
        if let [true, true] = context.wanted {
            return vec![Some(gradient.clone()), Some(gradient)];
        }
        // One addend is a constant: the gradient moves on without a copy.
        if context.wanted[0] { vec![Some(gradient), None] } else { vec![None, Some(gradient)] }
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let [a, b] = taken(inputs);
        (a + b) * self.scale
    }
}

/// `scale` x (a + b).
///
/// # Panics
/// If the shapes differ.
pub fn add<S: Shape<Concrete = S>>(graph: &mut Graph, a: &Var<S>, b: &Var<S>, scale: f32) -> Var<S> {
    assert_eq!(a.shape(), b.shape(), "a sum of different shapes");
    graph.apply(Add { scale }, &[a, b], a.shape())
}

struct Blend {
    a: Vec<f32>,
    b: Vec<f32>,
}

impl CustomOp for Blend {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        elementwise::rows_scale_add(self.a.len(), &self.a, inputs[0], &self.b, inputs[1], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let gradient = &context.gradient;
        let part = |wanted: bool, factor: &[f32]| {
            wanted.then(|| {
                written_by(gradient.len(), |out| elementwise::rows_scale(factor.len(), factor, gradient, out))
            })
        };
        vec![part(context.wanted[0], &self.a), part(context.wanted[1], &self.b)]
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let [x, y] = taken(inputs);
        let rows = self.a.len();
        let values = x.shape().0 / rows;
        let (x, y) = (shaped(x, (rows, values)), shaped(y, (rows, values)));
        let a = for_each_column(x.device().tensor_from_vec(self.a.clone(), (rows,)), &x);
        let b = for_each_column(x.device().tensor_from_vec(self.b.clone(), (rows,)), &y);
        flat(x * a + y * b)
    }
}

/// `a`\[i\] x\[i\] + `b`\[i\] y\[i\] for each image i: preconditioning, weighted sums of losses.
///
/// # Panics
/// If the shapes differ, or there is not one factor for each image, that is, for each index of the first axis.
pub fn blend<S>(graph: &mut Graph, a: Vec<f32>, x: &Var<S>, b: Vec<f32>, y: &Var<S>) -> Var<S>
where
    S: Shape<Concrete = S> + std::ops::Index<usize, Output = usize>,
{
    assert_eq!(x.shape(), y.shape(), "a mixture of different shapes");
    assert!(a.len() == x.shape()[0] && b.len() == a.len(), "one factor for each image");
    graph.apply(Blend { a, b }, &[x, y], x.shape())
}

struct Concat {
    pixels: usize,
    a: usize,
    b: usize,
}

impl CustomOp for Concat {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        elementwise::concat_channels(self.pixels, &[(inputs[0], self.a), (inputs[1], self.b)], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let (mut a, mut b) = (unwritten(self.pixels * self.a), unwritten(self.pixels * self.b));
        elementwise::split_channels(self.pixels, self.a, self.b, &context.gradient, &mut a, &mut b);
        vec![context.wanted[0].then_some(a), context.wanted[1].then_some(b)]
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let [a, b] = taken(inputs);
        flat((shaped(a, (self.pixels, self.a)), shaped(b, (self.pixels, self.b))).concat_along(Axis::<1>))
    }
}

/// The channels of a, then those of b.
///
/// # Panics
/// If counts, heights or widths differ.
pub fn concat(graph: &mut Graph, a: &Images, b: &Images) -> Images {
    let ([n, h, w, channels_a], [nb, hb, wb, channels_b]) = (a.shape(), b.shape());
    assert_eq!((n, h, w), (nb, hb, wb), "images of different sizes");
    let op = Concat { pixels: n * h * w, a: channels_a, b: channels_b };
    graph.apply(op, &[a, b], [n, h, w, channels_a + channels_b])
}
