//! What the second-order solvers share: an explicit Runge-Kutta step with two slopes.

use super::{check_step, denoise, euler_value};
use crate::{Denoiser, ModelError, Sigma};
use cm_image::ImageBatch;

/// Where [`two_stage`] asks the denoiser.
pub(super) fn stages(from: Sigma, to: Sigma, inner: impl Fn(Sigma, Sigma) -> Sigma) -> Vec<Sigma> {
    if to > Sigma::ZERO { vec![from, inner(from, to)] } else { vec![from] }
}

/// x + (to - from) (b1 d1 + b2 d2): d1 is the slope at `from`, d2 the slope at the level `inner(from, to)` reached
/// by an Euler step. An image that goes to 0 takes its Euler step instead and is not evaluated again.
pub(super) fn two_stage(
    denoiser: &dyn Denoiser,
    x: &ImageBatch,
    (from, to): (&[Sigma], &[Sigma]),
    labels: &[u32],
    inner: impl Fn(Sigma, Sigma) -> Sigma,
    [b1, b2]: [f64; 2],
) -> Result<ImageBatch, ModelError> {
    check_step(x, from, to)?;
    let first = denoise(denoiser, x, from, labels)?;
    let rows: Vec<usize> = (0..x.count()).filter(|&row| to[row] > Sigma::ZERO).collect();
    let inner: Vec<Sigma> = rows.iter().map(|&row| inner(from[row], to[row])).collect();

    let mut second = None;
    if !rows.is_empty() {
        let stage = ImageBatch::from_fn(x.shape(), rows.len(), |k, out| {
            let row = rows[k];
            for ((out, &x), &d) in out.iter_mut().zip(x.image(row)).zip(first.image(row)) {
                *out = euler_value(x, d, from[row], inner[k]);
            }
        });
        // Labels go with their images; there may be none.
        let labels: Vec<u32> = rows.iter().filter_map(|&row| labels.get(row).copied()).collect();
        second = Some((denoise(denoiser, &stage, &inner, &labels)?, stage));
    }

    let mut next = 0;
    Ok(ImageBatch::from_fn(x.shape(), x.count(), |row, out| {
        let (x, first) = (x.image(row), first.image(row));
        match &second {
            Some((second, stage)) if rows.get(next) == Some(&row) => {
                let (second, stage) = (second.image(next), stage.image(next));
                let [from, to, level] = [from[row], to[row], inner[next]].map(|sigma| f64::from(sigma.get()));
                for (i, out) in out.iter_mut().enumerate() {
                    let start = f64::from(x[i]);
                    let d1 = (start - f64::from(first[i])) / from;
                    let d2 = (f64::from(stage[i]) - f64::from(second[i])) / level;
                    *out = (start + (to - from) * (b1 * d1 + b2 * d2)) as f32;
                }
                next += 1;
            }
            _ => {
                for ((out, &x), &d) in out.iter_mut().zip(x).zip(first) {
                    *out = euler_value(x, d, from[row], to[row]);
                }
            }
        }
    }))
}
