//! Attention at the sizes of the real networks. The throughput counts floating-point operations: two products of
//! the score matrix's size forward, five backward.

use std::hint::black_box;

use cm_kernels::attention::{AttentionShape, backward, forward};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// (batch, tokens, heads, dim)
const SIZES: [(usize, usize, usize, usize); 5] =
    [(128, 16, 1, 48), (64, 16, 1, 64), (32, 64, 4, 32), (32, 256, 1, 128), (4, 256, 4, 64)];

fn attention(criterion: &mut Criterion) {
    for (batch, tokens, heads, dim) in SIZES {
        let shape = AttentionShape { batch, tokens, heads, dim };
        let name = format!("{batch}x{tokens}x{heads}x{dim}");
        let qkv: Vec<f32> = (0..shape.qkv_len()).map(|i| (i as f32 * 0.37).sin()).collect();
        let (mut out, mut lse) = (vec![0.0; shape.output_len()], vec![0.0; shape.lse_len()]);
        let product = 2 * (batch * heads * tokens * tokens * dim) as u64;
        let mut group = criterion.benchmark_group("attention");
        group.throughput(Throughput::Elements(2 * product));
        group.bench_function(BenchmarkId::new("forward", &name), |bencher| {
            bencher.iter(|| forward(&shape, black_box(&qkv), &mut out, &mut lse));
        });
        let sum: f32 = out.iter().sum();
        assert!(sum.is_finite() && sum != 0.0, "the output was written");
        group.throughput(Throughput::Elements(5 * product));
        let mut grad = vec![0.0; qkv.len()];
        group.bench_function(BenchmarkId::new("backward", &name), |bencher| {
            bencher.iter(|| backward(&shape, black_box(&qkv), &out, &lse, black_box(&out), &mut grad));
        });
        assert!(grad.iter().all(|v| v.is_finite()), "the gradient was written");
        group.finish();
    }
}

criterion_group!(benches, attention);
criterion_main!(benches);
