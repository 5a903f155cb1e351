//! Every operation on a device against itself on the CPU: values and gradients by every input. The device is the stand-in,
//! whose kernels the host's C++ compiler builds.

use super::*;
use crate::device::{Device, caught};
use crate::gradient_check::normal_values;
use crate::{Graph, Images, Matrix, Vector};
use cm_gpu::conv2d::Precision;
use cm_gpu::standin::{REAL_GPU, gpu, standin};
use cm_gpu::{Element, GpuError};
use std::sync::OnceLock;

/// Where the operations are tested; `None`, said, where there is no C++ compiler.
fn device() -> Option<&'static Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    DEVICE.get_or_init(|| Some(Device::new(gpu()?, Precision::F32))).as_ref()
}

/// Both in units of the largest value, or of 1 if that is smaller.
const FORWARD: f32 = 1e-5;
const GRADIENT: f32 = 1e-4;

fn assert_close(what: &str, host: &[f32], device: &[f32], tolerance: f32) {
    assert_eq!(host.len(), device.len(), "{what}");
    let unit = host.iter().fold(1.0f32, |most, v| most.max(v.abs()));
    for (index, (a, b)) in host.iter().zip(device).enumerate() {
        let close = (a - b).abs() <= tolerance * unit;
        assert!(close, "{what}, value {index}: the host says {a}, the device {b}");
    }
}

/// `$run` on the host and on the device: the same values, and the same gradient by each `$x`.
macro_rules! assert_agree {
    ($what:expr, [$($x:ident),+], $run:expr) => {{
        let what: &str = &$what;
        let run = $run;
        let Some(device) = device() else { return };
        let (mut host, mut there) = (Graph::recording().on_host(), Graph::recording().on(device));
        let (a, b) = (run(&mut host), run(&mut there));
        assert_eq!(a.shape(), b.shape(), "{what}");
        assert_close(what, a.values(), b.values(), FORWARD);
        let mut random = cm_image::random::Random::with_stream(29, 0);
        let seed: Vec<f32> = a.values().iter().map(|_| random.normal()).collect();
        let (mut by_host, mut by_device) = (host.backward(&a, seed.clone()), there.backward(&b, seed));
        $(
            let what = format!("{what}, gradient by {}", stringify!($x));
            match (by_host.take(&$x), by_device.take(&$x)) {
                (Some(a), Some(b)) => assert_close(&what, &a, &b, GRADIENT),
                (a, b) => assert_eq!((a, b), (None, None), "{what}"),
            }
        )+
    }};
}

/// A 3x3 convolution to 8 channels and nothing besides.
pub(super) fn plain<'a>(weight: &'a Vector, bias: &'a Vector) -> Conv2d<'a> {
    Conv2d {
        weight,
        bias,
        kernel: 3,
        stride: 1,
        padding: 1,
        out_channels: 8,
        image_bias: None,
        residual: None,
        scale: 1.0,
    }
}

fn images(shape: [usize; 4], stream: u64) -> Images {
    normal_values(shape, stream).detached(true)
}

fn matrix(shape: [usize; 2], stream: u64) -> Matrix {
    normal_values(shape, stream).detached(true)
}

fn vector(len: usize, stream: u64) -> Vector {
    normal_values([len], stream).detached(true)
}

#[test]
fn convolutions() {
    let sizes = [(1, 1), (2, 3), (4, 4), (5, 7), (8, 8), (9, 6)];
    let channels = [(1, 1), (3, 5), (15, 17), (16, 16), (33, 2)];
    for (kernel, stride, padding) in
        [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 1, 0), (3, 2, 1), (3, 2, 0), (3, 3, 1), (5, 1, 2), (5, 2, 1)]
    {
        for (index, (height, width)) in sizes.into_iter().enumerate() {
            if height.min(width) + 2 * padding < kernel {
                continue;
            }
            for (inputs, outputs) in channels {
                let batch = 1 + index % 3;
                let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
                let x = images([batch, height, width, inputs], 1);
                let weight = vector(kernel * kernel * inputs * outputs, 2);
                let bias = vector(outputs, 3);
                let shift = matrix([batch, outputs], 4);
                let residual = images([batch, out(height), out(width), outputs], 5);
                for extras in [false, true] {
                    let what = format!(
                        "{kernel}x{kernel} stride {stride} padding {padding}, {batch}x{height}x{width}, \
                         {inputs} to {outputs} channels, extras: {extras}"
                    );
                    assert_agree!(what, [x, weight, bias, shift, residual], |g: &mut Graph| {
                        let conv = Conv2d {
                            weight: &weight,
                            bias: &bias,
                            kernel,
                            stride,
                            padding,
                            out_channels: outputs,
                            image_bias: extras.then_some(&shift),
                            residual: extras.then_some(&residual),
                            scale: if extras { 0.7 } else { 1.0 },
                        };
                        conv2d(g, &x, conv)
                    });
                }
            }
        }
    }
}

