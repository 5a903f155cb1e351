// One step of the optimiser on all parameters: moments, parameters, averages and the copies in bf16 in one pass.
//
// tensors: for each parameter its addresses (parameter, gradient, first moment, second moment, bf16 copy or 0), its
// length, the bits of the factor that decays it, and the addresses of its averages. blocks: for each block the number of
// its parameter and of its piece of PIECE values.
#include "device.h"

#define PIECE 4096
#define FIXED_WORDS 7

KERNEL(256, update)(const uint64_t* __restrict__ tensors, const uint32_t* __restrict__ blocks,
                    const float* __restrict__ factor, const float* __restrict__ decays, int averages, float beta1, float beta2,
                    float rate, float root_scale, float eps, int adaptive) {
  const uint64_t* tensor = tensors + (int64_t)blocks[2 * blockIdx.x] * (FIXED_WORDS + averages);
  float* parameter = (float*)tensor[0];
  const float* gradient = (const float*)tensor[1];
  float *first = (float*)tensor[2], *second = (float*)tensor[3];
  uint16_t* copy = (uint16_t*)tensor[4];
  int64_t from = (int64_t)blocks[2 * blockIdx.x + 1] * PIECE, len = (int64_t)tensor[5];
  int64_t to = from + PIECE < len ? from + PIECE : len;
  float keep = bits_as_float((uint32_t)tensor[6]), scale = *factor;
  for (int64_t i = from + threadIdx.x; i < to; i += blockDim.x) {
    float g = gradient[i] * scale;
    float m = beta1 * first[i] + (1.0f - beta1) * g, v = beta2 * second[i] + (1.0f - beta2) * (g * g);
    float divisor = adaptive ? sqrtf(v) * root_scale + eps : 1.0f;
    float p = keep * parameter[i] - rate * m / divisor;
    first[i] = m;
    second[i] = v;
    parameter[i] = p;
    if (copy) copy[i] = to_bf16(p);
    for (int a = 0; a < averages; a++) {
      float* average = (float*)tensor[FIXED_WORDS + a];
      // A decay of 0 copies exactly.
      average[i] = decays[a] * average[i] + (1.0f - decays[a]) * p;
    }
  }
}

// The sum of squares of each block's piece of the gradients.
KERNEL(256, gradient_squares)(const uint64_t* __restrict__ tensors, const uint32_t* __restrict__ blocks,
                              float* __restrict__ sums, int averages) {
  SHARED(float, scratch, [32]);
  const uint64_t* tensor = tensors + (int64_t)blocks[2 * blockIdx.x] * (FIXED_WORDS + averages);
  const float* gradient = (const float*)tensor[1];
  int64_t from = (int64_t)blocks[2 * blockIdx.x + 1] * PIECE, len = (int64_t)tensor[5];
  int64_t to = from + PIECE < len ? from + PIECE : len;
  float sum = 0.0f;
  for (int64_t i = from + threadIdx.x; i < to; i += blockDim.x) sum += gradient[i] * gradient[i];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// The root of the sum of `sums`, and what gradients are multiplied by so that it is at most `most`.
KERNEL(256, gradient_norm)(const float* __restrict__ sums, float* __restrict__ norm_out, float* __restrict__ factor,
                           int64_t n, float most) {
  SHARED(double, scratch, [32]);
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += sums[i];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) {
    double norm = sqrt(sum);
    *norm_out = (float)norm;
    *factor = norm > most ? (float)(most / norm) : 1.0f;
  }
}
