// Element-wise non-linearities with their derivatives.
#include "device.h"

KERNEL(256, silu)(const real* __restrict__ x, real* __restrict__ out, int64_t n) {
  map(n, out, x, [](float x) { return x * sigmoid(x); });
}

// grad_x = grad_out s (1 + x (1 - s)) with s = sigmoid(x).
KERNEL(256, silu_backward)(const real* __restrict__ x, const real* __restrict__ grad_out, real* __restrict__ grad_x,
                           int64_t n) {
  map(n, grad_x, x, grad_out, [](float x, float g) {
    float s = sigmoid(x);
    // 1 - s as the sigmoid of -x: exact where s is nearly 1.
    return g * s * (1.0f + x * sigmoid(-x));
  });
}

// NaN stays NaN.
KERNEL(256, relu)(const real* __restrict__ x, real* __restrict__ out, int64_t n) {
  map(n, out, x, [](float x) { return x < 0.0f ? 0.0f : x; });
}

KERNEL(256, relu_backward)(const real* __restrict__ x, const real* __restrict__ grad_out, real* __restrict__ grad_x,
                           int64_t n) {
  map(n, grad_x, x, grad_out, [](float x, float g) { return x > 0.0f ? g : 0.0f; });
}
