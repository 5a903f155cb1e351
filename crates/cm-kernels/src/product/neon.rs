//! Vectors of NEON, which every 64-bit ARM processor has.
//!
//! A product has the bits that it has with AVX2 and AVX-512: its sums are chains of the same fused multiply-adds.

use std::arch::aarch64::*;

use super::vector::Vector;

// SAFETY of all methods: the caller promises NEON, and the pointers.
impl Vector for float32x4_t {
    const LANES: usize = 4;
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        // SAFETY: the caller's; `count` is at most 4.
        unsafe {
            if count == Self::LANES {
                return Self::load(from);
            }
            for (i, lane) in lanes.iter_mut().enumerate().take(count) {
                *lane = *from.add(i);
            }
            Self::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { vst1q_f32(to, self) };
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        let mut lanes = [0.0; 4];
        // SAFETY: the caller's; `count` is at most 4.
        unsafe {
            if count == Self::LANES {
                return self.store(to);
            }
            self.store(lanes.as_mut_ptr());
            for (i, &lane) in lanes.iter().enumerate().take(count) {
                *to.add(i) = lane;
            }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { vaddq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { vsubq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { vmulq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { vfmaq_f32(addend, self, factor) }
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { vbslq_f32(vcltzq_f32(self), vdupq_n_f32(0.0), self) }
    }
}
