//! e^x in single precision as straight-line arithmetic, which the compiler vectorises inside any loop.
//!
//! Range reduction by multiples of ln 2 (Cody and Waite) and a polynomial; the constants are those of the Cephes
//! library's `expf`. Within 1.5 units in the last place of the exact value; the test measures it.

use crate::elementwise::multiversion::madd;

/// Adding this rounds an `f32` of moderate size to an integer, which then sits in the low bits.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// The power of two nearest to e^x, as its exponent, and e^x divided by it; for |x| up to some hundreds.
#[inline(always)]
fn split<const FUSED: bool>(x: f32) -> (i32, f32) {
    let shifted = madd::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = madd::<FUSED>(n, -LN2_LOW, madd::<FUSED>(n, -LN2_HIGH, x));
    let p = 1.987_569_1e-4_f32;
    let p = madd::<FUSED>(p, r, 1.398_199_9e-3);
    let p = madd::<FUSED>(p, r, 8.333_452e-3);
    let p = madd::<FUSED>(p, r, 4.166_579_6e-2);
    let p = madd::<FUSED>(p, r, 1.666_666_5e-1);
    let p = madd::<FUSED>(p, r, 0.5);
    let p = madd::<FUSED>(p, r * r, r) + 1.0;
    ((shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32), p)
}

/// 2^n for n from -126 to 127.
#[inline(always)]
fn power(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// e^x: 0 below -104, infinity above 88.73, NaN for NaN, subnormal results rounded correctly enough.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    // Written as comparisons that let NaN through.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (n, p) = split::<FUSED>(x);
    // 2^n in two factors, because n reaches from -150 to 128.
    let half = n >> 1;
    let rest = n.wrapping_sub(half);
    p * power(half) * power(rest)
}

/// (1 / (1 + e^-x), e^-x) with the exponential held between 2^-126 and 2^126, so that their product is 1 - sigmoid(x).
#[inline(always)]
pub(crate) fn sigmoid<const FUSED: bool>(x: f32) -> (f32, f32) {
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 87.0 { 87.0 } else { x };
    let (n, p) = split::<FUSED>(-x);
    let e = p * power(n);
    (1.0 / (1.0 + e), e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_two_units_in_the_last_place() {
        within_two_units::<false>();
        within_two_units::<true>();
    }

    fn within_two_units<const FUSED: bool>() {
        let mut worst = 0.0_f64;
        for i in -1_040_000..887_220 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let got = exp::<FUSED>(x);
            let unit = f64::from(f32::from_bits((exact as f32).to_bits() + 1) - exact as f32);
            worst = worst.max((f64::from(got) - exact).abs() / unit);
        }
        assert!(worst < 2.0, "{worst} units in the last place");
    }

    #[test]
    fn extremes() {
        let (exp, sigmoid) = (exp::<false>, sigmoid::<false>);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(1e30), f32::INFINITY);
        assert!(exp(88.72).is_finite());
        assert!(exp(f32::NAN).is_nan());
        let (s, e) = sigmoid(-1e9);
        assert!(s < 1e-37 && (s * e - 1.0).abs() < 1e-6);
        assert_eq!(sigmoid(1e9).0, 1.0);
        assert!(sigmoid(f32::NAN).0.is_nan());
    }
}
