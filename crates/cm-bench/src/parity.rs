//! Whether a GPU computes what the CPU does: every operation forwards and backwards on random values, and a whole network.
//!
//! On the GPU, memory that is not written yet holds NaN, so that what a kernel leaves out shows.

use crate::{BenchError, BenchNetwork, NetworkSize, Variation};
use cm_network::Extra;
use cm_tensor::device::{Device, Precision};
use cm_tensor::gradient_check::normal_values;
use cm_tensor::ops::{self, PairDistance};
use cm_tensor::{Graph, Images, Matrix, Vector};
use serde::Serialize;
use std::io::Write;

/// How far a GPU is from the CPU in one operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parity {
    /// The operation and its sizes.
    pub case: String,
    /// How products were computed.
    pub precision: String,
    /// Length of the difference of the values, as a share of the CPU's length.
    pub values: f64,
    /// The same of the gradients, the largest over the inputs.
    pub gradients: f64,
    /// What both may be.
    pub allowed: f64,
}

impl Parity {
    /// Whether both are as near as they should be.
    pub fn holds(&self) -> bool {
        self.values <= self.allowed && self.gradients <= self.allowed
    }
}

/// Values and gradients by each input.
type Outcome = (Vec<f32>, Vec<Vec<f32>>);
type Run = Box<dyn Fn(Graph) -> Outcome>;

/// Compares all operations with `filter` in their names, in each of three precisions, on `device`'s GPU, and writes a JSON line for each; the names of
/// those that are too far off.
///
/// # Errors
/// [`BenchError::Io`] if `out` cannot be written.
pub fn parity(device: &Device, filter: &str, out: &mut dyn Write) -> Result<Vec<String>, BenchError> {
    let mut off = Vec::new();
    compare(device, filter, &mut |case| {
        if !case.holds() {
            off.push(format!("{} in {}", case.case, case.precision));
        }
        serde_json::to_writer(&mut *out, &case).map_err(std::io::Error::from)?;
        writeln!(out)
    })?;
    Ok(off)
}

fn compare(
    device: &Device,
    filter: &str,
    tell: &mut dyn FnMut(Parity) -> std::io::Result<()>,
) -> std::io::Result<()> {
    for (case, run) in cases().into_iter().filter(|(case, _)| case.contains(filter)) {
        let (values, gradients) = run(Graph::recording().on_host());
        for (precision, allowed) in [(Precision::F32, 2e-5), (Precision::Tf32, 3e-3), (Precision::Bf16, 2e-2)]
        {
            let (theirs, their_gradients) =
                run(Graph::recording().on(&Device::new(device.gpu().clone(), precision)));
            let by_inputs = gradients.iter().zip(&their_gradients).map(|(a, b)| apart(a, b));
            tell(Parity {
                case: case.clone(),
                precision: format!("{precision:?}"),
                values: apart(&values, &theirs),
                gradients: by_inputs.fold(0.0, f64::max),
                allowed,
            })?;
        }
    }
    Ok(())
}

/// Length of a - b over that of a. What is not finite is as far as can be.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let square = |difference: f64, of: f64| (difference * difference, of * of);
    let parts = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b), f64::from(*a)));
    let (difference, of) = parts.fold((0.0, 0.0), |(d, o), (a, b)| (d + a, o + b));
    let share = (difference / of.max(f64::from(f32::MIN_POSITIVE))).sqrt();
    if share.is_finite() { share } else { f64::INFINITY }
}

/// The values, and random ones to go back from.
fn seeded(values: &[f32]) -> (Vec<f32>, Vec<f32>) {
    (values.to_vec(), normal_values([values.len()], 99).values().to_vec())
}

/// A case: its name, inputs by their names, and what is made of them with the graph.
macro_rules! case {
    ($name:expr, [$($x:ident = $value:expr),+], $forward:expr) => {{
        $(let $x = $value.detached(true);)+
        let run: Run = Box::new(move |mut graph| {
            let forward = $forward;
            let output = forward(&mut graph, $(&$x),+);
            let (values, seed) = seeded(output.values());
            let mut gradients = graph.backward(&output, seed);
            (values, vec![$(gradients.take(&$x).unwrap_or_default()),+])
        });
        (String::from($name), run)
    }};
}

fn images(shape: [usize; 4], stream: u64) -> Images {
    normal_values(shape, stream)
}

fn matrix(shape: [usize; 2], stream: u64) -> Matrix {
    normal_values(shape, stream)
}

/// Weights of about the size that a layer of `fan_in` inputs has.
fn weight(len: usize, fan_in: usize, stream: u64) -> Vector {
    let scale = 1.0 / (fan_in as f32).sqrt();
    let values = normal_values([len], stream).values().iter().map(|value| scale * value).collect();
    Vector::constant(values, [len])
}

fn vector(len: usize, stream: u64) -> Vector {
    weight(len, 1, stream)
}

