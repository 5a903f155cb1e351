//! Attention of one head of one image by bands of rows of the score matrix.
//!
//! Keys and values (for the backward pass both of them twice, plain and transposed) are packed once for all bands of
//! the head, zeros making their channels and tokens whole vectors. A band's scores have such columns too much; they
//! are computed and never read.

use std::ops::Range;

use super::AttentionShape;
use crate::activation::exp::exp;
use crate::dispatch::Isa;
use crate::elementwise::multiversion::{madd, multiversion};
use crate::product::LINE;
use crate::product::pack::{Factor, Rows, multiply, pack_rows, pack_transposed, packed_len};
use crate::product::vector::lanes;
use crate::scratch;
use crate::softmax::{row_dot, row_max, row_sum};
use crate::threads::SharedMut;

/// Rows of the score matrix that exist at a time.
pub(super) const BAND: usize = 64;

/// One head of one image.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    isa: Isa,
    shape: &'a AttentionShape,
    image: usize,
    head: usize,
}

/// Which part of the fused projection.
#[derive(Clone, Copy)]
enum Part {
    Query,
    Key,
    Value,
}

impl<'a> Head<'a> {
    /// Head `index`, counted through all images.
    pub(super) fn new(isa: Isa, shape: &'a AttentionShape, index: usize) -> Self {
        Self { isa, shape, image: index / shape.heads, head: index % shape.heads }
    }

    /// Channels of all heads.
    fn width(self) -> usize {
        self.shape.heads * self.shape.dim
    }

    /// Where a token's part begins in the fused projection.
    fn projected(self, part: Part, token: usize) -> usize {
        (self.image * self.shape.tokens + token) * 3 * self.width()
            + part as usize * self.width()
            + self.head * self.shape.dim
    }

    /// Where a token begins in the output.
    fn drawn(self, token: usize) -> usize {
        (self.image * self.shape.tokens + token) * self.width() + self.head * self.shape.dim
    }

    /// Where a token's log-sum-exp is.
    fn lse(self, token: usize) -> usize {
        (self.image * self.shape.heads + self.head) * self.shape.tokens + token
    }

