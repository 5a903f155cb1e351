//! GroupNorm with SiLU at the sizes of the real networks, forward and backward. The throughput counts two reads and
//! a write of the tensor forward, three reads and a write backward: what a perfect cache would leave.

use std::hint::black_box;

use cm_kernels::group_norm::{Affine, Grads, GroupNormShape, backward, forward};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// (batch, pixels, channels, groups)
const SIZES: [(usize, usize, usize, usize); 6] = [
    (128, 64, 24, 6),
    (128, 16, 48, 12),
    (64, 64, 32, 8),
    (32, 1024, 64, 16),
    (32, 256, 128, 32),
    (4, 1024, 256, 32),
];

fn group_norm(criterion: &mut Criterion) {
    for (batch, pixels, channels, groups) in SIZES {
        let shape = GroupNormShape { batch, pixels, channels, groups, eps: 1e-6 };
        let name = format!("{batch}x{pixels}x{channels}/{groups}");
        let x: Vec<f32> = (0..shape.len()).map(|i| (i as f32 * 0.37).sin()).collect();
        let (gamma, beta) = (vec![1.1; channels], vec![0.1; channels]);
        let affine = Affine { gamma: &gamma, beta: &beta, film: None };
        let (mut out, mut stats) = (vec![0.0; x.len()], vec![0.0; shape.stats_len()]);
        let mut group = criterion.benchmark_group("group_norm_silu");
        group.throughput(Throughput::Bytes(4 * 3 * shape.len() as u64));
        group.bench_function(BenchmarkId::new("forward", &name), |bencher| {
            bencher.iter(|| forward(&shape, black_box(&x), affine, true, &mut out, &mut stats));
        });
        let sum: f32 = out.iter().sum();
        assert!(sum.is_finite() && sum != 0.0, "the output was written");
        group.throughput(Throughput::Bytes(4 * 4 * shape.len() as u64));
        let (mut grad_x, mut grad_gamma, mut grad_beta) = (out.clone(), gamma.clone(), beta.clone());
        group.bench_function(BenchmarkId::new("backward", &name), |bencher| {
            bencher.iter(|| {
                let grads = Grads {
                    grad_x: &mut grad_x,
                    grad_gamma: &mut grad_gamma,
                    grad_beta: &mut grad_beta,
                    film: None,
                };
                backward(&shape, black_box(&x), affine, true, &stats, black_box(&out), grads);
            });
        });
        assert!(grad_x.iter().all(|v| v.is_finite()), "the gradient was written");
        group.finish();
    }
}

criterion_group!(benches, group_norm);
criterion_main!(benches);
