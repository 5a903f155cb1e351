//! Convolutions of the sizes of real networks: the small U-Net for 8x8 digits, and those of 32x32 images.
//!
//! `gemm_512` is the yardstick: on a machine shared with others, compare times with its time in the same run.

use std::hint::black_box;

use cm_kernels::conv2d::{Conv2dShape, Epilogue, backward_data, backward_weight, forward};
use cm_kernels::gemm::{Matrix, gemm};
use criterion::{Criterion, criterion_group, criterion_main};

/// Batch, side of the image, input and output channels, kernel.
const SIZES: [(usize, usize, usize, usize, usize); 19] = [
    (128, 8, 1, 24, 3),
    (128, 8, 24, 24, 3),
    (128, 8, 24, 48, 3),
    (128, 8, 48, 48, 3),
    (128, 8, 72, 24, 3),
    (128, 8, 72, 24, 1),
    (128, 8, 24, 1, 3),
    (128, 4, 24, 48, 3),
    (128, 4, 48, 48, 3),
    (128, 4, 96, 48, 3),
    (64, 8, 32, 32, 3),
    (32, 32, 3, 64, 3),
    (32, 32, 64, 64, 3),
    (32, 32, 128, 64, 3),
    (32, 32, 64, 3, 3),
    (32, 16, 128, 128, 3),
    (32, 8, 128, 128, 3),
    (4, 32, 256, 256, 3),
    (1, 8, 256, 256, 3),
];

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// Fails if an output was not written, and keeps it alive.
fn checked(values: &[f32]) -> f32 {
    let sum: f32 = values.iter().step_by(values.len().div_ceil(1000)).sum();
    assert!(sum.is_finite());
    black_box(sum)
}

fn convolutions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conv2d");
    group.sample_size(20).measurement_time(std::time::Duration::from_secs(1));
    let (a, b, mut product) = (numbers(512 * 512), numbers(512 * 512), vec![0.0; 512 * 512]);
    group.bench_function("gemm_512", |bencher| {
        let (a, b) = (Matrix::row_major(&a, 512, 512), Matrix::row_major(&b, 512, 512));
        bencher.iter(|| gemm(a, b, 1.0, 0.0, &mut product));
    });
    checked(&product);
    for (batch, size, in_channels, out_channels, kernel) in SIZES {
        let shape = Conv2dShape::same(batch, size, in_channels, out_channels, kernel);
        let name = format!("{batch}x{size}x{size}_{in_channels}to{out_channels}_k{kernel}");
        let (x, weight) = (numbers(shape.input_len()), numbers(shape.weight_len()));
        let (bias, grad_out) = (numbers(out_channels), numbers(shape.output_len()));
        let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
        let mut out = vec![0.0; shape.output_len()];
        group.bench_function(format!("forward/{name}"), |bencher| {
            bencher.iter(|| forward(&shape, &x, &weight, epilogue, &mut out));
        });
        let mut grad_x = vec![0.0; shape.input_len()];
        group.bench_function(format!("backward_data/{name}"), |bencher| {
            bencher.iter(|| backward_data(&shape, &weight, &grad_out, &mut grad_x));
        });
        let mut grad_weight = vec![0.0; shape.weight_len()];
        group.bench_function(format!("backward_weight/{name}"), |bencher| {
            bencher.iter(|| backward_weight(&shape, &x, &grad_out, &mut grad_weight));
        });
        checked(&out);
        checked(&grad_x);
        checked(&grad_weight);
    }
    group.finish();
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
