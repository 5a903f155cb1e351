//! From the steps of a traced pass to nodes. Images here are N, C, H, W; there they are N, H, W, C.

use crate::builder::{Attribute, Builder, Value};
use crate::error::OnnxError;
use crate::proto::data_type;
use cm_network::Weights;
use cm_tensor::{Given, Operation, Source, Step, Trace};
use std::collections::HashMap;

/// What the steps without inputs stand for.
pub(crate) struct Givens {
    /// What the network sees, N, C, H, W.
    pub(crate) images: Value,
    pub(crate) noise: Noise,
    /// The class of each image, N.
    pub(crate) class: Option<Value>,
}

/// c_noise.
pub(crate) enum Noise {
    /// Of each image, N.
    Each(Value),
    /// Of all: what is made of it is worked out now.
    Known(f32),
}

struct Emission<'t> {
    builder: &'t mut Builder,
    trace: &'t Trace,
    /// Names of weights, by where their values lie.
    names: HashMap<*const f32, &'t str>,
    givens: &'t Givens,
    results: Vec<Value>,
    /// What constants have become, in the order of their axes.
    arrays: HashMap<(usize, Layout), Value>,
}

/// The order of a constant's axes in the graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Layout {
    Vector,
    /// `[in, out]`, as it is.
    Matrix,
    /// `[k, k, in, out]` there, `[out, in, k, k]` here.
    Kernel(usize),
}

/// Nodes of all steps; returns what each of them makes.
pub(crate) fn emit(
    builder: &mut Builder,
    trace: &Trace,
    weights: &Weights,
    givens: &Givens,
) -> Result<Vec<Value>, OnnxError> {
    let names = weights.iter().map(|(name, _, values)| (values.as_ptr(), name)).collect();
    let arrays = HashMap::new();
    let mut emission = Emission { builder, trace, names, givens, results: Vec::new(), arrays };
    for step in trace.steps() {
        let result = emission.step(step)?;
        emission.results.push(result);
    }
    Ok(emission.results)
}

