use crate::proto::{AttributeProto, ModelProto, NodeProto, TensorProto, data_type};
use std::collections::{BTreeMap, HashMap};

/// Values of any rank; whole numbers and truths are numbers, too.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<f64>,
}

impl Array {
    pub(super) fn new(dims: &[usize], values: Vec<f64>) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len());
        Self { dims: dims.to_vec(), values }
    }

    fn map(&self, of: impl Fn(f64) -> f64) -> Self {
        Self { dims: self.dims.clone(), values: self.values.iter().map(|&value| of(value)).collect() }
    }

    /// Element by element, extents of 1 repeated.
    fn with(&self, other: &Self, of: impl Fn(f64, f64) -> f64) -> Self {
        let rank = self.dims.len().max(other.dims.len());
        let padded = |dims: &[usize]| [vec![1; rank - dims.len()], dims.to_vec()].concat();
        let (a, b) = (padded(&self.dims), padded(&other.dims));
        let dims: Vec<usize> = a
            .iter()
            .zip(&b)
            .map(|(&a, &b)| {
                assert!(a == b || a == 1 || b == 1, "{a} against {b}");
                a.max(b)
            })
            .collect();
        let place = |own: &[usize], at: &[usize]| {
            own.iter().zip(at).fold(0, |place, (&extent, &at)| place * extent + at % extent)
        };
        let values =
            indices(&dims).map(|at| of(self.values[place(&a, &at)], other.values[place(&b, &at)])).collect();
        Self { dims, values }
    }

    fn at(&self, index: &[usize]) -> f64 {
        self.values[self.dims.iter().zip(index).fold(0, |place, (&extent, &at)| place * extent + at)]
    }

    fn from_fn(dims: &[usize], of: impl Fn(&[usize]) -> f64) -> Self {
        Self::new(dims, indices(dims).map(|at| of(&at)).collect())
    }

    fn whole(&self) -> Vec<i64> {
        self.values.iter().map(|&value| value as i64).collect()
    }
}

/// All indices of an array in their order.
fn indices(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let dims = dims.to_vec();
    (0..dims.iter().product::<usize>()).map(move |mut place| {
        let mut at = vec![0; dims.len()];
        for (at, extent) in at.iter_mut().zip(&dims).rev() {
            (*at, place) = (place % extent, place / extent);
        }
        at
    })
}

fn constant(tensor: &TensorProto) -> Array {
    let dims: Vec<usize> = tensor.dims.iter().map(|&extent| extent as usize).collect();
    let raw = tensor.raw_data();
    let values = match tensor.data_type() {
        data_type::FLOAT => {
            raw.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
        }
        data_type::INT64 => {
            raw.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect()
        }
        other => panic!("type {other}"),
    };
    Array::new(&dims, values)
}

/// The outputs of a model.
pub(super) fn evaluate(model: &ModelProto, inputs: BTreeMap<String, Array>) -> BTreeMap<String, Array> {
    let graph = model.graph.as_ref().unwrap();
    let mut values: HashMap<String, Array> = inputs.into_iter().collect();
    values.extend(graph.initializer.iter().map(|tensor| (tensor.name().to_owned(), constant(tensor))));
    for node in &graph.node {
        let given: Vec<&Array> =
            node.input.iter().filter(|name| !name.is_empty()).map(|name| &values[name]).collect();
        let made = Node(node).made(&given);
        assert_eq!(made.len(), node.output.len(), "{}", node.op_type());
        for (name, array) in node.output.iter().zip(made) {
            assert!(values.insert(name.clone(), array).is_none(), "{name} is made twice");
        }
    }
    graph.output.iter().map(|output| (output.name().to_owned(), values[output.name()].clone())).collect()
}

struct Node<'n>(&'n NodeProto);

