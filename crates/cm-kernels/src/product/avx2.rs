//! One term of AVX2's register block, in assembly.
//!
//! Twelve sums, the three vectors of a term and a factor are the sixteen registers that AVX2 has. The compiler does
//! not find that: it fetches a second factor early, and then moves the sums round in every term and keeps one of them
//! in memory, which makes each term wait for the last. Here a term is one piece that it cannot take apart; the loop,
//! the vectors and the choice of registers are still its work. Its twin is [`super::vector::add_term`].

use std::arch::asm;
use std::arch::x86_64::__m256;

/// `sums[3 r + c] += vectors[c] * factors[r * row]`, rounded once.
///
/// # Safety
/// AVX2 and FMA, and readable floats at `factors`, 4 of them `row` floats apart.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn add_term(
    sums: &mut [__m256; 12],
    vectors: &[__m256; 3],
    factors: *const f32,
    row: usize,
) {
    let [s00, s01, s02, s10, s11, s12, s20, s21, s22, s30, s31, s32] = sums;
    let row = row * size_of::<f32>();
    // SAFETY: reads the floats that the caller promises, and writes the registers named here.
    unsafe {
        asm!(
            "vbroadcastss {factor}, dword ptr [{factors}]",
            "vfmadd231ps {s00}, {v0}, {factor}",
            "vfmadd231ps {s01}, {v1}, {factor}",
            "vfmadd231ps {s02}, {v2}, {factor}",
            "vbroadcastss {factor}, dword ptr [{factors} + {row}]",
            "vfmadd231ps {s10}, {v0}, {factor}",
            "vfmadd231ps {s11}, {v1}, {factor}",
            "vfmadd231ps {s12}, {v2}, {factor}",
            "vbroadcastss {factor}, dword ptr [{factors} + 2 * {row}]",
            "vfmadd231ps {s20}, {v0}, {factor}",
            "vfmadd231ps {s21}, {v1}, {factor}",
            "vfmadd231ps {s22}, {v2}, {factor}",
            "vbroadcastss {factor}, dword ptr [{factors} + {row3}]",
            "vfmadd231ps {s30}, {v0}, {factor}",
            "vfmadd231ps {s31}, {v1}, {factor}",
            "vfmadd231ps {s32}, {v2}, {factor}",
            factor = out(ymm_reg) _,
            factors = in(reg) factors,
            row = in(reg) row,
            row3 = in(reg) 3 * row,
            v0 = in(ymm_reg) vectors[0],
            v1 = in(ymm_reg) vectors[1],
            v2 = in(ymm_reg) vectors[2],
            s00 = inout(ymm_reg) *s00,
            s01 = inout(ymm_reg) *s01,
            s02 = inout(ymm_reg) *s02,
            s10 = inout(ymm_reg) *s10,
            s11 = inout(ymm_reg) *s11,
            s12 = inout(ymm_reg) *s12,
            s20 = inout(ymm_reg) *s20,
            s21 = inout(ymm_reg) *s21,
            s22 = inout(ymm_reg) *s22,
            s30 = inout(ymm_reg) *s30,
            s31 = inout(ymm_reg) *s31,
            s32 = inout(ymm_reg) *s32,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::vector;
    use super::*;
    use crate::dispatch::Isa;

    #[test]
    fn a_term_has_the_bits_of_its_twin() {
        if !Isa::available().contains(&Isa::Avx2) {
            return;
        }
        let odd = [0.0, -0.0, f32::MIN_POSITIVE / 4.0, f32::INFINITY, 1e38, -1e38];
        let number = |i: usize| match i % 17 {
            0 => odd[i / 17 % odd.len()],
            _ => (i * 7919 % 2003) as f32 / 1001.5 - 1.0,
        };
        for seed in 0..200 {
            for row in [1, 2, 9] {
                let lanes: [[f32; 8]; 15] =
                    std::array::from_fn(|v| std::array::from_fn(|i| number(seed * 128 + v * 8 + i)));
                let factors: Vec<f32> = (0..3 * row + 1).map(|i| number(seed * 31 + i)).collect();
                // SAFETY: AVX2 is there; arrays of floats and of vectors have the same bits.
                let [got, expected] = unsafe {
                    let vectors: [__m256; 15] = std::mem::transmute(lanes);
                    let [right @ .., _, _, _, _, _, _, _, _, _, _, _, _] = vectors;
                    let [_, _, _, sums @ ..] = vectors;
                    let (mut got, mut expected) = (sums, sums);
                    add_term(&mut got, &right, factors.as_ptr(), row);
                    let (rows, _) = expected.as_chunks_mut::<3>();
                    let rows: &mut [[__m256; 3]; 4] = rows.try_into().unwrap();
                    twin(rows, &right, factors.as_ptr(), row);
                    [got, expected].map(|sums| std::mem::transmute::<[__m256; 12], [u32; 96]>(sums))
                };
                assert_eq!(got, expected);
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn twin(sums: &mut [[__m256; 3]; 4], vectors: &[__m256; 3], factors: *const f32, row: usize) {
        // SAFETY: the caller's.
        unsafe { vector::add_term(sums, vectors, factors, row) }
    }
}