#[test]
fn affine_maps() {
    for (rows, inputs, outputs) in [(1, 1, 1), (1, 5, 3), (7, 16, 1), (3, 17, 33), (16, 64, 16)] {
        let x = matrix([rows, inputs], 1);
        let (weight, bias) = (vector(inputs * outputs, 2), vector(outputs, 3));
        let what = format!("{rows} rows, {inputs} to {outputs}");
        assert_agree!(what, [x, weight, bias], |g: &mut Graph| linear(g, &x, &weight, Some(&bias)));
        assert_agree!(what, [x, weight], |g: &mut Graph| linear(g, &x, &weight, None));
    }
}

#[test]
fn group_normalisation() {
    for (batch, height, width, channels, groups) in [
        (1, 2, 1, 1, 1),
        (2, 3, 5, 6, 2),
        (3, 1, 1, 20, 5),
        (1, 8, 8, 16, 4),
        (2, 7, 4, 33, 3),
        (2, 2, 2, 64, 32),
    ] {
        let x = images([batch, height, width, channels], 1);
        let (gamma, beta) = (vector(channels, 2), vector(channels, 3));
        let (scale, shift) = (matrix([batch, channels], 4), matrix([batch, channels], 5));
        for silu in [false, true] {
            let what = format!("{batch}x{height}x{width}x{channels}, {groups} groups, silu: {silu}");
            assert_agree!(what, [x, gamma, beta], |g: &mut Graph| {
                group_norm(g, &x, &gamma, &beta, None, groups, 1e-5, silu)
            });
            assert_agree!(what, [x, gamma, beta, scale, shift], |g: &mut Graph| {
                group_norm(g, &x, &gamma, &beta, Some((&scale, &shift)), groups, 1e-5, silu)
            });
        }
    }
}

#[test]
fn self_attention() {
    for (batch, height, width, heads, dim) in
        [(1, 1, 1, 1, 1), (2, 3, 1, 1, 5), (1, 4, 4, 2, 16), (2, 5, 3, 3, 7), (3, 2, 9, 1, 17)]
    {
        let qkv = images([batch, height, width, 3 * heads * dim], 1);
        let what = format!("{batch}x{height}x{width}, {heads} heads of {dim}");
        assert_agree!(what, [qkv], |g: &mut Graph| attention(g, &qkv, heads));
    }
}

#[test]
fn activations_and_shapes() {
    for len in [1, 15, 16, 17, 100] {
        let x = vector(len, 1);
        assert_agree!(format!("silu of {len}"), [x], |g: &mut Graph| silu(g, &x));
        assert_agree!(format!("relu of {len}"), [x], |g: &mut Graph| relu(g, &x));
        assert_agree!(format!("dropout of {len}"), [x], |g: &mut Graph| dropout(g, &x, 5, 0.3));
    }
    let far = Vector::tracked(vec![-200.0, -90.0, -20.0, 0.0, 20.0, 90.0, 200.0], [7]);
    assert_agree!("silu far from 0", [far], |g: &mut Graph| silu(g, &far));
    let x = images([2, 3, 5, 7], 2);
    assert_agree!("reshape", [x], |g: &mut Graph| {
        let rows = as_matrix(g, &x);
        as_images(g, &rows, [5, 7, 3])
    });
    let (x, by) = (images([2, 5, 3, 40], 1), matrix([2, 40], 2));
    assert_agree!("pixel norm", [x], |g: &mut Graph| pixel_norm(g, &x, 2));
    assert_agree!("modulate", [x, by], |g: &mut Graph| modulate(g, &x, &by));
    assert_agree!("clamp", [x], |g: &mut Graph| clamp(g, &x, 0.7));
}

/// The mask is the same to the bit on every device, also where rows and chunks of it meet.
#[test]
fn dropout_drops_the_same() {
    use cm_kernels::dropout::{CHUNK, ROW};
    for len in [1, ROW, 3 * ROW + 5, CHUNK + 3] {
        let x = Vector::constant(vec![0.3; len], [len]);
        let Some(device) = device() else { return };
        let [a, b] = [Graph::inference().on_host(), Graph::inference().on(device)]
            .map(|mut graph| dropout(&mut graph, &x, 7, 0.13));
        assert!(a.values() == b.values(), "{len} values");
    }
}