impl Node<'_> {
    fn int(&self, name: &str) -> Option<i64> {
        self.0.attribute.iter().find(|attribute| attribute.name() == name).map(AttributeProto::i)
    }

    fn ints(&self, name: &str) -> Vec<usize> {
        let found = self.0.attribute.iter().find(|attribute| attribute.name() == name).unwrap();
        found.ints.iter().map(|&value| value as usize).collect()
    }

    fn text(&self, name: &str) -> &str {
        let found = self.0.attribute.iter().find(|attribute| attribute.name() == name).unwrap();
        std::str::from_utf8(found.s()).unwrap()
    }

    fn float(&self, name: &str) -> f64 {
        f64::from(self.0.attribute.iter().find(|attribute| attribute.name() == name).unwrap().f())
    }

    fn made(&self, x: &[&Array]) -> Vec<Array> {
        vec![match self.0.op_type() {
            "Identity" => x[0].clone(),
            "Add" => x[0].with(x[1], |a, b| a + b),
            "Sub" => x[0].with(x[1], |a, b| a - b),
            "Mul" => x[0].with(x[1], |a, b| a * b),
            "Div" => x[0].with(x[1], |a, b| a / b),
            "Max" => x[0].with(x[1], f64::max),
            "Equal" => x[0].with(x[1], |a, b| f64::from(u8::from(a == b))),
            "Cast" => x[0].clone(),
            "Sqrt" => x[0].map(f64::sqrt),
            "Log" => x[0].map(f64::ln),
            "Cos" => x[0].map(f64::cos),
            "Abs" => x[0].map(f64::abs),
            "Neg" => x[0].map(|a| -a),
            "Reciprocal" => x[0].map(f64::recip),
            "Relu" => x[0].map(|a| a.max(0.0)),
            "Sigmoid" => x[0].map(|a| 1.0 / (1.0 + (-a).exp())),
            "Clip" => {
                let (low, high) = (x[1].values[0], x[2].values[0]);
                x[0].map(|a| a.clamp(low, high))
            }
            "Shape" => {
                let dims = &x[0].dims[self.int("start").unwrap() as usize..self.int("end").unwrap() as usize];
                Array::new(&[dims.len()], dims.iter().map(|&extent| extent as f64).collect())
            }
            "Expand" => {
                let dims: Vec<usize> = x[1].whole().iter().map(|&extent| extent as usize).collect();
                Array::from_fn(&dims, |_| 0.0).with(x[0], |_, b| b)
            }
            "Reshape" => reshaped(x[0], &x[1].whole()),
            "Unsqueeze" => {
                let mut dims = x[0].dims.clone();
                x[1].whole().iter().for_each(|&axis| dims.insert(axis as usize, 1));
                Array::new(&dims, x[0].values.clone())
            }
            "Transpose" => transposed(x[0], &self.ints("perm")),
            "Concat" => concatenated(x[0], x[1], self.int("axis").unwrap() as usize),
            "Split" => {
                let (axis, count) = (self.int("axis").unwrap() as usize, self.int("num_outputs").unwrap());
                return split(x[0], axis, count as usize);
            }
            "MatMul" => product(x[0], x[1]),
            "Gemm" => product(x[0], x[1]).with(x[2], |a, b| a + b),
            "ArgMin" => {
                let of = |row: &[f64]| {
                    let least = row.iter().copied().fold(f64::MAX, f64::min);
                    row.iter().position(|&value| value == least).unwrap() as f64
                };
                let values: Vec<f64> = x[0].values.chunks_exact(x[0].dims[1]).map(of).collect();
                Array::new(&[values.len()], values)
            }
            "ReduceL2" => {
                let &[n, groups, each, height, width] = x[0].dims.as_slice() else { panic!("five axes") };
                Array::from_fn(&[n, groups, 1, height, width], |at| {
                    let value = |c| x[0].at(&[at[0], at[1], c, at[3], at[4]]);
                    (0..each).map(|c| value(c) * value(c)).sum::<f64>().sqrt()
                })
            }
            // The mean over pixels.
            "ReduceMean" => {
                let &[n, channels, height, width] = x[0].dims.as_slice() else { panic!("four axes") };
                assert_eq!((x[1].whole(), self.int("keepdims")), (vec![2, 3], Some(0)));
                let sums = x[0].values.chunks_exact(height * width).map(|plane| plane.iter().sum::<f64>());
                let mean = |sum| sum / (height * width) as f64;
                Array::new(&[n, channels], sums.map(mean).collect())
            }
            "GroupNormalization" => self.group_norm(x[0], x[1], x[2]),
            "Attention" => self.attention(x[0], x[1], x[2]),
            "Conv" => self.conv(x[0], x[1], x.get(2).copied()),
            "ConvTranspose" => self.conv_transpose(x[0], x[1]),
            "AveragePool" => self.average_pool(x[0]),
            "Resize" => {
                assert_eq!(self.text("mode"), "nearest");
                assert_eq!(x[1].values, [1.0, 1.0, 2.0, 2.0]);
                let &[n, channels, height, width] = x[0].dims.as_slice() else { panic!("four axes") };
                let dims = [n, channels, 2 * height, 2 * width];
                Array::from_fn(&dims, |at| x[0].at(&[at[0], at[1], at[2] / 2, at[3] / 2]))
            }
            other => panic!("{other} is no operator of ours"),
        }]
    }

    fn group_norm(&self, x: &Array, scale: &Array, bias: &Array) -> Array {
        let (groups, eps) = (self.int("num_groups").unwrap() as usize, self.float("epsilon"));
        let (channels, image) = (x.dims[1], x.values.len() / x.dims[0]);
        let group = image / groups;
        let mut out = x.clone();
        for values in out.values.chunks_exact_mut(group) {
            let mean = values.iter().sum::<f64>() / group as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / group as f64;
            values.iter_mut().for_each(|v| *v = (*v - mean) / (variance + eps).sqrt());
        }
        let of_channels = |array: &Array| Array::new(&[channels, 1, 1], array.values.clone());
        out.with(&of_channels(scale), |a, b| a * b).with(&of_channels(bias), |a, b| a + b)
    }

    fn attention(&self, q: &Array, k: &Array, v: &Array) -> Array {
        let heads = self.int("q_num_heads").unwrap() as usize;
        let each = q.dims[2] / heads;
        Array::from_fn(&q.dims, |at| {
            let (n, head) = (at[0], at[2] / each);
            let weight = |token: usize| {
                let of = |c| q.at(&[n, at[1], head * each + c]) * k.at(&[n, token, head * each + c]);
                ((0..each).map(of).sum::<f64>() / (each as f64).sqrt()).exp()
            };
            let weights: Vec<f64> = (0..k.dims[1]).map(weight).collect();
            let mixed = weights.iter().enumerate().map(|(token, weight)| weight * v.at(&[n, token, at[2]]));
            mixed.sum::<f64>() / weights.iter().sum::<f64>()
        })
    }

    /// (side, stride, padding) of a square window.
    fn window(&self) -> (usize, usize, usize) {
        (self.ints("kernel_shape")[0], self.ints("strides")[0], self.ints("pads")[0])
    }

    fn conv(&self, x: &Array, weight: &Array, bias: Option<&Array>) -> Array {
        let (side, stride, padding) = self.window();
        let groups = self.int("group").unwrap_or(1) as usize;
        let &[n, channels, height, width] = x.dims.as_slice() else { panic!("four axes") };
        let (outputs, inputs) = (weight.dims[0], channels / groups);
        let out = |extent: usize| (extent + 2 * padding - side) / stride + 1;
        Array::from_fn(&[n, outputs, out(height), out(width)], |at| {
            let group = at[1] / (outputs / groups);
            let mut sum = bias.map_or(0.0, |bias| bias.values[at[1]]);
            for tap in indices(&[inputs, side, side]) {
                let (y, x_at) = (at[2] * stride + tap[1], at[3] * stride + tap[2]);
                let inside =
                    (padding..padding + height).contains(&y) && (padding..padding + width).contains(&x_at);
                if inside {
                    let value = x.at(&[at[0], group * inputs + tap[0], y - padding, x_at - padding]);
                    sum += value * weight.at(&[at[1], tap[0], tap[1], tap[2]]);
                }
            }
            sum
        })
    }

    fn conv_transpose(&self, x: &Array, weight: &Array) -> Array {
        let (side, stride, padding) = self.window();
        let &[n, channels, height, width] = x.dims.as_slice() else { panic!("four axes") };
        assert_eq!(self.int("group"), Some(channels as i64));
        let out = |extent: usize| (extent - 1) * stride + side - 2 * padding;
        let mut made = Array::from_fn(&[n, channels, out(height), out(width)], |_| 0.0);
        for at in indices(&x.dims) {
            for tap in indices(&[side, side]) {
                let (y, x_at) = (at[2] * stride + tap[0], at[3] * stride + tap[1]);
                let inside = |place: usize, extent| (padding..padding + extent).contains(&place);
                if inside(y, out(height)) && inside(x_at, out(width)) {
                    let row = (at[0] * channels + at[1]) * out(height) + y - padding;
                    made.values[row * out(width) + x_at - padding] +=
                        x.at(&at) * weight.at(&[at[1], 0, tap[0], tap[1]]);
                }
            }
        }
        made
    }

    fn average_pool(&self, x: &Array) -> Array {
        let (side, stride, _) = self.window();
        let &[n, channels, height, width] = x.dims.as_slice() else { panic!("four axes") };
        Array::from_fn(&[n, channels, height / stride, width / stride], |at| {
            let of =
                |tap: Vec<usize>| x.at(&[at[0], at[1], at[2] * stride + tap[0], at[3] * stride + tap[1]]);
            indices(&[side, side]).map(of).sum::<f64>() / (side * side) as f64
        })
    }
}

