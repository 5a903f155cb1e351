//! The inverse cosine transform: libjpeg's accurate integer one (`JDCT_ISLOW`), after Loeffler, Ligtenberg and
//! Moschytz (1989), with 12 multiplications for eight values.
//!
//! Columns first, kept with two more bits, then rows; each step rounds half up. Its bits are the reference's, so its
//! order of operations is too.

/// Bits behind the point of the constants.
const CONSTANT_BITS: u32 = 13;
/// Bits more that values between the passes have.
const PASS_BITS: u32 = 2;

/// A constant in fixed point.
const fn fixed(value: f64) -> i32 {
    (value * (1 << CONSTANT_BITS) as f64 + 0.5) as i32
}

/// Eight values from eight coefficients, scaled by sqrt(8) and `2^CONSTANT_BITS`.
#[inline(always)]
fn transform(c: [i32; 8]) -> [i32; 8] {
    let times = |value: i32, constant: i32| value.wrapping_mul(constant);
    let add = |a: i32, b: i32| a.wrapping_add(b);
    let sub = |a: i32, b: i32| a.wrapping_sub(b);
    // Even coefficients.
    let rotated = times(add(c[2], c[6]), fixed(0.541196100));
    let (even2, even3) =
        (sub(rotated, times(c[6], fixed(1.847759065))), add(rotated, times(c[2], fixed(0.765366865))));
    let (even0, even1) =
        (add(c[0], c[4]).wrapping_shl(CONSTANT_BITS), sub(c[0], c[4]).wrapping_shl(CONSTANT_BITS));
    let even = [add(even0, even3), add(even1, even2), sub(even1, even2), sub(even0, even3)];
    // Odd coefficients.
    let (z1, z2, z3, z4) = (add(c[7], c[1]), add(c[5], c[3]), add(c[7], c[3]), add(c[5], c[1]));
    let z5 = times(add(z3, z4), fixed(1.175875602));
    let (z1, z2) = (times(z1, -fixed(0.899976223)), times(z2, -fixed(2.562915447)));
    let z3 = add(times(z3, -fixed(1.961570560)), z5);
    let z4 = add(times(z4, -fixed(0.390180644)), z5);
    let odd = [
        add(times(c[1], fixed(1.501321110)), add(z1, z4)),
        add(times(c[3], fixed(3.072711026)), add(z2, z3)),
        add(times(c[5], fixed(2.053119869)), add(z2, z4)),
        add(times(c[7], fixed(0.298631336)), add(z1, z3)),
    ];
    let mut values = [0; 8];
    for i in 0..4 {
        values[i] = add(even[i], odd[i]);
        values[7 - i] = sub(even[i], odd[i]);
    }
    values
}

/// `value / 2^bits`, rounded half up.
#[inline(always)]
fn descale(value: i32, bits: u32) -> i32 {
    value.wrapping_add(1 << (bits - 1)) >> bits
}

/// The 8x8 values of a block from its coefficients and their steps, both in rows; into rows `stride` apart.
pub(crate) fn block(coefficients: &[i16; 64], steps: &[u16; 64], out: &mut [u8], stride: usize) {
    let mut between = [0_i32; 64];
    for x in 0..8 {
        let column =
            std::array::from_fn(|y| i32::from(coefficients[8 * y + x]).wrapping_mul(steps[8 * y + x].into()));
        let values = transform(column);
        for (y, value) in values.into_iter().enumerate() {
            between[8 * y + x] = descale(value, CONSTANT_BITS - PASS_BITS);
        }
    }
    for (y, row) in between.chunks_exact(8).enumerate() {
        let values = transform(std::array::from_fn(|x| row[x]));
        // Three bits more: the transform of two dimensions is scaled by 8.
        let pixels =
            values.map(|value| (descale(value, CONSTANT_BITS + PASS_BITS + 3) + 128).clamp(0, 255) as u8);
        out[y * stride..y * stride + 8].copy_from_slice(&pixels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_1_SQRT_2, PI};

    /// The transform in double precision (T.81, A.3.3), as a naive twin.
    fn naive(coefficients: &[i16; 64], steps: &[u16; 64]) -> [f64; 64] {
        let weight = |u: usize| if u == 0 { FRAC_1_SQRT_2 } else { 1.0 };
        let wave = |x: usize, u: usize| ((2 * x + 1) as f64 * u as f64 * PI / 16.0).cos();
        std::array::from_fn(|i| {
            let (y, x) = (i / 8, i % 8);
            let mut sum = 0.0;
            for (j, (&coefficient, &step)) in coefficients.iter().zip(steps).enumerate() {
                let (v, u) = (j / 8, j % 8);
                sum += weight(u)
                    * weight(v)
                    * f64::from(coefficient)
                    * f64::from(step)
                    * wave(x, u)
                    * wave(y, v);
            }
            sum / 4.0 + 128.0
        })
    }

    #[test]
    fn values_are_within_one_level_of_the_exact_ones_and_on_the_mean_the_same() {
        let mut state = 1_u32;
        let mut next = |range: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i32 % (2 * range + 1) - range
        };
        let steps: [u16; 64] = std::array::from_fn(|i| 1 + (i as u16 % 5));
        let mut bias = 0.0;
        for _ in 0..500 {
            let coefficients: [i16; 64] = std::array::from_fn(|i| next(if i < 10 { 60 } else { 4 }) as i16);
            let mut out = [0; 64];
            block(&coefficients, &steps, &mut out, 8);
            for (exact, got) in naive(&coefficients, &steps).into_iter().zip(out) {
                let exact = exact.clamp(0.0, 255.0);
                assert!((exact - f64::from(got)).abs() < 0.6, "{exact} {got}");
                bias += exact - f64::from(got);
            }
        }
        assert!((bias / 32_000.0).abs() < 0.01, "{bias}");
    }

    #[test]
    fn extreme_coefficients_are_clamped() {
        let mut out = [0; 64];
        block(&[i16::MAX; 64], &[u16::MAX; 64], &mut out, 8);
        let mut coefficients = [0; 64];
        coefficients[0] = -2000;
        block(&coefficients, &[1; 64], &mut out, 8);
        assert_eq!(out, [0; 64]);
        coefficients[0] = 2000;
        block(&coefficients, &[1; 64], &mut out, 8);
        assert_eq!(out, [255; 64]);
    }
}
