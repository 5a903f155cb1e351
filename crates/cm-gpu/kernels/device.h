// What the kernels are written in: one source for two compilers, NVRTC for the GPU and the host's C++ compiler, under
// which tests run the threads of a block as fibers (standin/).
//
// A file of kernels is compiled once for each storage type it is wanted in: the macro STORAGE_BF16, or nothing for f32.
// `real` is that type, and KERNEL puts its name behind the kernel's. KERNEL also says of how many threads a block is; the
// program reads it, and the parameters' types, from the source.
#pragma once

#ifdef STORAGE_BF16
#define SUFFIX _bf16
typedef unsigned short real;
#elif defined(PRODUCT_TF32)
#define SUFFIX _tf32
typedef float real;
#else
#define SUFFIX _f32
typedef float real;
#endif
#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)

#ifdef __CUDACC__
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;
// Blocks that a multiprocessor shall have room for: what limits the registers of a thread.
#ifndef BLOCKS
#define BLOCKS 1
#endif
#define KERNEL(threads, name) extern "C" __global__ __launch_bounds__(threads, BLOCKS) void JOINED(name, SUFFIX)
#define DEV static __device__ __forceinline__
#define DEV_METHOD __device__ __forceinline__
// An array in shared memory, unwritten.
#define SHARED(type, name, extent) __shared__ type name extent
// The shared memory whose size is given at the launch, aligned to 128 bytes.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

DEV uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }
// 16 bytes to shared memory, zeros if not `valid`; they are there after the wait for their group, and not before.
DEV void copy_async16(void* to, const void* from, bool valid) {
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes));
}
DEV void copy_async_commit() { asm volatile("cp.async.commit_group;"); }
template <int LEFT> DEV void copy_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT)); }
// Four 8x8 matrices of 16-bit values; lane l gives the address of row l % 8 of matrix l / 8.
DEV void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}
DEV void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}
// d += a b: 16x16 times 16x8 of bf16 with f32 sums.
DEV void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// d += a b: 16x8 times 8x8 of tf32 with f32 sums.
DEV void multiply_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The nearest tf32, ties away from zero, as the bits of an f32.
DEV uint32_t rounded_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}
DEV void block_barrier() { __syncthreads(); }
DEV void warp_barrier() { __syncwarp(); }
DEV float lane_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEV double lane_xor(double v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEV int lane_xor(int v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEV float bits_as_float(uint32_t u) { return __uint_as_float(u); }
DEV uint32_t float_as_bits(float f) { return __float_as_uint(f); }
// Rounded to nearest and never fused with what stands beside it.
DEV float add_rounded(float a, float b) { return __fadd_rn(a, b); }
DEV float mul_rounded(float a, float b) { return __fmul_rn(a, b); }
DEV float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
#else
#include "shim.h"
#endif

DEV float from_bf16(uint16_t b) { return bits_as_float((uint32_t)b << 16); }
// Rounded to nearest, ties to even; a NaN stays one.
DEV uint16_t to_bf16(float f) {
  uint32_t u = float_as_bits(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
  return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

DEV float load(const float* p) { return *p; }
DEV float load(const uint16_t* p) { return from_bf16(*p); }
DEV void store(float* p, float v) { *p = v; }
DEV void store(uint16_t* p, float v) { *p = to_bf16(v); }

// Four neighbours at once.
struct Four {
  float at[4];
};
struct alignas(16) Bits4 {
  uint32_t word[4];
};
struct alignas(8) Bits2 {
  uint32_t word[2];
};
DEV Four load4(const float* p) {
  Bits4 b = *(const Bits4*)p;
  return {{bits_as_float(b.word[0]), bits_as_float(b.word[1]), bits_as_float(b.word[2]), bits_as_float(b.word[3])}};
}
DEV Four load4(const uint16_t* p) {
  Bits2 b = *(const Bits2*)p;
  return {{bits_as_float(b.word[0] << 16), bits_as_float(b.word[0] & 0xffff0000u), bits_as_float(b.word[1] << 16),
           bits_as_float(b.word[1] & 0xffff0000u)}};
}
DEV void store4(float* p, const Four& v) {
  *(Bits4*)p = {{float_as_bits(v.at[0]), float_as_bits(v.at[1]), float_as_bits(v.at[2]), float_as_bits(v.at[3])}};
}
DEV void store4(uint16_t* p, const Four& v) {
  *(Bits2*)p = {{to_bf16(v.at[0]) | (uint32_t)to_bf16(v.at[1]) << 16, to_bf16(v.at[2]) | (uint32_t)to_bf16(v.at[3]) << 16}};
}

// Has the first `count` of 16 bytes' values brought to shared memory, zeros for the rest: asynchronously if `whole`, that
// is if count is all of them or none, and everything is aligned. `anywhere`: memory that may be named where none is read.
DEV void copy_piece(real* to, const real* from, int count, bool whole, const real* anywhere) {
  const int piece = 16 / (int)sizeof(real);
  if (whole) {
    copy_async16(to, count > 0 ? from : anywhere, count > 0);
  } else {
    for (int i = 0; i < piece; i++) {
      if (i < count) to[i] = from[i];
      else to[i] = 0;
    }
  }
}

// The sum over a warp, the same in each lane.
template <class T> DEV T warp_sum(T v) {
  for (int mask = 16; mask; mask /= 2) v += lane_xor(v, mask);
  return v;
}

// The sum over a block of whole warps, the same in each thread, in an order that depends on the block's size only.
// `scratch`: 32 values in shared memory, free again after the call.
template <class T> DEV T block_sum(T v, T* scratch) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  v = warp_sum(v);
  if (lane == 0) scratch[warp] = v;
  block_barrier();
  v = warp_sum(lane < (int)blockDim.x / 32 ? scratch[lane] : T(0));
  block_barrier();
  return v;
}

// 1 / (1 + e^-x).
DEV float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Calls `work(from, whole)` with whole = true for each four neighbours of `n` values and with false for each value of
// the rest; a thread of the grid takes one group.
template <class F> DEV void each_four(int64_t n, F work) {
  int64_t from = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (from + 4 <= n) {
    work(from, true);
  } else {
    for (int64_t i = from; i < n; i++) work(i, false);
  }
}

// out = f(x) for n values.
template <class O, class X, class F> DEV void map(int64_t n, O* out, const X* x, F f) {
  each_four(n, [&](int64_t i, bool whole) {
    if (whole) {
      Four v = load4(x + i);
      for (int j = 0; j < 4; j++) v.at[j] = f(v.at[j]);
      store4(out + i, v);
    } else {
      store(out + i, f(load(x + i)));
    }
  });
}

// out = f(x, y) for n values.
template <class O, class X, class Y, class F> DEV void map(int64_t n, O* out, const X* x, const Y* y, F f) {
  each_four(n, [&](int64_t i, bool whole) {
    if (whole) {
      Four v = load4(x + i), w = load4(y + i);
      for (int j = 0; j < 4; j++) v.at[j] = f(v.at[j], w.at[j]);
      store4(out + i, v);
    } else {
      store(out + i, f(load(x + i), load(y + i)));
    }
  });
}