    /// A part of the fused projection for some tokens.
    fn part(self, qkv: &[f32], part: Part, tokens: Range<usize>) -> Rows<'_> {
        let start = self.projected(part, tokens.start);
        Rows::new(&qkv[start..], (tokens.len(), self.shape.dim), 3 * self.width())
    }

    /// Some tokens of a tensor of the output's shape.
    fn tokens(self, tensor: &[f32], tokens: Range<usize>) -> Rows<'_> {
        Rows::new(&tensor[self.drawn(tokens.start)..], (tokens.len(), self.shape.dim), self.width())
    }

    /// Channels in whole vectors.
    fn padded_dim(self) -> usize {
        self.shape.dim.next_multiple_of(lanes(self.isa))
    }

    /// Floats from one row of scores to the next: whole vectors, and not a multiple of eight cache lines, so that a
    /// column of a band falls into many sets of the cache.
    fn score_stride(self) -> usize {
        let padded = self.shape.tokens.next_multiple_of(lanes(self.isa));
        if padded.is_multiple_of(8 * LINE) { padded + LINE } else { padded }
    }

    /// The bands of some tokens.
    fn bands(self, tokens: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let last = tokens.end;
        tokens.step_by(BAND).map(move |from| from..(from + BAND).min(last))
    }

    /// Output and log-sum-exp of the tokens `rows`.
    pub(super) fn forward(
        self,
        qkv: &[f32],
        rows: Range<usize>,
        out: SharedMut<'_, f32>,
        lse: SharedMut<'_, f32>,
    ) {
        let (isa, AttentionShape { tokens, dim, .. }) = (self.isa, *self.shape);
        let (stride, padded) = (self.score_stride(), self.padded_dim());
        let lens = [packed_len(dim, tokens, lanes(isa)), tokens * padded, BAND * stride, BAND * padded];
        scratch::with(lens.iter().sum(), |buffer| {
            let [keys, values, scores, sums] = split(buffer, lens);
            pack_transposed(self.part(qkv, Part::Key, 0..tokens), lanes(isa), keys);
            pack_rows(self.part(qkv, Part::Value, 0..tokens), lanes(isa), values);
            for band in self.bands(rows) {
                let scores = &mut scores[..band.len() * stride];
                let queries = Factor::Plain(self.part(qkv, Part::Query, band.clone()));
                multiply(isa, queries, (keys, tokens), (scores, stride), false);
                let mut inverses = [0.0; BAND];
                let inverses = &mut inverses[..band.len()];
                // SAFETY: every token's log-sum-exp is written once.
                let lse = unsafe { lse.slice(self.lse(band.start), band.len()) };
                softmax_band(isa, tokens, stride, self.shape.scale(), scores, lse, inverses);
                let weights = Factor::Plain(Rows::new(scores, (band.len(), tokens), stride));
                multiply(isa, weights, (values, dim), (sums, padded), false);
                for ((token, sums), inverse) in band.zip(sums.chunks_exact(padded)).zip(inverses) {
                    // SAFETY: every token of every head is written once.
                    let out = unsafe { out.slice(self.drawn(token), dim) };
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * *inverse);
                }
            }
        });
    }

    /// How the output of the tokens `rows` changes: W V + P V', where P are the probabilities and W how they change.
    pub(super) fn tangent(
        self,
        qkv: &[f32],
        along: &[f32],
        lse: &[f32],
        rows: Range<usize>,
        out: SharedMut<'_, f32>,
    ) {
        let (isa, AttentionShape { tokens, dim, .. }) = (self.isa, *self.shape);
        let (stride, padded) = (self.score_stride(), self.padded_dim());
        let (turned, plain) = (packed_len(dim, tokens, lanes(isa)), tokens * padded);
        let (scores, sums) = (BAND * stride, BAND * padded);
        let lens = [turned, turned, plain, plain, scores, scores, sums];
        scratch::with(lens.iter().sum(), |buffer| {
            let [keys, moving_keys, values, moving_values, scores, slopes, sums] = split(buffer, lens);
            pack_transposed(self.part(qkv, Part::Key, 0..tokens), lanes(isa), keys);
            pack_transposed(self.part(along, Part::Key, 0..tokens), lanes(isa), moving_keys);
            pack_rows(self.part(qkv, Part::Value, 0..tokens), lanes(isa), values);
            pack_rows(self.part(along, Part::Value, 0..tokens), lanes(isa), moving_values);
            for band in self.bands(rows) {
                let len = band.len() * stride;
                let (scores, slopes) = (&mut scores[..len], &mut slopes[..len]);
                let queries = Factor::Plain(self.part(qkv, Part::Query, band.clone()));
                let moving_queries = Factor::Plain(self.part(along, Part::Query, band.clone()));
                multiply(isa, queries, (keys, tokens), (scores, stride), false);
                multiply(isa, moving_queries, (keys, tokens), (slopes, stride), false);
                multiply(isa, queries, (moving_keys, tokens), (slopes, stride), true);
                let lse = &lse[self.lse(band.start)..][..band.len()];
                softmax_band_tangent(isa, tokens, stride, self.shape.scale(), lse, scores, slopes);
                let probabilities = Factor::Plain(Rows::new(scores, (band.len(), tokens), stride));
                let slopes = Factor::Plain(Rows::new(slopes, (band.len(), tokens), stride));
                multiply(isa, probabilities, (moving_values, dim), (sums, padded), false);
                multiply(isa, slopes, (values, dim), (sums, padded), true);
                for (token, sums) in band.zip(sums.chunks_exact(padded)) {
                    // SAFETY: every token of every head is written once.
                    let out = unsafe { out.slice(self.drawn(token), dim) };
                    out.copy_from_slice(&sums[..dim]);
                }
            }
        });
    }

    /// Gradient in this head's part of the fused projection.
    pub(super) fn backward(
        self,
        qkv: &[f32],
        out: &[f32],
        lse: &[f32],
        grad_out: &[f32],
        grad_qkv: SharedMut<'_, f32>,
    ) {
        let (isa, AttentionShape { tokens, dim, .. }) = (self.isa, *self.shape);
        let (stride, padded, scale) = (self.score_stride(), self.padded_dim(), self.shape.scale());
        let (plain, turned) = (tokens * padded, packed_len(dim, tokens, lanes(isa)));
        let (scores, rows) = (BAND * stride, BAND * padded);
        let lens = [turned, turned, plain, scores, scores, rows, rows, rows, plain, plain];
        scratch::with(lens.iter().sum(), |buffer| {
            let [
                keys_turned,
                values_turned,
                keys,
                probabilities,
                grad_scores,
                queries,
                grad_rows,
                grad_queries,
                grad_keys,
                grad_values,
            ] = split(buffer, lens);
            pack_transposed(self.part(qkv, Part::Key, 0..tokens), lanes(isa), keys_turned);
            pack_transposed(self.part(qkv, Part::Value, 0..tokens), lanes(isa), values_turned);
            pack_rows(self.part(qkv, Part::Key, 0..tokens), lanes(isa), keys);
            let write = |part: Part, tokens: Range<usize>, from: &[f32], scale: f32| {
                for (token, from) in tokens.zip(from.chunks_exact(padded)) {
                    // SAFETY: every part of every token and head is written once.
                    let to = unsafe { grad_qkv.slice(self.projected(part, token), dim) };
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = from * scale);
                }
            };
            for band in self.bands(0..tokens) {
                let (count, later) = (band.len(), band.start > 0);
                let probabilities = &mut probabilities[..count * stride];
                let grad_scores = &mut grad_scores[..count * stride];
                let (query_rows, grad_out_rows) =
                    (self.part(qkv, Part::Query, band.clone()), self.tokens(grad_out, band.clone()));
                multiply(
                    isa,
                    Factor::Plain(query_rows),
                    (keys_turned, tokens),
                    (probabilities, stride),
                    false,
                );
                multiply(
                    isa,
                    Factor::Plain(grad_out_rows),
                    (values_turned, tokens),
                    (grad_scores, stride),
                    false,
                );
                let mut dots = [0.0_f32; BAND];
                for (dot, token) in dots.iter_mut().zip(band.clone()) {
                    let range = self.drawn(token)..self.drawn(token) + dim;
                    *dot = out[range.clone()].iter().zip(&grad_out[range]).map(|(o, g)| o * g).sum();
                }
                let lse = &lse[self.lse(band.start)..][..count];
                softmax_band_backward(isa, stride, scale, lse, &dots[..count], probabilities, grad_scores);
                let probabilities = Rows::new(probabilities, (count, tokens), stride);
                let grad_scores = Rows::new(grad_scores, (count, tokens), stride);
                multiply(isa, Factor::Plain(grad_scores), (keys, dim), (grad_queries, padded), false);
                write(Part::Query, band, grad_queries, scale);
                pack_rows(query_rows, lanes(isa), queries);
                multiply(isa, Factor::Transposed(grad_scores), (queries, dim), (grad_keys, padded), later);
                pack_rows(grad_out_rows, lanes(isa), grad_rows);
                let to = (&mut *grad_values, padded);
                multiply(isa, Factor::Transposed(probabilities), (grad_rows, dim), to, later);
            }
            write(Part::Key, 0..tokens, grad_keys, scale);
            write(Part::Value, 0..tokens, grad_values, 1.0);
        });
    }
}

