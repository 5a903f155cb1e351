//! The machine's arithmetic limit: a loop of independent multiply-adds that never leaves the registers.

use crate::dispatch::{Isa, isa};
use std::hint::black_box;

/// Enough chains to hide the latency of a multiply-add (4 cycles; 2 begin in each, on the widest ARM cores 4) with
/// registers to spare.
const CHAINS: usize = if cfg!(target_arch = "aarch64") { 24 } else { 12 };

/// Runs `rounds` rounds of independent multiply-adds on this thread, with the instructions in use; returns how many
/// multiplications and additions that was.
pub fn multiply_adds(rounds: u64) -> u64 {
    let lanes = match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` names no more than the machine has.
        Isa::Avx512 => unsafe { avx512(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { avx2(rounds) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::Neon => unsafe { neon(rounds) },
        Isa::Portable => portable(rounds),
    };
    2 * rounds * CHAINS as u64 * lanes
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(rounds: u64) -> u64 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let (factor, term) = black_box((_mm512_set1_ps(0.5), _mm512_set1_ps(0.25)));
    black_box(chains(rounds, _mm512_set1_ps(0.5), |sum| _mm512_fmadd_ps(sum, factor, term)));
    16
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(rounds: u64) -> u64 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let (factor, term) = black_box((_mm256_set1_ps(0.5), _mm256_set1_ps(0.25)));
    black_box(chains(rounds, _mm256_set1_ps(0.5), |sum| _mm256_fmadd_ps(sum, factor, term)));
    8
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon(rounds: u64) -> u64 {
    use std::arch::aarch64::{vdupq_n_f32, vfmaq_f32};
    let (factor, term) = black_box((vdupq_n_f32(0.5), vdupq_n_f32(0.25)));
    black_box(chains(rounds, vdupq_n_f32(0.5), |sum| vfmaq_f32(term, sum, factor)));
    4
}

fn portable(rounds: u64) -> u64 {
    let (factor, term) = black_box((0.5f32, 0.25f32));
    black_box(chains(rounds, [0.5f32; 4], |sum| sum.map(|x| x * factor + term)));
    4
}

#[inline(always)]
fn chains<V: Copy>(rounds: u64, start: V, multiply_add: impl Fn(V) -> V) -> [V; CHAINS] {
    let mut sums = [start; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = multiply_add(*sum);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_count_grows_with_the_rounds() {
        let one = super::multiply_adds(1);
        assert!(one > 0 && super::multiply_adds(1000) == 1000 * one);
    }
}
