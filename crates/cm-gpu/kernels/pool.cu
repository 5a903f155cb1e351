// Max and average pooling over square windows, and the mean over an image, NHWC. Backward passes gather: each input
// looks for the windows it is in.
#include "device.h"

struct Span {
  int from, to;
};
// The inputs of window `o`.
DEV Span window(int o, int size, int kernel, int stride, int padding) {
  int from = o * stride - padding, to = from + kernel;
  return {from > 0 ? from : 0, to < size ? to : size};
}
// The windows that input `i` is in.
DEV Span windows_of(int i, int windows, int kernel, int stride, int padding) {
  int first = i + padding - kernel + 1, last = (i + padding) / stride + 1;
  return {first > 0 ? (first + stride - 1) / stride : 0, last < windows ? last : windows};
}

// What is no number wins and stays; winners are pixels y width + x, the first of equals.
KERNEL(256, max_pool)(const real* __restrict__ x, real* __restrict__ out, uint32_t* __restrict__ winners, int64_t n,
                      int height, int width, int out_height, int out_width, int channels, int kernel, int stride,
                      int padding) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int c = (int)(i % channels), ox = (int)(i / channels % out_width), oy = (int)(i / channels / out_width % out_height);
  const real* image = x + i / channels / out_width / out_height * height * width * channels + c;
  Span rows = window(oy, height, kernel, stride, padding), columns = window(ox, width, kernel, stride, padding);
  int winner = rows.from * width + columns.from;
  float best = load(image + (int64_t)winner * channels);
  for (int y = rows.from; y < rows.to; y++)
    for (int q = columns.from; q < columns.to; q++) {
      float v = load(image + (int64_t)(y * width + q) * channels);
      if (v > best || v != v) {
        best = v;
        winner = y * width + q;
      }
    }
  store(out + i, best);
  winners[i] = (uint32_t)winner;
}

KERNEL(256, max_pool_backward)(const uint32_t* __restrict__ winners, const real* __restrict__ grad_out,
                               real* __restrict__ grad_x, int64_t n, int height, int width, int out_height, int out_width,
                               int channels, int kernel, int stride, int padding) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int c = (int)(i % channels), px = (int)(i / channels % width), py = (int)(i / channels / width % height);
  int64_t image = i / channels / width / height * out_height * out_width;
  Span rows = windows_of(py, out_height, kernel, stride, padding), columns = windows_of(px, out_width, kernel, stride, padding);
  float sum = 0.0f;
  for (int oy = rows.from; oy < rows.to; oy++)
    for (int ox = columns.from; ox < columns.to; ox++) {
      int64_t at = (image + oy * out_width + ox) * channels + c;
      if (winners[at] == (uint32_t)(py * width + px)) sum += load(grad_out + at);
    }
  store(grad_x + i, sum);
}

// The mean of each window, padding counted as zeros, or of its part in the image if `inside`.
KERNEL(256, average_pool)(const real* __restrict__ x, real* __restrict__ out, int64_t n, int height, int width,
                          int out_height, int out_width, int channels, int kernel, int stride, int padding, int inside) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int c = (int)(i % channels), ox = (int)(i / channels % out_width), oy = (int)(i / channels / out_width % out_height);
  const real* image = x + i / channels / out_width / out_height * height * width * channels + c;
  Span rows = window(oy, height, kernel, stride, padding), columns = window(ox, width, kernel, stride, padding);
  float sum = 0.0f;
  for (int y = rows.from; y < rows.to; y++)
    for (int q = columns.from; q < columns.to; q++) sum += load(image + (int64_t)(y * width + q) * channels);
  int count = inside ? (rows.to - rows.from) * (columns.to - columns.from) : kernel * kernel;
  store(out + i, sum / count);
}

KERNEL(256, average_pool_backward)(const real* __restrict__ grad_out, real* __restrict__ grad_x, int64_t n, int height,
                                   int width, int out_height, int out_width, int channels, int kernel, int stride,
                                   int padding) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int c = (int)(i % channels), px = (int)(i / channels % width), py = (int)(i / channels / width % height);
  int64_t image = i / channels / width / height * out_height * out_width;
  Span rows = windows_of(py, out_height, kernel, stride, padding), columns = windows_of(px, out_width, kernel, stride, padding);
  float sum = 0.0f;
  for (int oy = rows.from; oy < rows.to; oy++)
    for (int ox = columns.from; ox < columns.to; ox++) sum += load(grad_out + (image + oy * out_width + ox) * channels + c);
  store(grad_x + i, sum / (kernel * kernel));
}

// The mean over an image's pixels. A block has 32 channels of one image; its 8 warps share the pixels.
KERNEL(256, global_average)(const real* __restrict__ x, real* __restrict__ out, int pixels, int channels) {
  SHARED(float, part, [8][32]);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.x * 32 + lane;
  float sum = 0.0f;
  if (c < channels) {
    const real* image = x + (int64_t)blockIdx.y * pixels * channels + c;
    for (int p = warp; p < pixels; p += 8) sum += load(image + (int64_t)p * channels);
  }
  part[warp][lane] = sum;
  block_barrier();
  if (warp == 0 && c < channels) {
    sum = 0.0f;
    for (int w = 0; w < 8; w++) sum += part[w][lane];
    store(out + (int64_t)blockIdx.y * channels + c, sum / pixels);
  }
}

KERNEL(256, global_average_backward)(const real* __restrict__ grad_out, real* __restrict__ grad_x, int64_t n, int pixels,
                                     int channels) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  store(grad_x + i, load(grad_out + i / channels / pixels * channels + i % channels) / pixels);
}
