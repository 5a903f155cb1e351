//! Dropout by a key.

use crate::composed::{
    AnyDevice, Axis, BroadcastTo, Flat, HasShape, Tape, Tensor, TryConcatAlong, flat, taken,
};
use crate::{BackwardContext, CustomOp, Graph, Var};
use cm_kernels::buffer::written_by;
use cm_kernels::dropout::{self as kernel, CHUNK, FACTOR, ROUNDING, ROW};
use dfdx::shapes::Shape;
use dfdx::tensor::NoneTape;
use dfdx::tensor_ops::{ChooseFrom, TryGe};

struct Dropout {
    key: u64,
    probability: f32,
}

impl CustomOp for Dropout {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        kernel::dropout(self.key, self.probability, inputs[0], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let gradient = &context.gradient;
        let drop = |out: &mut [f32]| kernel::dropout(self.key, self.probability, gradient, out);
        vec![Some(written_by(gradient.len(), drop))]
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let [x] = taken(inputs);
        let (device, len) = (x.device().clone(), x.shape().0);
        let drawn = (0..len.div_ceil(CHUNK))
            .map(|chunk| drawn(&device, kernel::round_keys(self.key, chunk), CHUNK.min(len - chunk * CHUNK)))
            .reduce(|before, chunk| (before, chunk).concat_along(Axis::<0>))
            .expect("an operation without values is not run");
        let dropped = device.zeros_like(&(len,));
        drawn.ge(self.probability - 0.5).choose(x * (1.0 / (1.0 - self.probability)), dropped)
    }
}

/// The first `len` numbers of a chunk, evenly spread over -1/2 to 1/2: see [`cm_kernels::dropout`], step by step the
/// same. One row and one column of places are all that is brought to the device.
fn drawn<D: AnyDevice>(device: &D, keys: [f32; kernel::ROUNDS], len: usize) -> Flat<D, NoneTape> {
    let rows = len.div_ceil(ROW);
    let places =
        |count: usize| device.tensor_from_vec((0..count as u16).map(kernel::place).collect(), (count,));
    let mut a: Tensor<(usize, usize), f32, D> = places(rows).broadcast_like::<_, Axis<1>>(&(rows, ROW));
    let mut b: Tensor<(usize, usize), f32, D> = places(ROW).broadcast_like::<_, Axis<0>>(&(rows, ROW));
    for key in keys {
        let square = frac((b.clone() + key).square() * FACTOR);
        (a, b) = (b, frac(a + square));
    }
    flat(b).slice((..len,))
}

/// What is left of the nearest whole number.
fn frac<D: AnyDevice>(x: Tensor<(usize, usize), f32, D>) -> Tensor<(usize, usize), f32, D> {
    let whole = (x.clone() + ROUNDING) - ROUNDING;
    x - whole
}

/// Sets each value to 0 with the given probability and divides the others by the rest: a pure function of `key`.
pub fn dropout<S: Shape<Concrete = S>>(graph: &mut Graph, x: &Var<S>, key: u64, probability: f32) -> Var<S> {
    graph.apply(Dropout { key, probability }, &[x], x.shape())
}