/// Cuts a buffer into parts of the given lengths.
fn split<const N: usize>(mut buffer: &mut [f32], lens: [usize; N]) -> [&mut [f32]; N] {
    lens.map(|len| buffer.split_off_mut(..len).expect("the buffer has the sum of the lengths"))
}

multiversion! {
    /// Scores to the exponentials of their scaled distance from the row's maximum, and of each row the logarithm of the
    /// sum of exponentials of scaled scores, and the reciprocal of the sum that makes the exponentials probabilities.
    fn softmax_band(
        tokens: usize,
        stride: usize,
        scale: f32,
        scores: &mut [f32],
        lse: &mut [f32],
        inverses: &mut [f32],
    ) {
        for (row, lse) in scores.chunks_exact_mut(stride).zip(lse.iter_mut()) {
            *lse = row_max(&row[..tokens]) * scale;
            for v in row {
                *v = madd::<FUSED>(*v, scale, -*lse);
            }
        }
        // One long loop, because rows may be short.
        for v in scores.iter_mut() {
            *v = exp::<FUSED>(*v);
        }
        for ((row, lse), inverse) in scores.chunks_exact(stride).zip(lse).zip(inverses) {
            let sum = row_sum(&row[..tokens]);
            *lse += sum.ln();
            *inverse = 1.0 / sum;
        }
    }
}

multiversion! {
    /// Scores to probabilities p by the known log-sum-exp, and slopes s of scores to those of probabilities:
    /// p (s - mean of s by p), s scaled. Where one score is far above the rest nearly all of this cancels, so the mean is
    /// taken by probabilities that add up to 1 whatever the log-sum-exp's rounding.
    fn softmax_band_tangent(
        tokens: usize,
        stride: usize,
        scale: f32,
        lse: &[f32],
        scores: &mut [f32],
        slopes: &mut [f32],
    ) {
        let rows = scores.chunks_exact_mut(stride).zip(slopes.chunks_exact_mut(stride));
        for ((row, slopes), lse) in rows.zip(lse) {
            for v in row.iter_mut() {
                *v = exp::<FUSED>(madd::<FUSED>(*v, scale, -*lse));
            }
            let mean = row_dot(&row[..tokens], &slopes[..tokens]) / row_sum(&row[..tokens]);
            for (v, s) in row.iter().zip(slopes) {
                *s = *v * scale * (*s - mean);
            }
        }
    }
}

multiversion! {
    /// Scores to probabilities by the known log-sum-exp, and gradients of probabilities to gradients of scaled scores:
    /// p (g - dot), where dot = sum of p g of the row.
    fn softmax_band_backward(
        stride: usize,
        scale: f32,
        lse: &[f32],
        dots: &[f32],
        scores: &mut [f32],
        grads: &mut [f32],
    ) {
        let rows = scores.chunks_exact_mut(stride).zip(grads.chunks_exact_mut(stride));
        for ((row, grads), (lse, dot)) in rows.zip(lse.iter().zip(dots)) {
            for (v, g) in row.iter_mut().zip(grads) {
                *v = exp::<FUSED>(madd::<FUSED>(*v, scale, -*lse));
                *g = *v * (*g - dot);
            }
        }
    }
}