/// 0 keeps an extent, -1 stands for what is left.
fn reshaped(x: &Array, to: &[i64]) -> Array {
    let mut dims: Vec<usize> = to
        .iter()
        .enumerate()
        .map(|(axis, &extent)| if extent == 0 { x.dims[axis] } else { extent as usize })
        .collect();
    if let Some(rest) = to.iter().position(|&extent| extent == -1) {
        dims[rest] = 1;
        dims[rest] = x.values.len() / dims.iter().product::<usize>();
    }
    Array::new(&dims, x.values.clone())
}

fn transposed(x: &Array, order: &[usize]) -> Array {
    let dims: Vec<usize> = order.iter().map(|&axis| x.dims[axis]).collect();
    Array::from_fn(&dims, |at| {
        let mut from = vec![0; at.len()];
        order.iter().zip(at).for_each(|(&axis, &at)| from[axis] = at);
        x.at(&from)
    })
}

fn concatenated(a: &Array, b: &Array, axis: usize) -> Array {
    let mut dims = a.dims.clone();
    dims[axis] += b.dims[axis];
    Array::from_fn(&dims, |at| {
        let mut at = at.to_vec();
        if at[axis] < a.dims[axis] {
            return a.at(&at);
        }
        at[axis] -= a.dims[axis];
        b.at(&at)
    })
}

fn split(x: &Array, axis: usize, count: usize) -> Vec<Array> {
    let mut dims = x.dims.clone();
    dims[axis] /= count;
    let part = |number: usize| {
        Array::from_fn(&dims, |at| {
            let mut at = at.to_vec();
            at[axis] += number * dims[axis];
            x.at(&at)
        })
    };
    (0..count).map(part).collect()
}

fn product(a: &Array, b: &Array) -> Array {
    Array::from_fn(&[a.dims[0], b.dims[1]], |at| {
        (0..b.dims[0]).map(|inner| a.at(&[at[0], inner]) * b.at(&[inner, at[1]])).sum()
    })
}
