//! Dropout whose mask is a pure function of a key, the same to the bit on every device.
//!
//! The mask is drawn by additions, multiplications and one comparison in single precision, which all machines round
//! alike: no integers and no random numbers, which accelerators' libraries have not. It is a Feistel network with a
//! quadratic round: an element's place in a square of [`ROW`] x [`ROW`] is two numbers a and b in -1/2 to 1/2, and
//! each of [`ROUNDS`] rounds with a key k of its own takes (a, b) to (b, frac(a + frac([`FACTOR`] (b + k)^2))), where
//! frac is what is left of the nearest whole number. An element is kept if the last b is at least p - 1/2.
//!
//! With four rounds and more, shares, some 390 autocorrelations, and sums over windows and over channels of four million
//! elements were as chance has them; there are five.

use crate::dispatch::{Isa, isa};
use crate::elementwise::for_each_range;
use crate::elementwise::multiversion::multiversion;
use crate::threads::{PIECE, SharedMut};

/// Elements of a row of places.
pub const ROW: usize = 4096;
/// Elements that share their keys.
pub const CHUNK: usize = ROW * ROW;
/// Rounds.
pub const ROUNDS: usize = 5;
/// Factor of the square.
pub const FACTOR: f32 = 1021.0;
/// Added and taken away again, this rounds numbers below 4 million to whole ones.
pub const ROUNDING: f32 = 12_582_912.0;

