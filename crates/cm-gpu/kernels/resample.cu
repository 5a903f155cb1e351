// Images brought to another size by a linear map along each axis: sparse matrices, for each output its inputs with their
// weights. Backward passes are the same with the maps transposed.
#include "device.h"

// starts: for each output of an axis where its taps begin, and where the last end; inputs and weights: the taps.
KERNEL(256, resample)(const real* __restrict__ x, real* __restrict__ out, const uint32_t* __restrict__ row_starts,
                      const uint32_t* __restrict__ row_inputs, const float* __restrict__ row_weights,
                      const uint32_t* __restrict__ column_starts, const uint32_t* __restrict__ column_inputs,
                      const float* __restrict__ column_weights, int64_t n, int height, int width, int out_height,
                      int out_width, int channels) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int c = (int)(i % channels), ox = (int)(i / channels % out_width), oy = (int)(i / channels / out_width % out_height);
  const real* image = x + i / channels / out_width / out_height * height * width * channels + c;
  float sum = 0.0f;
  for (uint32_t r = row_starts[oy]; r < row_starts[oy + 1]; r++) {
    const real* line = image + (int64_t)row_inputs[r] * width * channels;
    float along = 0.0f;
    for (uint32_t q = column_starts[ox]; q < column_starts[ox + 1]; q++)
      along += column_weights[q] * load(line + (int64_t)column_inputs[q] * channels);
    sum += row_weights[r] * along;
  }
  store(out + i, sum);
}