fn cases() -> Vec<(String, Run)> {
    let mut cases = convolutions();
    cases.extend(normalisations());
    cases.extend(maps());
    cases.extend(losses());
    cases.push(network());
    cases
}

fn convolutions() -> Vec<(String, Run)> {
    let mut cases = Vec::new();
    for (kernel, stride, padding, [batch, height, width], inputs, outputs) in [
        (3, 1, 1, [2, 8, 8], 32, 64),
        (3, 1, 1, [1, 5, 7], 3, 17),
        (3, 2, 1, [2, 9, 6], 16, 33),
        (1, 1, 0, [2, 8, 8], 64, 48),
    ] {
        let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        let fan_in = kernel * kernel * inputs;
        let name = format!(
            "conv2d {kernel}x{kernel} stride {stride}, {batch}x{height}x{width}, {inputs} to {outputs}"
        );
        cases.push(case!(
            name,
            [
                x = images([batch, height, width, inputs], 1),
                w = weight(fan_in * outputs, fan_in, 2),
                bias = vector(outputs, 3),
                shift = matrix([batch, outputs], 4),
                residual = images([batch, out(height), out(width), outputs], 5)
            ],
            move |g: &mut Graph, x: &Images, w: &Vector, bias: &Vector, shift: &Matrix, residual: &Images| {
                let conv = ops::Conv2d {
                    weight: w,
                    bias,
                    kernel,
                    stride,
                    padding,
                    out_channels: outputs,
                    image_bias: Some(shift),
                    residual: Some(residual),
                    scale: 0.7,
                };
                ops::conv2d(g, x, conv)
            }
        ));
    }
    for (rows, inputs, outputs) in [(16, 64, 80), (3, 17, 5)] {
        cases.push(case!(
            format!("linear, {rows} rows, {inputs} to {outputs}"),
            [
                x = matrix([rows, inputs], 1),
                w = weight(inputs * outputs, inputs, 2),
                bias = vector(outputs, 3)
            ],
            |g: &mut Graph, x: &Matrix, w: &Vector, bias: &Vector| ops::linear(g, x, w, Some(bias))
        ));
    }
    cases
}

fn normalisations() -> Vec<(String, Run)> {
    let mut cases = Vec::new();
    for (shape @ [batch, .., channels], groups, silu) in
        [([2, 8, 8, 64], 16, true), ([3, 5, 3, 12], 3, false)]
    {
        cases.push(case!(
            format!("group norm with modulation, {shape:?} in {groups} groups, SiLU {silu}"),
            [
                x = images(shape, 1),
                gamma = vector(channels, 2),
                beta = vector(channels, 3),
                scale = matrix([batch, channels], 4),
                shift = matrix([batch, channels], 5)
            ],
            move |g: &mut Graph,
                  x: &Images,
                  gamma: &Vector,
                  beta: &Vector,
                  scale: &Matrix,
                  shift: &Matrix| {
                ops::group_norm(g, x, gamma, beta, Some((scale, shift)), groups, 1e-5, silu)
            }
        ));
    }
    for (height, width, heads, dim) in [(8, 8, 2, 32), (5, 3, 3, 7), (4, 4, 1, 128)] {
        cases.push(case!(
            format!("attention, 2x{height}x{width}, {heads} heads of {dim}"),
            [qkv = images([2, height, width, 3 * heads * dim], 1)],
            move |g: &mut Graph, qkv: &Images| ops::attention(g, qkv, heads)
        ));
    }
    cases
}

/// A map of images of 6 x 8 pixels and 17 channels to others.
type Map = fn(&mut Graph, &Images) -> Images;