#[test]
fn sums_mixtures_and_channels() {
    for (channels, other) in [(1, 1), (3, 5), (16, 17)] {
        let (x, y) = (images([3, 3, 2, channels], 1), images([3, 3, 2, channels], 2));
        let z = images([3, 3, 2, other], 3);
        let (a, b) = (vec![0.5, -1.0, 2.0], vec![1.5, 0.3, -0.7]);
        let what = format!("{channels} and {other} channels");
        assert_agree!(what, [x, y], |g: &mut Graph| add(g, &x, &y, 0.7));
        assert_agree!(what, [x], |g: &mut Graph| add(g, &x, &x, 0.7));
        assert_agree!(what, [x, y], |g: &mut Graph| blend(g, a.clone(), &x, b.clone(), &y));
        assert_agree!(what, [x, z], |g: &mut Graph| concat(g, &x, &z));
        let (scale, shift) = (vec![1.5; channels], vec![-0.25; channels]);
        assert_agree!(what, [x], |g: &mut Graph| affine_channels(g, &x, scale.clone(), shift.clone()));
    }
    let grey = images([2, 3, 3, 1], 4);
    assert_agree!("grey to colour", [grey], |g: &mut Graph| {
        affine_channels(g, &grey, vec![2.0, -0.5, 3.0], vec![0.1, 0.2, 0.3])
    });
}

#[test]
fn resolutions() {
    for (height, width, channels) in [(2, 2, 1), (2, 6, 3), (4, 4, 16), (8, 10, 17)] {
        let x = images([2, height, width, channels], 1);
        let what = |map: &str| format!("{map} of {height}x{width}x{channels}");
        assert_agree!(what("average"), [x], |g: &mut Graph| average_down(g, &x));
        assert_agree!(what("fir down"), [x], |g: &mut Graph| fir_down(g, &x));
    }
    for (height, width, channels) in [(1, 1, 1), (1, 3, 5), (3, 5, 16), (5, 4, 17)] {
        let x = images([2, height, width, channels], 1);
        let what = |map: &str| format!("{map} of {height}x{width}x{channels}");
        assert_agree!(what("nearest"), [x], |g: &mut Graph| nearest_up(g, &x));
        assert_agree!(what("fir up"), [x], |g: &mut Graph| fir_up(g, &x));
        assert_agree!(what("fir smooth"), [x], |g: &mut Graph| fir_smooth(g, &x));
        for to in [(1, 1), (2, 7), (9, 3)] {
            assert_agree!(what("bilinear"), [x], |g: &mut Graph| bilinear(g, &x, to));
        }
    }
}

#[test]
fn pooling() {
    for (height, width, channels) in [(3, 3, 1), (7, 6, 3), (8, 5, 17)] {
        let x = images([2, height, width, channels], 1);
        let what = format!("{height}x{width}x{channels}");
        for (side, stride) in [(1, 1), (2, 2), (3, 1), (3, 2), (2, 3)] {
            for round_up in [false, true] {
                assert_agree!(what, [x], |g: &mut Graph| max_pool(g, &x, side, stride, round_up));
            }
            assert_agree!(what, [x], |g: &mut Graph| average_pool(g, &x, side, stride));
        }
        assert_agree!(what, [x], |g: &mut Graph| global_average(g, &x));
    }
}

#[test]
fn losses() {
    for (batch, side, channels) in [(1, 1, 1), (3, 3, 5), (2, 4, 17)] {
        let (x, target) =
            (images([batch, side, side, channels], 1), images([batch, side, side, channels], 2));
        let what = format!("{batch}x{side}x{side}x{channels}");
        for kind in [
            PairDistance::L1,
            PairDistance::L2,
            PairDistance::SquaredL2,
            PairDistance::LInfinity,
            PairDistance::PseudoHuber { c: 0.03 },
        ] {
            assert_agree!(format!("{kind:?} of {what}"), [x, target], |g: &mut Graph| {
                pair_distance(g, kind, &x, &target)
            });
        }
        let weights: Vec<f32> = (0..channels).map(|c| c as f32 * 0.5).collect();
        assert_agree!(what, [x, target], |g: &mut Graph| feature_distance(g, &x, &target));
        assert_agree!(what, [x, target], |g: &mut Graph| {
            weighted_feature_distance(g, weights.clone(), &x, &target)
        });
        let logits = matrix([3, 4 + channels], 3);
        assert_agree!(what, [logits], |g: &mut Graph| cross_entropy(g, &logits, &[0, 4, 2]));
    }
    let same = images([2, 3, 3, 2], 4);
    let target = same.detached(false);
    for kind in
        [PairDistance::L1, PairDistance::L2, PairDistance::SquaredL2, PairDistance::PseudoHuber { c: 0.1 }]
    {
        assert_agree!(format!("{kind:?} of nothing"), [same], |g: &mut Graph| {
            pair_distance(g, kind, &same, &target)
        });
    }
}

