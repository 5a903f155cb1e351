//! The truth: the definition with the whole score matrix, generic over the float.

use super::AttentionShape;
use crate::elementwise::testing::Real;

/// Where part (0 Q, 1 K, 2 V) of token `t`, head `h` of image `n` starts in the fused projection.
fn at(shape: &AttentionShape, n: usize, t: usize, part: usize, h: usize) -> usize {
    (((n * shape.tokens + t) * 3 + part) * shape.heads + h) * shape.dim
}

/// Probabilities of row `t`, and its log-sum-exp.
fn row<F: Real>(shape: &AttentionShape, qkv: &[F], n: usize, h: usize, t: usize) -> (Vec<F>, F) {
    let (dim, zero) = (shape.dim, F::of(0.0));
    let scale = F::of(1.0 / (dim as f64).sqrt());
    let scores: Vec<F> = (0..shape.tokens)
        .map(|u| {
            let (q, k) = (at(shape, n, t, 0, h), at(shape, n, u, 1, h));
            (0..dim).fold(zero, |s, d| s + qkv[q + d] * qkv[k + d]) * scale
        })
        .collect();
    let max = scores.iter().fold(scores[0], |m, &v| if v > m { v } else { m });
    let sum = scores.iter().fold(zero, |s, &v| s + (v - max).exp());
    (scores.iter().map(|&v| (v - max).exp() / sum).collect(), max + sum.ln())
}

/// Output and log-sum-exp.
pub(super) fn forward<F: Real>(shape: &AttentionShape, qkv: &[F]) -> (Vec<F>, Vec<F>) {
    let AttentionShape { batch, tokens, heads, dim } = *shape;
    let mut out = vec![F::of(0.0); shape.output_len()];
    let mut lse = Vec::new();
    for n in 0..batch {
        for h in 0..heads {
            for t in 0..tokens {
                let (probs, sum) = row(shape, qkv, n, h, t);
                lse.push(sum);
                for (u, &p) in probs.iter().enumerate() {
                    for d in 0..dim {
                        out[((n * tokens + t) * heads + h) * dim + d] += p * qkv[at(shape, n, u, 2, h) + d];
                    }
                }
            }
        }
    }
    (out, lse)
}

/// Gradient in the fused projection.
pub(super) fn backward<F: Real>(shape: &AttentionShape, qkv: &[F], grad_out: &[F]) -> Vec<F> {
    let AttentionShape { batch, tokens, heads, dim } = *shape;
    let zero = F::of(0.0);
    let scale = F::of(1.0 / (dim as f64).sqrt());
    let mut grad = vec![zero; shape.qkv_len()];
    for n in 0..batch {
        for h in 0..heads {
            for t in 0..tokens {
                let (probs, _) = row(shape, qkv, n, h, t);
                let g = &grad_out[((n * tokens + t) * heads + h) * dim..][..dim];
                let of_prob: Vec<F> = (0..tokens)
                    .map(|u| (0..dim).fold(zero, |s, d| s + g[d] * qkv[at(shape, n, u, 2, h) + d]))
                    .collect();
                let mean = probs.iter().zip(&of_prob).fold(zero, |s, (&p, &o)| s + p * o);
                for u in 0..tokens {
                    let of_score = probs[u] * (of_prob[u] - mean) * scale;
                    for (d, &g) in g.iter().enumerate() {
                        let (q, k, v) =
                            (at(shape, n, t, 0, h) + d, at(shape, n, u, 1, h) + d, at(shape, n, u, 2, h) + d);
                        grad[q] += of_score * qkv[k];
                        grad[k] += of_score * qkv[q];
                        grad[v] += probs[u] * g;
                    }
                }
            }
        }
    }
    grad
}
