//! The truth: the definition, generic over the float.

use super::{Direction, StripWindow};
use crate::elementwise::testing::Real;

pub(super) fn forward_relu<F: Real>(
    window: &StripWindow,
    [batch, height, width]: [usize; 3],
    x: &[F],
    weight: &[F],
    bias: &[F],
) -> Vec<F> {
    let StripWindow { in_channels, out_channels, .. } = *window;
    let (rows, columns) = match window.direction {
        Direction::Row => (window.lines, window.length),
        Direction::Column => (window.length, window.lines),
    };
    let mut out = Vec::new();
    for n in 0..batch {
        for h in 0..height {
            for w in 0..width {
                for o in 0..out_channels {
                    let mut sum = bias[o];
                    for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                        let (y, z) = ((h + r).checked_sub(rows / 2), (w + c).checked_sub(columns / 2));
                        let inside = y.zip(z).filter(|&(y, z)| y < height && z < width);
                        let Some((y, z)) = inside else { continue };
                        for i in 0..in_channels {
                            sum += x[((n * height + y) * width + z) * in_channels + i]
                                * weight[((r * columns + c) * in_channels + i) * out_channels + o];
                        }
                    }
                    out.push(if sum > F::of(0.0) { sum } else { F::of(0.0) });
                }
            }
        }
    }
    out
}