#[test]
fn nothing_passes_through_and_regions_are_computed_again() {
    let (empty, kernel, bias) = (images([0, 4, 4, 8], 1), vector(9 * 64, 2), vector(8, 3));
    assert_agree!("an empty batch", [empty, kernel], |g: &mut Graph| {
        conv2d(g, &empty, plain(&kernel, &bias))
    });
    let x = images([2, 3, 3, 4], 4);
    assert_agree!("recomputed", [x], |g: &mut Graph| {
        let inside = x.clone();
        let y = g.recomputed(move |g| silu(g, &inside));
        add(g, &y, &x, 0.5)
    });
}

/// In bf16 products give bf16, what joins it with values of the host is in single precision, and all of it is near what
/// the host computes: each operation rounds to 8 bits.
#[test]
fn types_of_values_are_as_said_in_bf16() {
    let Some(gpu) = gpu() else { return };
    let device = Device::new(gpu, Precision::Bf16);
    let (x, target) = (images([2, 4, 4, 8], 1), images([2, 4, 4, 8], 2));
    let (kernel, bias) = (vector(9 * 64, 3), vector(8, 4));
    let (gamma, beta) = (vector(8, 5), vector(8, 6));
    let run = |mut g: Graph| {
        let conv = Conv2d { residual: Some(&x), scale: 0.5, ..plain(&kernel, &bias) };
        let y = conv2d(&mut g, &x, conv);
        let z = group_norm(&mut g, &y, &gamma, &beta, None, 2, 1e-5, true);
        let joined = blend(&mut g, vec![0.5; 2], &x, vec![0.7; 2], &z);
        let losses = pair_distance(&mut g, PairDistance::SquaredL2, &joined, &target);
        let outputs = [y, z, joined];
        (outputs, g.backward(&losses, vec![1.0; 2]))
    };
    let (values, mut gradients) = run(Graph::recording().on_host());
    let (theirs, mut their_gradients) = run(Graph::recording().on(&device));
    let elements = theirs.each_ref().map(|v| v.on_device(&device).element());
    assert_eq!(elements, [Element::Bf16, Element::Bf16, Element::F32]);
    for (a, b) in values.iter().zip(&theirs) {
        assert_close("values in bf16", a.values(), b.values(), 2e-2);
    }
    for parameter in [&kernel, &bias, &gamma, &beta] {
        let theirs = their_gradients.take_on_device(parameter).unwrap();
        assert_eq!(theirs.element(), Element::F32);
        assert_close(
            "gradients in bf16",
            &gradients.take(parameter).unwrap(),
            &device.downloaded(&theirs),
            2e-2,
        );
    }
}

/// What the device cannot do unwinds to whoever asked, and nothing of what was done is left there.
#[test]
fn a_device_s_fault_is_caught_with_its_words() {
    if std::env::var_os(REAL_GPU).is_some() {
        return; // a GPU does not fail when it is told to
    }
    let Some(standin) = standin() else { return };
    let device = Device::new(standin.gpu(), Precision::F32);
    let x = vector(1000, 1);
    let work = || {
        let mut graph = Graph::recording().on(&device);
        let y = silu(&mut graph, &x);
        let z = silu(&mut graph, &y);
        let mut gradients = graph.backward(&z, vec![1.0; 1000]);
        gradients.take(&x)
    };
    let right = caught(std::panic::AssertUnwindSafe(work)).unwrap();
    let before = device.gpu().memory().buffers;
    for allocation in 0..5 {
        standin.fail_allocations(allocation, 2);
        let failed = caught(std::panic::AssertUnwindSafe(work));
        standin.fail_allocations(0, 0);
        assert!(
            matches!(failed, Err(GpuError::OutOfMemory { wanted: 4000, .. })),
            "{allocation}: {failed:?}"
        );
        assert_eq!(device.gpu().memory().buffers, before);
    }
    assert_eq!(caught(std::panic::AssertUnwindSafe(work)).unwrap(), right);
}

/// A tensor that was changed on the device is another than those that shared its values.
#[test]
fn what_is_changed_on_the_device_was_shared_before() {
    let Some(device) = device() else { return };
    let mut x = vector(3, 1);
    let mut graph = Graph::inference().on(device);
    let same = as_images(&mut graph, &Matrix::constant(x.values().to_vec(), [1, 3]), [1, 1, 3]);
    let (copy, before) = (x.detached(false), x.values().to_vec());
    for round in 1..=2 {
        let values = x.on_device(device);
        let changed = x.on_device_mut(device);
        device.gpu().add_assign(changed, &values).unwrap();
        let expected: Vec<f32> = before.iter().map(|v| v * 2.0_f32.powi(round)).collect();
        assert_eq!((x.values(), copy.values(), same.values()), (&expected[..], &before[..], &before[..]));
    }
    x.values_mut()[0] = 7.0;
    assert_eq!(device.downloaded(&x.on_device(device))[0], 7.0);
}
