//! A few floats at a time: the operations the convolution kernels need, per instruction set.
//!
//! Kernels are written once, generic over [`Vector`], `#[inline(always)]`, and instantiated by [`run`] inside a
//! function that has the instruction set's features on, where the compiler inlines the intrinsics.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use super::avx2;
use crate::dispatch::Isa;

/// `LANES` floats. Every method is unsafe for one reason: the machine must have the instruction set.
pub(crate) trait Vector: Copy {
    /// Floats per vector.
    const LANES: usize;
    /// Rows of the matrix kernel's register block: as many as the registers hold beside three columns.
    const ROWS: usize;

    /// # Safety
    /// The instruction set.
    unsafe fn splat(value: f32) -> Self;
    /// # Safety
    /// The instruction set, and `LANES` readable floats at `from`.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count <= LANES` lanes from memory, the rest 0.
    /// # Safety
    /// The instruction set, and `count` readable floats at `from`.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    /// # Safety
    /// The instruction set, and `LANES` writable floats at `to`.
    unsafe fn store(self, to: *mut f32);
    /// The first `count <= LANES` lanes to memory.
    /// # Safety
    /// The instruction set, and `count` writable floats at `to`.
    unsafe fn store_first(self, to: *mut f32, count: usize);
    /// # Safety
    /// The instruction set.
    unsafe fn add(self, other: Self) -> Self;
    /// # Safety
    /// The instruction set.
    unsafe fn sub(self, other: Self) -> Self;
    /// # Safety
    /// The instruction set.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * factor + addend`, fused where the instruction set has it.
    /// # Safety
    /// The instruction set.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// The larger of each lane and 0; NaN stays NaN.
    /// # Safety
    /// The instruction set.
    unsafe fn relu(self) -> Self;

    /// `self * factor + addend` for one factor.
    /// # Safety
    /// The instruction set.
    #[inline(always)]
    unsafe fn scaled_plus(self, factor: f32, addend: Self) -> Self {
        // SAFETY: the caller's.
        unsafe { self.mul_add(Self::splat(factor), addend) }
    }

    /// [`add_term`], where the compiler needs help with it.
    /// # Safety
    /// As for [`add_term`].
    #[inline(always)]
    unsafe fn add_term<const R: usize, const C: usize>(
        sums: &mut [[Self; C]; R],
        vectors: &[Self; C],
        factors: *const f32,
        row: usize,
    ) {
        // SAFETY: the caller's.
        unsafe { add_term(sums, vectors, factors, row) }
    }
}

/// One term of a register block's sums: `sums[r][c] += vectors[c] * factors[r * row]`.
///
/// # Safety
/// The instruction set of `V`, and readable floats at `factors`, `R` of them `row` floats apart.
#[inline(always)]
pub(super) unsafe fn add_term<V: Vector, const R: usize, const C: usize>(
    sums: &mut [[V; C]; R],
    vectors: &[V; C],
    factors: *const f32,
    row: usize,
) {
    for r in 0..R {
        // SAFETY: the caller's.
        unsafe {
            let factor = V::splat(*factors.add(r * row));
            for c in 0..C {
                sums[r][c] = vectors[c].mul_add(factor, sums[r][c]);
            }
        }
    }
}

/// Four floats in plain Rust: what the baseline instruction sets of all 64-bit machines hold in one register.
#[derive(Clone, Copy)]
pub(crate) struct Lanes4([f32; 4]);

impl Lanes4 {
    #[inline(always)]
    fn with(self, other: Self, op: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| op(self.0[i], other.0[i])))
    }
}

// SAFETY of all methods: plain Rust runs everywhere; the pointers are the caller's promise.
impl Vector for Lanes4 {
    const LANES: usize = 4;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: `i < count`.
            *lane = unsafe { *from.add(i) };
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) };
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        for (i, &lane) in self.0.iter().enumerate().take(count) {
            // SAFETY: `i < count`.
            unsafe { *to.add(i) = lane };
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * factor.0[i] + addend.0[i]))
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        Self(self.0.map(|x| if x < 0.0 { 0.0 } else { x }))
    }
}

