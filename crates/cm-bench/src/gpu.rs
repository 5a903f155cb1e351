//! Kernels on a GPU at the sizes of real networks: how much memory they move, how much they compute.

use crate::{Case, Suite};
use cm_gpu::attention::AttentionShape;
use cm_gpu::conv2d::{Conv2dShape, Epilogue, Precision};
use cm_gpu::group_norm::{Affine, GroupNormShape};
use cm_gpu::update::{Parameter, Rule};
use cm_gpu::{Buffer, Element, Gpu, GpuError};
use cm_tensor::device::done;

/// How often the kernel is launched in one run of its case.
const OFTEN: usize = 10;
/// Parameters of the update, as many as DDPM++ has for CIFAR-10, in arrays of a convolution's size.
const ARRAYS: usize = 94;
const ARRAY: usize = 9 * 256 * 256;

const PRECISIONS: [(Precision, &str); 3] =
    [(Precision::F32, "f32"), (Precision::Tf32, "tf32"), (Precision::Bf16, "bf16")];

/// A copy on the device, group normalisation with SiLU, the optimiser's update, convolutions, products and attention.
/// A run of a case launches it ten times and waits; what a case moves is what has to be read and written once.
pub fn gpu_kernels(gpu: &Gpu) -> Suite {
    let mut cases = vec![copy(gpu), update(gpu)];
    for element in [Element::F32, Element::Bf16] {
        cases.extend(group_norm(gpu, element));
    }
    for (precision, name) in PRECISIONS {
        for (kernel, side, inputs, outputs) in [(3, 32, 128, 128), (3, 32, 256, 256), (1, 16, 256, 768)] {
            let padding = [kernel / 2; 2];
            let shape = Conv2dShape {
                batch: 64,
                height: side,
                width: side,
                in_channels: inputs,
                out_channels: outputs,
                kernel: [kernel; 2],
                stride: 1,
                padding,
            };
            let size = format!("{name}/{kernel}x{kernel}_64x{side}x{side}_{inputs}to{outputs}");
            cases.extend(products(gpu, precision, shape, "conv2d", &size));
        }
        let shape = Conv2dShape::linear(8192, 2048, 2048);
        cases.extend(products(gpu, precision, shape, "product", &format!("{name}/8192x2048_2048")));
        for (tokens, heads, dim) in [(256, 1, 256), (256, 4, 64)] {
            cases.extend(attention(gpu, (precision, name), AttentionShape { batch: 64, tokens, heads, dim }));
        }
    }
    Suite { bench: "gpu", cases }
}

/// Work on buffers that are made once.
fn case<B: 'static>(
    gpu: &Gpu,
    name: String,
    (flops, bytes): (u64, u64),
    make: impl Fn(&Gpu) -> Result<B, GpuError> + 'static,
    run: impl Fn(&Gpu, &mut B) -> Result<(), GpuError> + Copy + 'static,
) -> Case {
    let gpu = gpu.clone();
    let often = OFTEN as u64;
    let case = Case::new(name, 1, often * flops, move || {
        let (gpu, mut buffers) = (gpu.clone(), done(make(&gpu)));
        move || {
            let all = (0..OFTEN).try_for_each(|_| run(&gpu, &mut buffers)).and_then(|()| gpu.wait());
            done(all);
        }
    });
    case.moving(often * bytes)
}

/// Values about 1, of any kind that kernels compute with.
fn filled(gpu: &Gpu, element: Element, len: usize) -> Result<Buffer, GpuError> {
    let values: Vec<f32> = (0..len).map(|i| (i % 7) as f32 * 0.25 - 0.75).collect();
    gpu.converted(&gpu.upload(&values)?, element)
}

fn copy(gpu: &Gpu) -> Case {
    const VALUES: usize = 64 << 20;
    case(
        gpu,
        format!("copy/{} MiB", (4 * VALUES) >> 20),
        (0, 2 * 4 * VALUES as u64),
        |gpu| gpu.zeros(Element::F32, VALUES),
        |gpu, buffer| gpu.copied(buffer).map(drop),
    )
}

/// The parameter, its gradient, both moments, two averages and the copy in bf16.
struct Trained {
    gradients: Vec<Buffer>,
    changed: Vec<[Buffer; 5]>,
    copies: Vec<Buffer>,
    factor: Buffer,
}

