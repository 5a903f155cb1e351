use super::*;
use crate::buffer::{unwritten, written_by};
use crate::elementwise::testing::*;

fn run(isa: Isa, shape: &AttentionShape, qkv: &[f32], grad_out: &[f32]) -> [Vec<f32>; 4] {
    let mut lse = unwritten(shape.lse_len());
    let out = written_by(shape.output_len(), |out| forward_on(isa, shape, qkv, out, &mut lse));
    let grad = written_by(shape.qkv_len(), |grad| backward_on(isa, shape, qkv, &out, &lse, grad_out, grad));
    let slopes = written_by(shape.output_len(), |out| tangent_on(isa, shape, qkv, &lse, &along(shape), out));
    [out, lse, grad, slopes]
}

/// The direction of tangents.
fn along(shape: &AttentionShape) -> Vec<f32> {
    values(shape.qkv_len(), 3)
}

#[track_caller]
fn compare(shape: &AttentionShape, qkv: &[f32]) {
    let g = values(shape.output_len(), 2);
    let (out, lse) = naive::forward(shape, &wide(qkv));
    let grad = naive::backward(shape, &wide(qkv), &wide(&g));
    let tangent = slopes(&naive::forward(shape, &dual(qkv, Some(&along(shape)))).0);
    for isa in Isa::available() {
        let got = run(isa, shape, qkv, &g);
        assert_close(&got[0], &out, 5e-6, &("out", isa, shape));
        assert_close(&got[1], &lse, 5e-6, &("lse", isa, shape));
        assert_close(&got[2], &grad, 2e-5, &("grad", isa, shape));
        assert_close(&got[3], &tangent, 2e-5, &("tangent", isa, shape));
    }
}

#[test]
fn agrees_with_the_naive_twin_over_the_edge_grid() {
    for batch in [0, 1, 3] {
        for tokens in [1, 2, 15, 16, 17, 49, 64] {
            for (heads, dim) in [(1, 1), (2, 3), (1, 15), (2, 16), (1, 17), (1, 48)] {
                let shape = AttentionShape { batch, tokens, heads, dim };
                compare(&shape, &values(shape.qkv_len(), 1));
            }
        }
    }
    for (tokens, heads, dim) in [(65, 1, 24), (128, 2, 8), (300, 1, 24), (0, 1, 4)] {
        let shape = AttentionShape { batch: 1, tokens, heads, dim };
        compare(&shape, &values(shape.qkv_len(), 1));
    }
}

#[test]
fn the_naive_twin_in_single_precision_agrees_too() {
    let shape = AttentionShape { batch: 1, tokens: 17, heads: 2, dim: 8 };
    let (qkv, g) = (values(shape.qkv_len(), 1), values(shape.output_len(), 2));
    let (exact, _) = naive::forward(&shape, &wide(&qkv));
    assert_close(&naive::forward(&shape, &qkv).0, &exact, 5e-6, &"forward");
    let exact = naive::backward(&shape, &wide(&qkv), &wide(&g));
    assert_close(&naive::backward(&shape, &qkv, &g), &exact, 2e-5, &"backward");
}

#[test]
fn the_naive_gradient_is_right() {
    let shape = AttentionShape { batch: 2, tokens: 3, heads: 2, dim: 2 };
    let (qkv, w) = (wide(&values(shape.qkv_len(), 1)), wide(&values(shape.output_len(), 2)));
    let formula = naive::backward(&shape, &qkv, &w);
    assert_gradient(|x| weighted_sum(&naive::forward(&shape, x).0, &w), &qkv, &formula, &"attention");
}

#[test]
fn large_scores_do_not_overflow() {
    let shape = AttentionShape { batch: 1, tokens: 20, heads: 1, dim: 4 };
    let mut qkv = values(shape.qkv_len(), 1);
    for row in qkv.chunks_mut(12) {
        row[..8].iter_mut().for_each(|v| *v = (*v * 16.0).round()); // scores of some thousands, exact in f32
    }
    compare(&shape, &qkv);
}

#[test]
fn equal_keys_give_the_mean_value() {
    let shape = AttentionShape { batch: 1, tokens: 5, heads: 1, dim: 2 };
    let mut qkv = values(shape.qkv_len(), 1);
    for row in qkv.chunks_mut(6) {
        row[2..4].copy_from_slice(&[0.5, -1.0]);
    }
    let mean = |d: usize| qkv.chunks(6).map(|row| f64::from(row[4 + d])).sum::<f64>() / 5.0;
    let exact: Vec<f64> = (0..10).map(|i| mean(i % 2)).collect();
    let [out, ..] = run(isa(), &shape, &qkv, &[0.0; 10]);
    assert_close(&out, &exact, 1e-6, &"mean");
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for (batch, tokens, heads, dim) in [(70, 16, 1, 48), (3, 130, 2, 16)] {
        let shape = AttentionShape { batch, tokens, heads, dim };
        let (qkv, g) = (values(shape.qkv_len(), 1), values(shape.output_len(), 2));
        assert_same_for_any_threads(|| run(isa(), &shape, &qkv, &g).concat());
    }
}