// SAFETY of all methods: the caller promises AVX2 and FMA, and the pointers.
#[cfg(target_arch = "x86_64")]
impl Vector for __m256 {
    const LANES: usize = 8;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller's; lanes outside the mask are not touched.
        unsafe {
            if count == Self::LANES { Self::load(from) } else { _mm256_maskload_ps(from, first8(count)) }
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { _mm256_storeu_ps(to, self) };
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's; lanes outside the mask are not touched. A masked store is some forty instructions inside
        // AMD's processors, and nearly all vectors are whole.
        unsafe {
            if count == Self::LANES { self.store(to) } else { _mm256_maskstore_ps(to, first8(count), self) }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { _mm256_add_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { _mm256_sub_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { _mm256_mul_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { _mm256_fmadd_ps(self, factor, addend) }
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        // SAFETY: the instruction set, promised by the caller. Of a NaN and a number the second is taken.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), self) }
    }
    #[inline(always)]
    unsafe fn add_term<const R: usize, const C: usize>(
        sums: &mut [[Self; C]; R],
        vectors: &[Self; C],
        factors: *const f32,
        row: usize,
    ) {
        // SAFETY: the caller's; 12 sums of 3 columns have 4 rows.
        unsafe {
            match (sums.as_flattened_mut().try_into(), vectors.as_slice().try_into()) {
                (Ok(sums), Ok(vectors)) => avx2::add_term(sums, vectors, factors, row),
                _ => add_term(sums, vectors, factors, row),
            }
        }
    }
}

/// The mask whose first `count` of 8 lanes are on.
///
/// # Safety
/// AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn first8(count: usize) -> __m256i {
    // SAFETY: AVX2, promised by the caller.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

// SAFETY of all methods: the caller promises AVX-512, and the pointers.
#[cfg(target_arch = "x86_64")]
impl Vector for __m512 {
    const LANES: usize = 16;
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller's; lanes outside the mask are not touched.
        unsafe { _mm512_maskz_loadu_ps(first16(count), from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_ps(to, self) };
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's; lanes outside the mask are not touched.
        unsafe { _mm512_mask_storeu_ps(to, first16(count), self) };
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { _mm512_add_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { _mm512_sub_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { _mm512_mul_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { _mm512_fmadd_ps(self, factor, addend) }
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        // SAFETY: the instruction set, promised by the caller. Of a NaN and a number the second is taken.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), self) }
    }
}

/// The mask whose first `count <= 16` lanes are on.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn first16(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

/// A kernel: work written once for all vectors.
pub(crate) trait Kernel {
    /// Does the work. Implementations are `#[inline(always)]`, so that they are compiled with the caller's features.
    ///
    /// # Safety
    /// The machine must have the instruction set of `V`.
    unsafe fn call<V: Vector>(self);
}

/// Runs `kernel` compiled for `isa`.
///
/// # Panics
/// If this machine does not have `isa`'s instructions.
pub(crate) fn run(isa: Isa, kernel: impl Kernel) {
    assert!(isa.is_here(), "no {} here", isa.name());
    match isa {
        // SAFETY: plain Rust.
        Isa::Portable => unsafe { kernel.call::<Lanes4>() },
        // SAFETY: checked just above.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => unsafe { run_neon(kernel) },
        // SAFETY: checked just above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { run_avx2(kernel) },
        // SAFETY: checked just above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { run_avx512(kernel) },
    }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn run_neon(kernel: impl Kernel) {
    // SAFETY: this function's own features.
    unsafe { kernel.call::<std::arch::aarch64::float32x4_t>() };
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2(kernel: impl Kernel) {
    // SAFETY: this function's own features.
    unsafe { kernel.call::<__m256>() };
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn run_avx512(kernel: impl Kernel) {
    // SAFETY: this function's own features.
    unsafe { kernel.call::<__m512>() };
}

/// Floats per vector of `isa`: packed matrices have their columns padded to a multiple of this.
pub(crate) fn lanes(isa: Isa) -> usize {
    match isa {
        Isa::Portable => Lanes4::LANES,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => 4,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => 8,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => 16,
    }
}
