// The loss of a classifier. A warp has a row.
#include "device.h"

// losses = -ln of the label's probability; probabilities for the backward pass.
KERNEL(128, cross_entropy)(const real* __restrict__ logits, const uint32_t* __restrict__ labels, float* __restrict__ losses,
                           float* __restrict__ probabilities, int rows, int classes) {
  int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;
  const real* x = logits + (int64_t)row * classes;
  float* out = probabilities + (int64_t)row * classes;
  float most = bits_as_float(0xff800000u);  // less than all
  for (int c = lane; c < classes; c += 32) {
    float v = load(x + c);
    most = v > most || v != v ? v : most;
  }
  for (int mask = 16; mask; mask /= 2) {
    float other = lane_xor(most, mask);
    most = other > most || other != other ? other : most;
  }
  float sum = 0.0f;
  for (int c = lane; c < classes; c += 32) sum += expf(load(x + c) - most);
  sum = warp_sum(sum);
  for (int c = lane; c < classes; c += 32) out[c] = expf(load(x + c) - most) / sum;
  if (lane == 0) losses[row] = logf(sum) - (load(x + labels[row]) - most);
}

KERNEL(256, cross_entropy_backward)(const float* __restrict__ probabilities, const uint32_t* __restrict__ labels,
                                    const float* __restrict__ grad_losses, real* __restrict__ grad_logits, int64_t n,
                                    int classes) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int64_t row = i / classes;
  float chosen = i % classes == labels[row] ? 1.0f : 0.0f;
  store(grad_logits + i, grad_losses[row] * (probabilities[i] - chosen));
}
