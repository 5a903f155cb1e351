// Distances between the two images of a pair, and their gradients by the first. A block has one image; sums are in
// double precision.
#include "device.h"

#define L1 0
#define L2 1
#define SQUARED_L2 2
#define L_INFINITY 3
#define PSEUDO_HUBER 4

// Added to the length of a feature vector before dividing by it, as LPIPS does.
#define LENGTH_EPS 1e-10

DEV float difference(const real* x, const real* y, int64_t i) { return load(x + i) - load(y + i); }

// The larger, and what is no number.
DEV float larger(float a, float b) { return b > a || b != b ? b : a; }

// The distance of one image, the same in each thread.
DEV double image_distance(const real* x, const real* y, int64_t dim, int kind, float c, double* scratch) {
  double sum = 0.0;
  float most = 0.0f;
  for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) {
    float d = difference(x, y, i);
    if (kind == L_INFINITY) most = larger(most, fabsf(d));
    else sum += kind == L1 ? fabs((double)d) : (double)d * d;
  }
  if (kind == L_INFINITY) {
    for (int mask = 16; mask; mask /= 2) {
      float other = lane_xor(most, mask);
      most = larger(most, other);
    }
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = most;
    block_barrier();
    most = 0.0f;
    for (int warp = 0; warp < (int)blockDim.x / 32; warp++) most = larger(most, (float)scratch[warp]);
    block_barrier();
    return most;
  }
  sum = block_sum(sum, scratch);
  if (kind == PSEUDO_HUBER) return sqrt(sum + (double)c * c) - c;
  return kind == L2 ? sqrt(sum / dim) : sum / dim;
}

KERNEL(256, distance)(const real* __restrict__ x, const real* __restrict__ y, float* __restrict__ out, int64_t dim, int kind,
                      float c) {
  SHARED(double, scratch, [32]);
  int64_t base = blockIdx.x * dim;
  double d = image_distance(x + base, y + base, dim, kind, c, scratch);
  if (threadIdx.x == 0) out[blockIdx.x] = (float)d;
}

KERNEL(256, distance_backward)(const real* __restrict__ x, const real* __restrict__ y, const float* __restrict__ grad_out,
                               real* __restrict__ grad_x, int64_t dim, int kind, float c) {
  SHARED(double, scratch, [32]);
  SHARED(int, firsts, [32]);
  int64_t base = blockIdx.x * dim;
  const real *px = x + base, *py = y + base;
  real* out = grad_x + base;
  double scale = grad_out[blockIdx.x];
  double whole = image_distance(px, py, dim, kind, c, scratch);
  if (kind == L_INFINITY) {
    // The first of the largest has the gradient alone.
    int first = 0x7fffffff;
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) {
      bool hit = whole > 0.0 && fabsf(difference(px, py, i)) == (float)whole;
      if (hit && (int)i < first) first = (int)i;
      store(out + i, 0.0f);
    }
    for (int mask = 16; mask; mask /= 2) {
      int other = lane_xor(first, mask);
      first = other < first ? other : first;
    }
    if (threadIdx.x % 32 == 0) firsts[threadIdx.x / 32] = first;
    block_barrier();
    if (threadIdx.x == 0) {
      for (int warp = 0; warp < (int)blockDim.x / 32; warp++) first = firsts[warp] < first ? firsts[warp] : first;
      if (first < dim) store(out + first, difference(px, py, first) > 0.0f ? (float)scale : -(float)scale);
    }
    return;
  }
  double factor = scale / dim;
  if (kind == SQUARED_L2) factor = 2.0 * scale / dim;
  if (kind == L2) factor = whole == 0.0 ? 0.0 : scale / (dim * whole);
  if (kind == PSEUDO_HUBER) factor = scale / (whole + c);
  for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) {
    float d = difference(px, py, i);
    if (kind == L1) d = d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : d;
    store(out + i, (float)factor * d);
  }
}

// The lengths of one pixel's features in both images, the same in each lane of a warp.
struct Lengths {
  double x, y;
};
DEV Lengths lengths(const real* x, const real* y, int channels) {
  Lengths sum = {0.0, 0.0};
  for (int c = threadIdx.x % 32; c < channels; c += 32) {
    double a = load(x + c), b = load(y + c);
    sum.x += a * a;
    sum.y += b * b;
  }
  return {sqrt(warp_sum(sum.x)) + LENGTH_EPS, sqrt(warp_sum(sum.y)) + LENGTH_EPS};
}

// LPIPS's distance of one layer: features brought to unit length, weighted squared differences, the mean over pixels.
// A warp has a pixel at a time.
KERNEL(256, feature_distance)(const real* __restrict__ x, const real* __restrict__ y, const float* __restrict__ weights,
                              float* __restrict__ out, int pixels, int channels) {
  SHARED(double, scratch, [32]);
  double sum = 0.0;
  for (int p = threadIdx.x / 32; p < pixels; p += blockDim.x / 32) {
    int64_t at = ((int64_t)blockIdx.x * pixels + p) * channels;
    Lengths n = lengths(x + at, y + at, channels);
    for (int c = threadIdx.x % 32; c < channels; c += 32) {
      double d = load(x + at + c) / n.x - load(y + at + c) / n.y;
      sum += weights[c] * d * d;
    }
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) out[blockIdx.x] = (float)(sum / pixels);
}

KERNEL(256, feature_distance_backward)(const real* __restrict__ x, const real* __restrict__ y,
                                       const float* __restrict__ weights, const float* __restrict__ grad_out,
                                       real* __restrict__ grad_x, int pixels, int channels) {
  double scale = 2.0 * grad_out[blockIdx.x] / pixels;
  for (int p = threadIdx.x / 32; p < pixels; p += blockDim.x / 32) {
    int64_t at = ((int64_t)blockIdx.x * pixels + p) * channels;
    Lengths n = lengths(x + at, y + at, channels);
    double along = 0.0;
    for (int c = threadIdx.x % 32; c < channels; c += 32) {
      double a = load(x + at + c), d = weights[c] * (a / n.x - load(y + at + c) / n.y);
      along += d * a / n.x;
    }
    along = warp_sum(along);
    double bare = n.x - LENGTH_EPS > 2.2250738585072014e-308 ? n.x - LENGTH_EPS : 2.2250738585072014e-308;
    for (int c = threadIdx.x % 32; c < channels; c += 32) {
      double a = load(x + at + c), d = weights[c] * (a / n.x - load(y + at + c) / n.y);
      store(grad_x + at + c, (float)(scale * (d - along * a / bare) / n.x));
    }
  }
}