impl Emission<'_> {
    fn step(&mut self, step: &Step) -> Result<Value, OnnxError> {
        let Step { operation, shape, .. } = step;
        let input = |emission: &Self, index: usize| emission.made(step, index);
        Ok(match operation {
            Operation::Images => self.givens.images.clone(),
            Operation::Waves { of: Given::Noise, frequencies, phases, factor } => {
                self.waves(frequencies, phases, *factor)
            }
            Operation::Waves { of: Given::SecondTime, .. } => return Err(OnnxError::SecondTime),
            Operation::OneHot => self.one_hot(shape),
            Operation::Filled(value) => self.filled(*value, shape),
            Operation::Silu => {
                let x = input(self, 0);
                self.builder.silu(&x)
            }
            Operation::Relu => {
                let x = input(self, 0);
                self.builder.node("Relu", &[&x], &[])
            }
            Operation::Attention { heads } => self.attention(&input(self, 0), *heads, shape),
            Operation::AffineChannels { scale, shift } => {
                let each = [scale.len(), 1, 1];
                let factors = self.builder.floats(&each, scale);
                let out = self.builder.mul(&input(self, 0), &factors);
                if shift.iter().all(|&shift| shift == 0.0) {
                    return Ok(out);
                }
                let summands = self.builder.floats(&each, shift);
                self.builder.add(&out, &summands)
            }
            Operation::Add { scale } => {
                let sum = self.builder.add(&input(self, 0), &input(self, 1));
                self.builder.scaled(&sum, *scale)
            }
            Operation::Concat => {
                let (a, b) = (input(self, 0), input(self, 1));
                self.builder.node("Concat", &[&a, &b], &[("axis", Attribute::Int(1))])
            }
            Operation::Conv2d { .. } => self.conv2d(step),
            Operation::GroupNorm { groups, eps, silu } => self.group_norm(step, *groups, *eps, *silu),
            Operation::Linear => {
                let (x, weight) = (input(self, 0), self.constant(step, 1, Layout::Matrix));
                match step.inputs.len() {
                    2 => self.builder.node("MatMul", &[&x, &weight], &[]),
                    _ => {
                        let bias = self.constant(step, 2, Layout::Vector);
                        self.builder.node("Gemm", &[&x, &weight, &bias], &[])
                    }
                }
            }
            Operation::PixelNorm { each, eps } => self.pixel_norm(&input(self, 0), *each, *eps, shape),
            Operation::Modulate => {
                let (x, by) = (input(self, 0), input(self, 1));
                self.modulated(&x, &by)
            }
            Operation::Clamp(limit) => {
                let (low, high) = (self.builder.number(-limit), self.builder.number(*limit));
                self.builder.node("Clip", &[&input(self, 0), &low, &high], &[])
            }
            Operation::GlobalAverage => {
                let axes = self.builder.integers(&[2, 3]);
                let attributes = [("keepdims", Attribute::Int(0))];
                self.builder.node("ReduceMean", &[&input(self, 0), &axes], &attributes)
            }
            Operation::MaxPool { side, stride, round_up } => {
                let mut attributes = window(*side, *stride, 0);
                attributes.push(("ceil_mode", Attribute::Int(i64::from(*round_up))));
                self.builder.node("MaxPool", &[&input(self, 0)], &attributes)
            }
            Operation::AveragePool { side, stride } => {
                self.builder.node("AveragePool", &[&input(self, 0)], &window(*side, *stride, 0))
            }
            Operation::NearestUp => {
                let nearest = [
                    ("mode", Attribute::Text("nearest")),
                    ("coordinate_transformation_mode", Attribute::Text("asymmetric")),
                    ("nearest_mode", Attribute::Text("floor")),
                ];
                self.resized(&input(self, 0), [2.0; 2], &nearest)
            }
            Operation::Bilinear => {
                let from = self.extents(step, 0);
                let by = [shape[1] as f32 / from[1] as f32, shape[2] as f32 / from[2] as f32];
                let linear = [
                    ("mode", Attribute::Text("linear")),
                    ("coordinate_transformation_mode", Attribute::Text("half_pixel")),
                ];
                self.resized(&input(self, 0), by, &linear)
            }
            Operation::FirDown => self.filtered("Conv", &input(self, 0), 64.0, window(4, 2, 1), shape),
            // Zeros between the pixels take three quarters of the sum, which the factor gives back.
            Operation::FirUp => self.filtered("ConvTranspose", &input(self, 0), 16.0, window(4, 2, 1), shape),
            Operation::FirSmooth => self.filtered("Conv", &input(self, 0), 64.0, window(4, 1, 2), shape),
            Operation::Reshape => self.reshaped(&input(self, 0), shape),
        })
    }

    /// What the step of an input has made.
    fn made(&self, step: &Step, index: usize) -> Value {
        match step.inputs[index] {
            Source::Step(number) => self.results[number].clone(),
            Source::Constant(_) => unreachable!("weights are factors of convolutions, maps and norms only"),
        }
    }

    fn extents(&self, step: &Step, index: usize) -> &[usize] {
        match step.inputs[index] {
            Source::Step(number) => &self.trace.steps()[number].shape,
            Source::Constant(_) => unreachable!("weights are factors of convolutions, maps and norms only"),
        }
    }

    /// A weight as an array of the graph, under its own name.
    fn constant(&mut self, step: &Step, index: usize, layout: Layout) -> Value {
        let Source::Constant(number) = step.inputs[index] else {
            unreachable!("what a network makes is no weight of it")
        };
        if let Some(value) = self.arrays.get(&(number, layout)) {
            return value.clone();
        }
        let values = self.trace.constant(number);
        let name = match self.names.get(&values.as_ptr()) {
            Some(name) => (*name).to_owned(),
            None => format!("array_{number}"),
        };
        let outputs = *step.shape.last().expect("a step makes an array");
        let inputs = match layout {
            Layout::Vector => 1,
            Layout::Matrix => values.len() / outputs,
            Layout::Kernel(side) => values.len() / outputs / side / side,
        };
        let value = match layout {
            Layout::Vector => self.builder.array(&name, &[values.len()], values.iter().copied()),
            Layout::Matrix => self.builder.array(&name, &[inputs, outputs], values.iter().copied()),
            Layout::Kernel(side) => {
                let taps = side * side;
                let place = |index: usize| {
                    let (output, input, tap) = (index / (inputs * taps), index / taps % inputs, index % taps);
                    values[(tap * inputs + input) * outputs + output]
                };
                let order = (0..values.len()).map(place);
                self.builder.array(&name, &[outputs, inputs, side, side], order)
            }
        };
        self.arrays.insert((number, layout), value.clone());
        value
    }

    fn waves(&mut self, frequencies: &[f64], phases: &[f64], factor: f32) -> Value {
        let extents = [1, phases.len()];
        match &self.givens.noise {
            Noise::Known(number) => {
                let number = f64::from(*number);
                let wave = |(frequency, phase): (&f64, &f64)| {
                    (f64::from(factor) * (frequency * number + phase).cos()) as f32
                };
                let waves: Vec<f32> = frequencies.iter().zip(phases).map(wave).collect();
                self.builder.floats(&extents, &waves)
            }
            Noise::Each(numbers) => {
                let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
                let frequencies = self.builder.floats(&extents, &single(frequencies));
                let phases = self.builder.floats(&extents, &single(phases));
                let column = self.builder.unsqueeze(numbers, &[1]);
                let angles = self.builder.mul(&column, &frequencies);
                let angles = self.builder.add(&angles, &phases);
                let cosines = self.builder.node("Cos", &[&angles], &[]);
                self.builder.scaled(&cosines, factor)
            }
        }
    }

    /// A class that is none of those known, -1 say, has a row of zeros.
    fn one_hot(&mut self, shape: &[usize]) -> Value {
        let class = self.givens.class.clone().expect("a network that knows classes is given them");
        let classes: Vec<i64> = (0..shape[1] as i64).collect();
        let classes = self.builder.integers_of(&[1, shape[1] as i64], &classes);
        let column = self.builder.unsqueeze(&class, &[1]);
        let equal = self.builder.node("Equal", &[&column, &classes], &[]);
        self.builder.node("Cast", &[&equal], &[("to", Attribute::Int(i64::from(data_type::FLOAT)))])
    }

    fn filled(&mut self, value: f32, shape: &[usize]) -> Value {
        let count = [("start", Attribute::Int(0)), ("end", Attribute::Int(1))];
        let count = self.builder.node("Shape", &[&self.givens.images], &count);
        let rest = self.builder.integers(&[shape[3] as i64, shape[1] as i64, shape[2] as i64]);
        let extents = self.builder.node("Concat", &[&count, &rest], &[("axis", Attribute::Int(0))]);
        let value = self.builder.number(value);
        self.builder.node("Expand", &[&value, &extents], &[])
    }

    fn attention(&mut self, qkv: &Value, heads: usize, shape: &[usize]) -> Value {
        let (height, width, channels) = (shape[1] as i64, shape[2] as i64, shape[3] as i64);
        let tokens = self.builder.reshape(qkv, &[0, 3 * channels, height * width]);
        let tokens = self.builder.transpose(&tokens, &[0, 2, 1]);
        let split = [("axis", Attribute::Int(2)), ("num_outputs", Attribute::Int(3))];
        let parts = self.builder.node_of("Split", &[&tokens], &split, 3);
        let heads = heads as i64;
        let attributes = [("q_num_heads", Attribute::Int(heads)), ("kv_num_heads", Attribute::Int(heads))];
        let mixed = self.builder.node("Attention", &[&parts[0], &parts[1], &parts[2]], &attributes);
        let mixed = self.builder.transpose(&mixed, &[0, 2, 1]);
        self.builder.reshape(&mixed, &[0, channels, height, width])
    }

    fn conv2d(&mut self, step: &Step) -> Value {
        let Operation::Conv2d { kernel, stride, padding, image_bias, residual, scale } = step.operation
        else {
            unreachable!("called for convolutions only")
        };
        let (x, weight) = (self.made(step, 0), self.constant(step, 1, Layout::Kernel(kernel)));
        let Source::Constant(bias) = step.inputs[2] else { unreachable!("a bias is a weight") };
        let attributes = window(kernel, stride, padding);
        let mut out = match self.trace.constant(bias).iter().all(|&value| value == 0.0) {
            true => self.builder.node("Conv", &[&x, &weight], &attributes),
            false => {
                let bias = self.constant(step, 2, Layout::Vector);
                self.builder.node("Conv", &[&x, &weight, &bias], &attributes)
            }
        };
        if image_bias {
            let shift = self.made(step, 3);
            let shift = self.builder.unsqueeze(&shift, &[2, 3]);
            out = self.builder.add(&out, &shift);
        }
        if residual {
            out = self.builder.add(&out, &self.made(step, step.inputs.len() - 1));
        }
        self.builder.scaled(&out, scale)
    }

    fn group_norm(&mut self, step: &Step, groups: usize, eps: f32, silu: bool) -> Value {
        let gamma = self.constant(step, 1, Layout::Vector);
        let beta = self.constant(step, 2, Layout::Vector);
        let attributes = [("epsilon", Attribute::Float(eps)), ("num_groups", Attribute::Int(groups as i64))];
        let x = self.made(step, 0);
        let mut out = self.builder.node("GroupNormalization", &[&x, &gamma, &beta], &attributes);
        if step.inputs.len() == 5 {
            let (scale, shift) = (self.made(step, 3), self.made(step, 4));
            out = self.modulated(&out, &scale);
            let shift = self.builder.unsqueeze(&shift, &[2, 3]);
            out = self.builder.add(&out, &shift);
        }
        if silu { self.builder.silu(&out) } else { out }
    }

    /// x (1 + by).
    fn modulated(&mut self, x: &Value, by: &Value) -> Value {
        let by = self.builder.plus(by, 1.0);
        let by = self.builder.unsqueeze(&by, &[2, 3]);
        self.builder.mul(x, &by)
    }

    fn pixel_norm(&mut self, x: &Value, each: usize, eps: f32, shape: &[usize]) -> Value {
        let (height, width, channels) = (shape[1] as i64, shape[2] as i64, shape[3] as i64);
        let grouped = self.builder.reshape(x, &[0, channels / each as i64, each as i64, height, width]);
        let axis = self.builder.integers(&[2]);
        let norm = self.builder.node("ReduceL2", &[&grouped, &axis], &[("keepdims", Attribute::Int(1))]);
        let root = self.builder.scaled(&norm, 1.0 / (each as f32).sqrt());
        let by = self.builder.plus(&root, eps);
        let out = self.builder.div(&grouped, &by);
        self.builder.reshape(&out, &[0, channels, height, width])
    }

    fn resized(&mut self, x: &Value, by: [f32; 2], how: &[(&str, Attribute)]) -> Value {
        let scales = self.builder.floats(&[4], &[1.0, 1.0, by[0], by[1]]);
        self.builder.node("Resize", &[x, &Value::left_out(), &scales], how)
    }

    /// The filter (1, 3, 3, 1) in both directions over `by`, on each channel for itself.
    fn filtered(
        &mut self,
        operator: &str,
        x: &Value,
        by: f32,
        mut attributes: Vec<(&str, Attribute)>,
        shape: &[usize],
    ) -> Value {
        const FILTER: [f32; 4] = [1.0, 3.0, 3.0, 1.0];
        let channels = shape[3];
        let outer: Vec<f32> = FILTER.iter().flat_map(|a| FILTER.map(|b| a * b / by)).collect();
        let weight = self.builder.floats(&[channels, 1, 4, 4], &outer.repeat(channels));
        attributes.push(("group", Attribute::Int(channels as i64)));
        self.builder.node(operator, &[x, &weight], &attributes)
    }

    /// Rows hold images in the order H, W, C.
    fn reshaped(&mut self, x: &Value, shape: &[usize]) -> Value {
        match *shape {
            [_, height, width, channels] => {
                let images = self.builder.reshape(x, &[0, height as i64, width as i64, channels as i64]);
                self.builder.transpose(&images, &[0, 3, 1, 2])
            }
            _ => {
                let images = self.builder.transpose(x, &[0, 2, 3, 1]);
                self.builder.reshape(&images, &[0, shape[1] as i64])
            }
        }
    }
}

/// A square window.
fn window(side: usize, stride: usize, padding: usize) -> Vec<(&'static str, Attribute)> {
    let each = |count: usize, value: usize| Attribute::Ints(vec![value as i64; count]);
    vec![("kernel_shape", each(2, side)), ("strides", each(2, stride)), ("pads", each(4, padding))]
}
