// Arithmetic on whole buffers: sums, scalings, scalings by image, joined and split channels, conversions.
#include "device.h"

KERNEL(256, add)(const real* __restrict__ a, const real* __restrict__ b, real* __restrict__ out, int64_t n, float scale) {
  map(n, out, a, b, [=](float a, float b) { return scale * (a + b); });
}

KERNEL(256, scaled)(const real* __restrict__ a, real* __restrict__ out, int64_t n, float scale) {
  map(n, out, a, [=](float a) { return scale * a; });
}

KERNEL(256, product)(const real* __restrict__ a, const real* __restrict__ b, real* __restrict__ out, int64_t n) {
  map(n, out, a, b, [](float a, float b) { return a * b; });
}

// acc += x.
KERNEL(256, add_assign)(real* acc, const real* __restrict__ x, int64_t n) {
  map(n, acc, acc, x, [](float acc, float x) { return acc + x; });
}

// acc += weight (x - acc).
KERNEL(256, interpolate)(real* acc, const real* __restrict__ x, int64_t n, float weight) {
  map(n, acc, acc, x, [=](float acc, float x) { return acc + weight * (x - acc); });
}

// out[i, j] = a[i] x[i, j] + b[i] y[i, j] for rows of `row` values; without y, a[i] x[i, j].
KERNEL(256, rows_scale_add)(const float* __restrict__ a, const real* __restrict__ x, const float* __restrict__ b,
                            const real* __restrict__ y, real* __restrict__ out, int64_t n, int64_t row) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float sum = a[i / row] * load(x + i);
  if (y) sum += b[i / row] * load(y + i);
  store(out + i, sum);
}

// out = a's channels, then b's, for each pixel.
KERNEL(256, concat_channels)(const real* __restrict__ a, const real* __restrict__ b, real* __restrict__ out, int64_t n,
                             int channels_a, int channels_b) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int channels = channels_a + channels_b, c = (int)(i % channels);
  int64_t pixel = i / channels;
  out[i] = c < channels_a ? a[pixel * channels_a + c] : b[pixel * channels_b + c - channels_a];
}

// The `count` channels of `joined` from `first` on.
KERNEL(256, slice_channels)(const real* __restrict__ joined, real* __restrict__ out, int64_t n, int channels, int first,
                            int count) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  out[i] = joined[i / count * channels + first + i % count];
}

// out = scale x + shift, channel by channel; one input channel serves all.
KERNEL(256, affine_channels)(const real* __restrict__ x, const float* __restrict__ scale, const float* __restrict__ shift,
                             real* __restrict__ out, int64_t n, int inputs, int channels) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int c = (int)(i % channels);
  store(out + i, scale[c] * load(x + i / channels * inputs + (inputs == 1 ? 0 : c)) + shift[c]);
}

KERNEL(256, affine_channels_backward)(const real* __restrict__ grad_out, const float* __restrict__ scale,
                                      real* __restrict__ grad_x, int64_t n, int inputs, int channels) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float sum = 0.0f;
  if (inputs == 1) {
    for (int c = 0; c < channels; c++) sum += scale[c] * load(grad_out + i * channels + c);
  } else {
    sum = scale[i % channels] * load(grad_out + i);
  }
  store(grad_x + i, sum);
}

// Single precision from this file's type, and back.
KERNEL(256, widened)(const real* __restrict__ x, float* __restrict__ out, int64_t n) {
  map(n, out, x, [](float x) { return x; });
}

KERNEL(256, narrowed)(const float* __restrict__ x, real* __restrict__ out, int64_t n) {
  map(n, out, x, [](float x) { return x; });
}

// The sum of `count` parts of n values as a balanced binary tree over the parts; `count` is a power of two, at most 64.
KERNEL(256, balanced_sum)(const float* __restrict__ parts, float* __restrict__ out, int64_t n, int count) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float branches[7];
#pragma unroll 1
  for (int part = 0; part < count; part++) {
    float sum = parts[part * n + i];
#pragma unroll
    for (int level = 0; level < 7; level++) {
      if (!(part >> level & 1)) {
        branches[level] = sum;
        break;
      }
      sum = add_rounded(branches[level], sum);
    }
    if (part == count - 1) out[i] = sum;
  }
}