/// The mixing of SplitMix64.
fn mixed(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The keys of the rounds for the elements from `chunk` [`CHUNK`] on, in \[0, 1).
pub fn round_keys(key: u64, chunk: usize) -> [f32; ROUNDS] {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let chunk_key = mixed(key ^ (chunk as u64).wrapping_mul(STEP));
    std::array::from_fn(|round| {
        let bits = mixed(chunk_key.wrapping_add((round as u64 + 1).wrapping_mul(STEP))) >> 40;
        bits as f32 / 16_777_216.0
    })
}

/// The number of a row or column, as the first round takes it.
#[inline(always)]
pub fn place(number: u16) -> f32 {
    f32::from(number) / ROW as f32 - 0.5
}

/// What is left of the nearest whole number.
#[inline(always)]
fn frac(x: f32) -> f32 {
    x - ((x + ROUNDING) - ROUNDING)
}

multiversion! {
    fn row_piece(row: f32, keys: [f32; ROUNDS], p: f32, x: &[f32], out: &mut [f32]) {
        let scale = 1.0 / (1.0 - p);
        for (column, (out, &x)) in (0_u16..).zip(out.iter_mut().zip(x)) {
            let (mut a, mut b) = (row, place(column));
            for key in keys {
                let sum = b + key;
                let next = frac(a + frac(sum * sum * FACTOR));
                (a, b) = (b, next);
            }
            *out = if b >= p - 0.5 { x * scale } else { 0.0 };
        }
    }
}

/// Inverted dropout: each value is kept with probability 1 - p and scaled by 1 / (1 - p), else 0.
///
/// Whether element `i` is kept is a function of (`key`, `i`): the same key gives the same mask, whatever the number of
/// threads, the instruction set or the device. The backward pass is this function on the gradient. `p` is in \[0, 1).
///
/// # Panics
/// If `p` is outside its range or the lengths differ.
pub fn dropout(key: u64, p: f32, x: &[f32], out: &mut [f32]) {
    dropout_on(isa(), key, p, x, out);
}

fn dropout_on(isa: Isa, key: u64, p: f32, x: &[f32], out: &mut [f32]) {
    assert!((0.0..1.0).contains(&p), "dropout probability {p} is outside [0, 1)");
    assert_eq!(x.len(), out.len(), "input and output lengths differ");
    const { assert!(PIECE.is_multiple_of(ROW) && CHUNK.is_multiple_of(PIECE)) };
    let shared = SharedMut::new(out);
    for_each_range(x.len(), PIECE, |from, len| {
        let keys = round_keys(key, from / CHUNK);
        // SAFETY: ranges of different pieces are disjoint.
        let out = unsafe { shared.slice(from, len) };
        let first_row = (from % CHUNK / ROW) as u16;
        for ((row, x), out) in (first_row..).zip(x[from..from + len].chunks(ROW)).zip(out.chunks_mut(ROW)) {
            row_piece(isa, place(row), keys, p, x, out);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::written_by;
    use crate::elementwise::testing::*;

    /// The definition, one element at a time, the nearest whole number by the standard library.
    fn naive(key: u64, p: f32, x: &[f32]) -> Vec<f32> {
        let keep = |i: usize| {
            let frac = |x: f32| x - x.round_ties_even();
            let (mut a, mut b) = (place((i % CHUNK / ROW) as u16), place((i % ROW) as u16));
            for key in round_keys(key, i / CHUNK) {
                (a, b) = (b, frac(a + frac((b + key) * (b + key) * FACTOR)));
            }
            b >= p - 0.5
        };
        x.iter().enumerate().map(|(i, x)| if keep(i) { x * (1.0 / (1.0 - p)) } else { 0.0 }).collect()
    }

    fn mask(key: u64, p: f32, n: usize) -> Vec<f32> {
        let ones = vec![1.0; n];
        written_by(n, |out| dropout(key, p, &ones, out))
    }

    #[test]
    fn is_the_naive_twin_to_the_bit_on_every_instruction_set() {
        for n in [0, 1, 15, 17, ROW, ROW + 1, PIECE + 3] {
            let x = values(n, 1);
            for (key, p) in [(1, 0.0), (2, 0.13), (u64::MAX, 0.5), (4, 0.99)] {
                let exact = naive(key, p, &x);
                for isa in Isa::available() {
                    let out = written_by(n, |out| dropout_on(isa, key, p, &x, out));
                    assert_eq!(out, exact, "{isa:?}, {n} values, key {key}, p {p}");
                }
            }
        }
    }

    #[test]
    fn keeps_the_right_share_and_the_mean() {
        let n = 1_000_000;
        for p in [0.0, 0.1, 0.5, 0.9] {
            for key in 0..5 {
                let out = mask(key, p, n);
                let kept = out.iter().filter(|&&v| v != 0.0).count() as f64 / n as f64;
                let spread = (f64::from(p) * (1.0 - f64::from(p)) / n as f64).sqrt();
                assert!((kept - (1.0 - f64::from(p))).abs() <= 4.0 * spread, "p {p}: {kept} kept");
                assert!(out.iter().all(|&v| v == 0.0 || (v - 1.0 / (1.0 - p)).abs() < 1e-5));
            }
        }
    }

    #[test]
    fn masks_are_repeatable_and_unrelated_between_keys_places_and_chunks() {
        let n = CHUNK + (1 << 18);
        let a = mask(3, 0.5, n);
        assert_eq!(a, mask(3, 0.5, n));
        let near_half = |a: &[f32], b: &[f32], what: &str| {
            let n = a.len().min(b.len());
            let share = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / n as f64;
            // Five standard deviations of a fair coin.
            assert!((share - 0.5).abs() < 2.5 / (n as f64).sqrt(), "{what}: {share} alike");
        };
        near_half(&a, &mask(4, 0.5, n), "neighbouring keys");
        for lag in
            [1, 2, 3, 16, 24, 128, 192, 255, 1024, ROW - 1, ROW, ROW + 1, 2 * ROW, PIECE, 64 * ROW, CHUNK]
        {
            near_half(&a, &a[lag..], &format!("{lag} apart"));
        }
    }

    /// Windows of neighbours, and channels of images, hold as many as chance has them hold: the variance of their
    /// counts is the binomial's, within five standard errors.
    #[test]
    fn counts_in_windows_and_channels_have_the_binomial_s_variance() {
        let n = 1 << 21;
        for (key, p) in [(5, 0.5), (6, 0.13)] {
            let kept: Vec<f64> = mask(key, p, n).iter().map(|&v| f64::from(u8::from(v != 0.0))).collect();
            let p = f64::from(p);
            let check = |counts: Vec<f64>, of: usize, what: &str| {
                let mean = of as f64 * (1.0 - p);
                let variance = of as f64 * p * (1.0 - p);
                let found = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / counts.len() as f64;
                let error = (2.0 / counts.len() as f64).sqrt();
                assert!((found / variance - 1.0).abs() < 5.0 * error, "{what}: {found} for {variance}");
            };
            for width in [8, 64, 192, 1024, 4096] {
                let windows = kept.chunks_exact(width);
                check(windows.map(|w| w.iter().sum()).collect(), width, &format!("windows of {width}"));
            }
            for channels in [64, 128, 192, 384] {
                let mut counts = vec![0.0; channels];
                for pixel in kept.chunks_exact(channels) {
                    counts.iter_mut().zip(pixel).for_each(|(count, kept)| *count += kept);
                }
                check(counts, n / channels, &format!("{channels} channels"));
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let x = values(5 * PIECE + 3, 1);
        assert_same_for_any_threads(|| written_by(x.len(), |out| dropout(1, 0.3, &x, out)));
    }
}