fn maps() -> Vec<(String, Run)> {
    let maps: [(&str, Map); 15] = [
        ("silu", |g, x| ops::silu(g, x)),
        ("relu", |g, x| ops::relu(g, x)),
        ("dropout", |g, x| ops::dropout(g, x, 7, 0.2)),
        ("average down", ops::average_down),
        ("nearest up", ops::nearest_up),
        ("fir down", ops::fir_down),
        ("fir up", ops::fir_up),
        ("fir smooth", ops::fir_smooth),
        ("bilinear", |g, x| ops::bilinear(g, x, (9, 5))),
        ("max pool", |g, x| ops::max_pool(g, x, 3, 2, true)),
        ("average pool", |g, x| ops::average_pool(g, x, 2, 2)),
        ("affine channels", |g, x| ops::affine_channels(g, x, vec![1.5; 17], vec![-0.25; 17])),
        ("clamp", |g, x| ops::clamp(g, x, 0.5)),
        ("pixel norm", |g, x| ops::pixel_norm(g, x, 1)),
        ("reshape", |g, x| {
            let rows = ops::as_matrix(g, x);
            ops::as_images(g, &rows, [8, 6, 17])
        }),
    ];
    let mut cases: Vec<(String, Run)> = maps
        .into_iter()
        .map(|(name, map)| {
            case!(name, [x = images([2, 6, 8, 17], 1)], move |g: &mut Graph, x: &Images| map(g, x))
        })
        .collect();
    cases.push(case!("global average", [x = images([2, 6, 8, 17], 1)], |g: &mut Graph, x: &Images| {
        ops::global_average(g, x)
    }));
    cases.push(case!(
        "modulate",
        [x = images([2, 6, 8, 17], 1), by = matrix([2, 17], 2)],
        |g: &mut Graph, x: &Images, by: &Matrix| ops::modulate(g, x, by)
    ));
    cases.push(case!(
        "add",
        [x = images([2, 5, 3, 16], 1), y = images([2, 5, 3, 16], 2)],
        |g: &mut Graph, x: &Images, y: &Images| ops::add(g, x, y, 0.7)
    ));
    cases.push(case!(
        "blend",
        [x = images([2, 5, 3, 16], 1), y = images([2, 5, 3, 16], 2)],
        |g: &mut Graph, x: &Images, y: &Images| ops::blend(g, vec![0.5, -1.0], x, vec![1.5, 0.3], y)
    ));
    cases.push(case!(
        "concat",
        [x = images([2, 5, 3, 16], 1), y = images([2, 5, 3, 5], 2)],
        |g: &mut Graph, x: &Images, y: &Images| ops::concat(g, x, y)
    ));
    cases
}

fn losses() -> Vec<(String, Run)> {
    let kinds = [
        PairDistance::L1,
        PairDistance::L2,
        PairDistance::SquaredL2,
        PairDistance::LInfinity,
        PairDistance::PseudoHuber { c: 0.03 },
    ];
    let mut cases: Vec<(String, Run)> = kinds
        .into_iter()
        .map(|kind| {
            case!(
                format!("{kind:?}"),
                [x = images([3, 7, 5, 6], 1), y = images([3, 7, 5, 6], 2)],
                move |g: &mut Graph, x: &Images, y: &Images| ops::pair_distance(g, kind, x, y)
            )
        })
        .collect();
    cases.push(case!(
        "feature distance",
        [x = images([3, 7, 5, 6], 1), y = images([3, 7, 5, 6], 2)],
        |g: &mut Graph, x: &Images, y: &Images| ops::feature_distance(g, x, y)
    ));
    cases.push(case!("cross-entropy", [x = matrix([3, 11], 1)], |g: &mut Graph, x: &Matrix| {
        ops::cross_entropy(g, x, &[0, 10, 4])
    }));
    cases
}

/// Output and gradients of the small network of benchmarks.
fn network() -> (String, Run) {
    let variation = Variation { batch: Some(2), channels: Some(16), ..Variation::default() };
    let network = BenchNetwork::new(NetworkSize::Small, variation).expect("the numbers make a network");
    let (net, weights) = network.build();
    let x = Images::from_batch(&network.images(2));
    let run: Run = Box::new(move |mut graph| {
        let output = net.forward(&mut graph, &weights, &x, &[0.5, -1.0], Extra::default());
        let (values, seed) = seeded(output.values());
        let mut gradients = graph.backward(&output, seed);
        // As one vector: what a step of training follows.
        (values, vec![weights.gradients(&mut gradients).concat()])
    });
    ("a small U-Net, output and gradient".to_owned(), run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_gpu::Options;
    use cm_gpu::standin::standin;

    /// Every kernel that has a way back is in one of the cases; on the stand-in all hold.
    #[test]
    fn a_gpu_that_computes_right_passes() {
        if standin().is_none() {
            return;
        }
        let options = Options { cache: None, poison: true, ..Options::default() };
        let device = Device::new(cm_gpu::Gpu::open(&options).unwrap(), Precision::F32);
        let mut all = Vec::new();
        compare(&device, "", &mut |case| {
            all.push(case);
            Ok(())
        })
        .unwrap();
        assert_eq!(all.len(), 3 * cases().len());
        for case in &all {
            assert!(case.holds(), "{case:?}");
        }
        // Products of whole networks differ, by as much as their precision says.
        let of = |precision: &str| all.iter().rfind(|case| case.precision == precision).unwrap().gradients;
        assert!(of("F32") < of("Tf32") && of("Tf32") < of("Bf16"), "{all:?}");
    }

    #[test]
    fn what_is_not_finite_is_far_off() {
        assert_eq!(apart(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(apart(&[3.0, 4.0], &[3.0, 3.0]), 0.2);
        assert_eq!(apart(&[1.0], &[f32::NAN]), f64::INFINITY);
        assert_eq!(apart(&[1.0, 2.0], &[1.0]), f64::INFINITY);
        assert_eq!((apart(&[], &[]), apart(&[0.0], &[0.0])), (0.0, 0.0));
    }
}
