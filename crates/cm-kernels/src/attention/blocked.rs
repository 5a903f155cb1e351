//! Attention of one image by bands of rows of the score matrix.

use super::AttentionShape;
use super::product::{Operand, Place, product};
use crate::activation::exp::exp;
use crate::dispatch::Isa;
use crate::elementwise::multiversion::multiversion;
use crate::softmax::{row_max, row_sum};

/// Rows of the score matrix that exist at a time.
const BAND: usize = 64;

/// Scratch space of one task.
pub(super) struct Work {
    shape: AttentionShape,
    scores: Vec<f32>,
    grad_scores: Vec<f32>,
    turned: Vec<f32>,
}

impl Work {
    pub(super) fn new(shape: &AttentionShape) -> Self {
        let band = BAND.min(shape.tokens) * shape.tokens;
        Self { shape: *shape, scores: vec![0.0; band], grad_scores: vec![0.0; band], turned: Vec::new() }
    }

    /// Output and log-sum-exp of one image.
    pub(super) fn forward(&mut self, isa: Isa, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
        let AttentionShape { tokens, heads, dim, .. } = self.shape;
        let width = heads * dim;
        let scale = 1.0 / (dim as f32).sqrt();
        for head in 0..heads {
            let place = |part: usize, row: usize| Place {
                start: row * 3 * width + part * width + head * dim,
                row_stride: 3 * width,
            };
            let keys = Operand::new(qkv, place(1, 0));
            let values = Operand::new(qkv, place(2, 0));
            for from in (0..tokens).step_by(BAND) {
                let rows = BAND.min(tokens - from);
                let queries = Operand::new(qkv, place(0, from));
                let band = Place { start: 0, row_stride: tokens };
                let (scores, turned) = (&mut self.scores[..rows * tokens], &mut self.turned);
                product(isa, (rows, tokens, dim), scale, queries, keys.t(), false, scores, band, turned);
                softmax_band(
                    isa,
                    tokens,
                    scores,
                    &mut lse[head * tokens + from..head * tokens + from + rows],
                );
                let at = Place { start: from * width + head * dim, row_stride: width };
                product(
                    isa,
                    (rows, dim, tokens),
                    1.0,
                    Operand::new(scores, band),
                    values,
                    false,
                    out,
                    at,
                    turned,
                );
            }
        }
    }

    /// Gradient in the fused projection of one image.
    pub(super) fn backward(
        &mut self,
        isa: Isa,
        qkv: &[f32],
        out: &[f32],
        lse: &[f32],
        grad_out: &[f32],
        grad_qkv: &mut [f32],
    ) {
        let AttentionShape { tokens, heads, dim, .. } = self.shape;
        let width = heads * dim;
        let scale = 1.0 / (dim as f32).sqrt();
        for head in 0..heads {
            let place = |part: usize, row: usize| Place {
                start: row * 3 * width + part * width + head * dim,
                row_stride: 3 * width,
            };
            let keys = Operand::new(qkv, place(1, 0));
            let values = Operand::new(qkv, place(2, 0));
            for from in (0..tokens).step_by(BAND) {
                let rows = BAND.min(tokens - from);
                let band = Place { start: 0, row_stride: tokens };
                let queries = Operand::new(qkv, place(0, from));
                let row = Place { start: from * width + head * dim, row_stride: width };
                let grad_rows = Operand::new(grad_out, row);
                let scores = &mut self.scores[..rows * tokens];
                let grad_scores = &mut self.grad_scores[..rows * tokens];
                let turned = &mut self.turned;
                product(isa, (rows, tokens, dim), scale, queries, keys.t(), false, scores, band, turned);
                product(
                    isa,
                    (rows, tokens, dim),
                    1.0,
                    grad_rows,
                    values.t(),
                    false,
                    grad_scores,
                    band,
                    turned,
                );
                let mut dots = [0.0_f32; BAND];
                for (r, dot) in dots[..rows].iter_mut().enumerate() {
                    let range = row.start + r * width..row.start + r * width + dim;
                    *dot = out[range.clone()].iter().zip(&grad_out[range]).map(|(o, g)| o * g).sum();
                }
                let lse = &lse[head * tokens + from..head * tokens + from + rows];
                softmax_band_backward(isa, tokens, lse, &dots[..rows], scores, grad_scores);
                let (probs, grad_scores) = (Operand::new(scores, band), Operand::new(grad_scores, band));
                let later = from > 0;
                product(
                    isa,
                    (rows, dim, tokens),
                    scale,
                    grad_scores,
                    keys,
                    false,
                    grad_qkv,
                    place(0, from),
                    turned,
                );
                product(
                    isa,
                    (tokens, dim, rows),
                    scale,
                    grad_scores.t(),
                    queries,
                    later,
                    grad_qkv,
                    place(1, 0),
                    turned,
                );
                product(
                    isa,
                    (tokens, dim, rows),
                    1.0,
                    probs.t(),
                    grad_rows,
                    later,
                    grad_qkv,
                    place(2, 0),
                    turned,
                );
            }
        }
    }
}

multiversion! {
    /// Scores to probabilities, and the logarithm of each row's sum of exponentials.
    fn softmax_band(tokens: usize, scores: &mut [f32], lse: &mut [f32]) {
        for (row, lse) in scores.chunks_exact_mut(tokens).zip(lse.iter_mut()) {
            let max = row_max(row);
            *lse = max;
            for v in row {
                *v -= max;
            }
        }
        // One long loop, because rows may be short.
        for v in scores.iter_mut() {
            *v = exp::<FUSED>(*v);
        }
        for (row, lse) in scores.chunks_exact_mut(tokens).zip(lse) {
            let sum = row_sum(row);
            *lse += sum.ln();
            let inverse = 1.0 / sum;
            for v in row {
                *v *= inverse;
            }
        }
    }
}

multiversion! {
    /// Scores to probabilities by the known log-sum-exp, and gradients of probabilities to gradients of scores:
    /// p (g - dot), where dot = sum of p g of the row.
    fn softmax_band_backward(tokens: usize, lse: &[f32], dots: &[f32], scores: &mut [f32], grads: &mut [f32]) {
        let rows = scores.chunks_exact_mut(tokens).zip(grads.chunks_exact_mut(tokens));
        for ((row, grads), (lse, dot)) in rows.zip(lse.iter().zip(dots)) {
            for (v, g) in row.iter_mut().zip(grads) {
                *v = exp::<FUSED>(*v - lse);
                *g = *v * (*g - dot);
            }
        }
    }
}
