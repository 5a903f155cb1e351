use crate::check::{PRECISIONS, assert_close, drawn, in_three_orders, multiplied, put, stored};
use cm_gpu::Element;
use cm_gpu::attention::AttentionShape;
use cm_gpu::conv2d::Precision;
use cm_kernels::attention as exact;

/// How far values and gradients may be off: factors are as the CPU has them, but weights and gradients of scores, which
/// are factors too, are rounded when they are multiplied: to 11 bits in tf32, in bf16 to 8 as results are.
fn tolerances(precision: Precision) -> [f64; 2] {
    match precision {
        Precision::F32 => [2e-6, 5e-6],
        Precision::Tf32 => [4e-4, 1.2e-3],
        Precision::Bf16 => [6e-3, 8e-3],
    }
}

#[track_caller]
fn compare(precision: Precision, shape: &AttentionShape, qkv: &[f32]) {
    let &AttentionShape { batch, tokens, heads, dim } = shape;
    let (element, what) = (precision.element(), (precision, shape));
    let same = exact::AttentionShape { batch, tokens, heads, dim };
    let (mut out, mut lse) = (vec![0.0; same.output_len()], vec![0.0; same.lse_len()]);
    let factors = multiplied(precision, qkv.to_vec());
    exact::forward(&same, &factors, &mut out, &mut lse);
    // The backward pass starts from what the forward pass stored.
    let (given, g) = (stored(element, out.clone()), drawn(element, out.len(), 2));
    let mut grad = vec![0.0; qkv.len()];
    exact::backward(&same, &factors, &given, &lse, &multiplied(precision, g.clone()), &mut grad);
    let Some(got) = in_three_orders(&what, &|gpu| {
        let (qkv, g, given) = (put(gpu, element, qkv), put(gpu, element, &g), put(gpu, element, &given));
        let (out, lse) = gpu.attention(precision, shape, &qkv)?;
        let grad = gpu.attention_backward(precision, shape, &qkv, &given, &lse, &g)?;
        Ok(vec![out, lse, grad])
    }) else {
        return;
    };
    let [value, gradient] = tolerances(precision);
    assert_close(&got[0], &out, value, &what);
    assert_close(&got[1], &lse, 5e-6, &what);
    assert_close(&got[2], &grad, gradient, &what);
}

#[test]
fn agrees_with_the_cpu_over_the_edge_grid() {
    let mut number = 0;
    for batch in [0, 1, 2] {
        for tokens in [1, 2, 15, 16, 17, 49] {
            for (heads, dim) in [(1, 1), (2, 3), (1, 15), (2, 16), (1, 17), (1, 48)] {
                let shape = AttentionShape { batch, tokens, heads, dim };
                let precision = PRECISIONS[number % 3];
                number += 1;
                compare(precision, &shape, &drawn(precision.element(), 3 * shape.output_len(), 1));
            }
        }
    }
}

#[test]
fn several_blocks_and_the_widest_heads() {
    for (batch, tokens, heads, dim) in
        [(1, 65, 1, 24), (1, 100, 2, 64), (0, 4, 1, 4), (1, 0, 1, 4), (1, 40, 1, 256)]
    {
        for precision in PRECISIONS {
            let shape = AttentionShape { batch, tokens, heads, dim };
            compare(precision, &shape, &drawn(precision.element(), 3 * shape.output_len(), 1));
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let shape = AttentionShape { batch: 1, tokens: 20, heads: 1, dim: 4 };
    let mut qkv = drawn(Element::F32, 3 * shape.output_len(), 1);
    for row in qkv.chunks_mut(12) {
        row[..8].iter_mut().for_each(|v| *v = (*v * 16.0).round()); // scores of some thousands, exact in f32
    }
    compare(Precision::F32, &shape, &qkv);
}

#[test]
#[should_panic(expected = "heads of 257 channels")]
fn heads_that_are_too_wide_are_refused() {
    let Some(standin) = crate::standin::standin() else { panic!("heads of 257 channels: not run") };
    let gpu = standin.gpu();
    let shape = AttentionShape { batch: 1, tokens: 1, heads: 1, dim: 257 };
    let _ = gpu.attention(Precision::F32, &shape, &gpu.upload(&[0.0_f32; 771]).unwrap());
}
