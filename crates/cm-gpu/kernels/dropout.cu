// Dropout whose mask is a function of a key: the CPU's, to the bit. See cm-kernels' dropout for the law.
#include "device.h"

// What is left of the nearest whole number. Written with wrappers so that no compiler fuses what the CPU rounds.
DEV float left_over(float x) {
  const float rounding = 12582912.0f;
  return add_rounded(x, -add_rounded(add_rounded(x, rounding), -rounding));
}

// keys: five for each chunk of 4096 x 4096 elements.
KERNEL(256, dropout)(const real* __restrict__ x, real* __restrict__ out, const float* __restrict__ keys, int64_t n, float p) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float* key = keys + (i >> 24) * 5;
  float a = add_rounded((float)(int)((i >> 12) & 4095) / 4096.0f, -0.5f);
  float b = add_rounded((float)(int)(i & 4095) / 4096.0f, -0.5f);
  for (int round = 0; round < 5; round++) {
    float sum = add_rounded(b, key[round]);
    float next = left_over(add_rounded(a, left_over(mul_rounded(mul_rounded(sum, sum), 1021.0f))));
    a = b;
    b = next;
  }
  float scale = 1.0f / add_rounded(1.0f, -p);
  store(out + i, b >= add_rounded(p, -0.5f) ? mul_rounded(load(x + i), scale) : 0.0f);
}