fn update(gpu: &Gpu) -> Case {
    let parameters = ARRAYS * ARRAY;
    // Five are read and written, the gradient is read, the copy written.
    let bytes = (5 * 8 + 4 + 2) * parameters as u64;
    case(
        gpu,
        format!("update/{parameters}"),
        (0, bytes),
        |gpu| {
            let five = || -> Result<[Buffer; 5], GpuError> {
                let zeros = || gpu.zeros(Element::F32, ARRAY);
                Ok([zeros()?, zeros()?, zeros()?, zeros()?, zeros()?])
            };
            Ok(Trained {
                gradients: (0..ARRAYS).map(|_| filled(gpu, Element::F32, ARRAY)).collect::<Result<_, _>>()?,
                changed: (0..ARRAYS).map(|_| five()).collect::<Result<_, _>>()?,
                copies: (0..ARRAYS).map(|_| gpu.zeros(Element::Bf16, ARRAY)).collect::<Result<_, _>>()?,
                factor: gpu.upload(&[1.0_f32])?,
            })
        },
        |gpu, trained| {
            let Trained { gradients, changed, copies, factor } = trained;
            let mut parameters: Vec<Parameter<'_>> = (changed.iter_mut().zip(gradients.iter()).zip(copies))
                .map(|(([value, first_moment, second_moment, one, other], gradient), copy)| Parameter {
                    value,
                    gradient,
                    first_moment,
                    second_moment,
                    averages: vec![one, other],
                    copy: Some(copy),
                    weight_decay: 0.0,
                })
                .collect();
            let rule = Rule { rectified: false, lr: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 10 };
            gpu.update(&rule, factor, &[0.999, 0.95], &mut parameters)
        },
    )
}

fn group_norm(gpu: &Gpu, element: Element) -> [Case; 2] {
    let shape = GroupNormShape { batch: 64, pixels: 1024, channels: 256, groups: 32, eps: 1e-6 };
    let values = shape.batch * shape.pixels * shape.channels;
    let bytes = (values * element.size()) as u64;
    let name = |what: &str| format!("group_norm_silu.{what}/{element:?}/64x1024_256").to_lowercase();
    let make = move |gpu: &Gpu| -> Result<[Buffer; 4], GpuError> {
        let x = filled(gpu, element, values)?;
        let [gamma, beta] =
            [filled(gpu, Element::F32, shape.channels)?, filled(gpu, Element::F32, shape.channels)?];
        let (_, stats) =
            gpu.group_norm(&shape, &x, Affine { gamma: &gamma, beta: &beta, film: None }, true)?;
        Ok([x, gamma, beta, stats])
    };
    [
        // Statistics and values are each a pass over the input.
        case(gpu, name("forward"), (0, 3 * bytes), make, move |gpu, [x, gamma, beta, _]| {
            gpu.group_norm(&shape, x, Affine { gamma, beta, film: None }, true).map(drop)
        }),
        // The input and the gradient twice, and the result.
        case(gpu, name("backward"), (0, 5 * bytes), make, move |gpu, [x, gamma, beta, stats]| {
            let affine = Affine { gamma, beta, film: None };
            gpu.group_norm_backward(&shape, x, affine, true, stats, x, true).map(drop)
        }),
    ]
}

fn products(gpu: &Gpu, precision: Precision, shape: Conv2dShape, kind: &str, size: &str) -> [Case; 3] {
    let element = precision.element();
    let (x, w, y) = (shape.input_len(), shape.weight_len(), shape.output_len());
    let flops = 2 * (y * w / shape.out_channels) as u64;
    let bytes = ((x + w + y) * element.size()) as u64;
    let name = |what: &str| format!("{kind}.{what}/{size}");
    let make = move |gpu: &Gpu| -> Result<[Buffer; 3], GpuError> {
        Ok([filled(gpu, element, x)?, filled(gpu, element, w)?, filled(gpu, element, y)?])
    };
    [
        case(gpu, name("forward"), (flops, bytes), make, move |gpu, [x, w, _]| {
            gpu.conv2d(precision, &shape, x, w, Epilogue::default()).map(drop)
        }),
        case(gpu, name("backward_data"), (flops, bytes), make, move |gpu, [_, w, y]| {
            gpu.conv2d_backward_data(precision, &shape, w, y, 1.0).map(drop)
        }),
        case(gpu, name("backward_weight"), (flops, bytes), make, move |gpu, [x, _, y]| {
            gpu.conv2d_backward_weight(precision, &shape, x, y, 1.0).map(drop)
        }),
    ]
}

fn attention(gpu: &Gpu, (precision, name): (Precision, &str), shape: AttentionShape) -> [Case; 2] {
    let AttentionShape { batch, tokens, heads, dim } = shape;
    let element = precision.element();
    let values = shape.output_len();
    let flops = 4 * (values * tokens) as u64;
    let name = |what: &str| format!("attention.{what}/{name}/{batch}x{tokens}_{heads}x{dim}");
    let make = move |gpu: &Gpu| -> Result<[Buffer; 3], GpuError> {
        let qkv = filled(gpu, element, 3 * values)?;
        let (out, log_sums) = gpu.attention(precision, &shape, &qkv)?;
        Ok([qkv, out, log_sums])
    };
    let bytes = (4 * values * element.size()) as u64;
    [
        case(gpu, name("forward"), (flops, bytes), make, move |gpu, [qkv, ..]| {
            gpu.attention(precision, &shape, qkv).map(drop)
        }),
        case(gpu, name("backward"), (flops * 5 / 2, 2 * bytes), make, move |gpu, [qkv, out, log_sums]| {
            gpu.attention_backward(precision, &shape, qkv, out, log_sums, out).map(drop)
        }),
    ]
}
