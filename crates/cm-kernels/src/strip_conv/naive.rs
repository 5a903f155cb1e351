//! The truth: the definition, generic over the float.

use super::{Strip, StripShape};
use crate::elementwise::testing::Real;

pub(super) fn forward_relu<F: Real>(s: &StripShape, x: &[F], weight: &[F], bias: &[F]) -> Vec<F> {
    let mut out = Vec::new();
    let border = s.length / 2;
    for n in 0..s.batch {
        for h in 0..s.height {
            for w in 0..s.width {
                for o in 0..s.out_channels {
                    let mut sum = bias[o];
                    for place in 0..s.length {
                        let (y, z) = match s.strip {
                            Strip::Column => ((h + place).checked_sub(border), Some(w)),
                            Strip::Row => (Some(h), (w + place).checked_sub(border)),
                        };
                        let inside = y.zip(z).filter(|&(y, z)| y < s.height && z < s.width);
                        let Some((y, z)) = inside else { continue };
                        for i in 0..s.in_channels {
                            sum += x[((n * s.height + y) * s.width + z) * s.in_channels + i]
                                * weight[(place * s.in_channels + i) * s.out_channels + o];
                        }
                    }
                    out.push(if sum > F::of(0.0) { sum } else { F::of(0.0) });
                }
            }
        }
    }
    out
}
