// Group normalisation with its affine map, optional modulation by image (FiLM) and optional SiLU:
// y = act(((x - mean) rstd gamma + beta) (1 + scale) + shift), NHWC. A block has one group of one image.
#include "device.h"

// Where a group's values lie: `per` neighbours in each pixel.
struct Group {
  int64_t base;
  int count, per, channels, first, image;
  DEV_METHOD int64_t at(int i) const { return base + (int64_t)(i / per) * channels + i % per; }
  DEV_METHOD int channel(int i) const { return first + i % per; }
};

DEV Group group_of(int pixels, int channels, int groups) {
  Group g;
  g.per = channels / groups;
  g.image = blockIdx.y;
  g.first = blockIdx.x * g.per;
  g.base = (int64_t)g.image * pixels * channels + g.first;
  g.count = pixels * g.per;
  g.channels = channels;
  return g;
}

// The gain and the offset of a channel of an image, gamma and beta with the modulation.
struct Affine {
  float gain, offset;
};
DEV Affine affine_of(const float* gamma, const float* beta, const float* scale, const float* shift, int image, int c,
                     int channels) {
  Affine a = {gamma[c], beta[c]};
  if (scale) {
    float factor = 1.0f + scale[(int64_t)image * channels + c];
    a.gain *= factor;
    a.offset = a.offset * factor + shift[(int64_t)image * channels + c];
  }
  return a;
}

DEV float silu_slope(float v) { return sigmoid(v) * (1.0f + v * sigmoid(-v)); }

// stats: mean and rstd of each group of each image.
KERNEL(256, group_norm)(const real* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
                        const float* __restrict__ scale, const float* __restrict__ shift, real* __restrict__ out,
                        float* __restrict__ stats, int pixels, int channels, int groups, float eps, int silu) {
  SHARED(float, scratch, [32]);
  Group g = group_of(pixels, channels, groups);
  float sum = 0.0f;
  for (int i = threadIdx.x; i < g.count; i += blockDim.x) sum += load(x + g.at(i));
  float mean = block_sum(sum, scratch) / g.count;
  // The second pass reads from the cache, and is exact where the mean is large.
  float square = 0.0f;
  for (int i = threadIdx.x; i < g.count; i += blockDim.x) {
    float d = load(x + g.at(i)) - mean;
    square += d * d;
  }
  float rstd = 1.0f / sqrtf(block_sum(square, scratch) / g.count + eps);
  if (threadIdx.x == 0) {
    stats[2 * (g.image * groups + blockIdx.x)] = mean;
    stats[2 * (g.image * groups + blockIdx.x) + 1] = rstd;
  }
  for (int i = threadIdx.x; i < g.count; i += blockDim.x) {
    Affine a = affine_of(gamma, beta, scale, shift, g.image, g.channel(i), channels);
    float v = (load(x + g.at(i)) - mean) * rstd * a.gain + a.offset;
    store(out + g.at(i), silu ? v * sigmoid(v) : v);
  }
}

// sums: for each image and channel, the sum over its pixels of the gradient before the activation, and of it times the
// normalised input. A block has 32 channels; its 8 warps share the pixels.
KERNEL(256, group_norm_sums)(const real* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
                             const float* __restrict__ scale, const float* __restrict__ shift,
                             const float* __restrict__ stats, const real* __restrict__ grad_out, float* __restrict__ sums,
                             int pixels, int channels, int groups, int silu) {
  SHARED(float, part, [2][8][32]);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.x * 32 + lane, image = blockIdx.y;
  float plain = 0.0f, times = 0.0f;
  if (c < channels) {
    int group = c / (channels / groups);
    float mean = stats[2 * (image * groups + group)], rstd = stats[2 * (image * groups + group) + 1];
    Affine a = affine_of(gamma, beta, scale, shift, image, c, channels);
    int64_t base = (int64_t)image * pixels * channels + c;
    for (int p = warp; p < pixels; p += 8) {
      int64_t at = base + (int64_t)p * channels;
      float normal = (load(x + at) - mean) * rstd, g = load(grad_out + at);
      if (silu) g *= silu_slope(normal * a.gain + a.offset);
      plain += g;
      times += g * normal;
    }
  }
  part[0][warp][lane] = plain;
  part[1][warp][lane] = times;
  block_barrier();
  if (warp < 2 && c < channels) {
    float sum = 0.0f;
    for (int w = 0; w < 8; w++) sum += part[warp][w][lane];
    sums[2 * ((int64_t)image * channels + c) + warp] = sum;
  }
}

// grad_x from the sums: rstd (d - mean(d) - normal mean(d normal)), where d is the gradient by the normalised value.
KERNEL(256, group_norm_backward)(const real* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
                                 const float* __restrict__ scale, const float* __restrict__ shift,
                                 const float* __restrict__ stats, const real* __restrict__ grad_out,
                                 const float* __restrict__ sums, real* __restrict__ grad_x, int pixels, int channels,
                                 int groups, int silu) {
  SHARED(float, scratch, [32]);
  Group g = group_of(pixels, channels, groups);
  float mean = stats[2 * (g.image * groups + blockIdx.x)], rstd = stats[2 * (g.image * groups + blockIdx.x) + 1];
  float plain = 0.0f, times = 0.0f;
  for (int i = threadIdx.x; i < g.per; i += blockDim.x) {
    int c = g.first + i;
    float gain = affine_of(gamma, beta, scale, shift, g.image, c, channels).gain;
    plain += gain * sums[2 * ((int64_t)g.image * channels + c)];
    times += gain * sums[2 * ((int64_t)g.image * channels + c) + 1];
  }
  plain = block_sum(plain, scratch) / g.count;
  times = block_sum(times, scratch) / g.count;
  for (int i = threadIdx.x; i < g.count; i += blockDim.x) {
    Affine a = affine_of(gamma, beta, scale, shift, g.image, g.channel(i), channels);
    float normal = (load(x + g.at(i)) - mean) * rstd, d = load(grad_out + g.at(i));
    if (silu) d *= silu_slope(normal * a.gain + a.offset);
    store(grad_x + g.at(i), rstd * (d * a.gain - plain - normal * times));
  }
}

// Gradients by gamma and beta, and by the modulation if wanted, from the sums. A thread has a channel.
KERNEL(128, group_norm_parameters)(const float* __restrict__ sums, const float* __restrict__ gamma,
                                   const float* __restrict__ beta, const float* __restrict__ scale,
                                   float* __restrict__ grad_gamma, float* __restrict__ grad_beta,
                                   float* __restrict__ grad_scale, float* __restrict__ grad_shift, int batch, int channels) {
  int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  float by_gamma = 0.0f, by_beta = 0.0f;
  for (int n = 0; n < batch; n++) {
    int64_t at = (int64_t)n * channels + c;
    float plain = sums[2 * at], times = sums[2 * at + 1], gain = scale ? 1.0f + scale[at] : 1.0f;
    by_beta += gain * plain;
    by_gamma += gain * times;
    if (grad_scale) {
      grad_scale[at] = gamma[c] * times + beta[c] * plain;
      grad_shift[at] = plain;
    }
  }
  grad_gamma[c] = by_gamma;
  grad_beta[c] = by_beta;
}
