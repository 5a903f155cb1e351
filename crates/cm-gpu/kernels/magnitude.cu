// What networks that preserve magnitudes do to pixels (Karras et al. 2024).
#include "device.h"

// Added to a magnitude before it divides (Equation 47).
static const float EPS = 1e-4f;

// Rows of `each` values over their root mean square and EPS more, and what each row was divided by. A warp has a row.
KERNEL(128, pixel_norm)(const real* __restrict__ x, real* __restrict__ out, float* __restrict__ divisors, int rows,
                        int each) {
  int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;
  int64_t first = (int64_t)row * each;
  float sum = 0.0f;
  for (int i = lane; i < each; i += 32) {
    float v = load(x + first + i);
    sum += v * v;
  }
  float by = EPS + sqrtf(warp_sum(sum) / each);
  for (int i = lane; i < each; i += 32) store(out + first + i, load(x + first + i) / by);
  if (lane == 0) divisors[row] = by;
}

// The divisor's own derivative by x is x / (each (by - EPS)).
KERNEL(128, pixel_norm_backward)(const real* __restrict__ x, const float* __restrict__ divisors,
                                 const real* __restrict__ grad_out, real* __restrict__ grad_x, int rows, int each) {
  int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;
  int64_t first = (int64_t)row * each;
  float sum = 0.0f;
  for (int i = lane; i < each; i += 32) sum += load(grad_out + first + i) * load(x + first + i);
  sum = warp_sum(sum);
  float by = divisors[row], norm = (by - EPS) * each;
  float pull = norm > 0.0f ? sum / (by * by * norm) : 0.0f;
  for (int i = lane; i < each; i += 32)
    store(grad_x + first + i, load(grad_out + first + i) / by - pull * load(x + first + i));
}

// out = x (1 + the factor of its image, of `image` values, and channel).
KERNEL(256, modulate)(const real* __restrict__ x, const float* __restrict__ factors, real* __restrict__ out, int64_t n,
                      int64_t image, int channels) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  store(out + i, load(x + i) * (1.0f + factors[i / image * channels + i % channels]));
}

// The gradient by each of the `n` factors: over the pixels of its image, in their order.
KERNEL(256, modulate_backward)(const real* __restrict__ x, const real* __restrict__ grad_out,
                               float* __restrict__ grad_factors, int64_t n, int64_t image, int channels) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int64_t first = i / channels * image;
  float sum = 0.0f;
  for (int64_t at = first + i % channels; at < first + image; at += channels) sum += load(x + at) * load(grad_out + at);
  grad_factors[i] = sum;
}

// NaN stays NaN.
KERNEL(256, clamp)(const real* __restrict__ x, real* __restrict__ out, int64_t n, float limit) {
  map(n, out, x, [=](float x) { return x > limit ? limit : x < -limit ? -limit : x; });
}

KERNEL(256, clamp_backward)(const real* __restrict__ x, const real* __restrict__ grad_out, real* __restrict__ grad_x,
                            int64_t n, float limit) {
  map(n, grad_x, x, grad_out, [=](float x, float g) { return x > limit || x < -limit ? 0.0f : g; });
}
