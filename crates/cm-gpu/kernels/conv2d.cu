// Convolutions of any window, stride and padding, NHWC with weights [rows][columns][in][out], and with them matrix
// products, which are convolutions 1x1 of images of one pixel: forward, by the input, by the weight.
//
// Each is a product of two matrices that are never formed: a block has 128 x 128 of its outputs and walks along the
// summed index in steps of DEPTH, with the next tiles on their way to shared memory by asynchronous copies. Files
// compiled for tf32 and bf16 multiply by tensor cores, in f32 by fused multiplication and addition. The order of every sum
// depends on sizes alone.
#if defined(STORAGE_BF16) || defined(PRODUCT_TF32)
#define BLOCKS 2
#endif
#include "device.h"

#define TILE 128
#define STAGES 4
#ifdef STORAGE_BF16
#define DEPTH 32
#define PIECE 8
#else
#define DEPTH 16
#define PIECE 4
#endif
// A tile whose rows run along the summed index, [TILE][DEPTH], or across it, [DEPTH][TILE]; padded so that neither
// copies nor loads of fragments meet in a bank.
#define ALONG (DEPTH + PIECE)
#define ACROSS (TILE + 8)
#define STAGE_OF(along) ((along) ? TILE * ALONG : DEPTH * ACROSS)

// The outputs of a thread.
struct Sums {
  float at[64];
};

struct Place {
  int row, column;
};

// Where in its block's tile the i-th output of this thread lies; `b_along` as in `multiply_tiles`.
template <bool B_ALONG> DEV Place place(int i) {
#if defined(STORAGE_BF16) || defined(PRODUCT_TF32)
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  return {warp / 4 * 64 + i / 16 * 16 + lane / 4 + i % 4 / 2 * 8, warp % 4 * 32 + i / 4 % 4 * 8 + lane % 4 * 2 + i % 2};
#else
  int x = threadIdx.x % 16, y = threadIdx.x / 16, j = i % 8;
  return {y + i / 8 * 16, B_ALONG ? x + j * 16 : x * 4 + j / 4 * 64 + j % 4};
#endif
}

// Of a tile: which row and which piece of PIECE values the i-th copy of this thread brings.
DEV Place piece_along(int i) { return {(int)threadIdx.x / 4 + 64 * i, (int)threadIdx.x % 4 * PIECE}; }
DEV Place piece_across(int i) {
  const int pieces = TILE / PIECE;
  return {(int)threadIdx.x / pieces + 256 / pieces * i, (int)threadIdx.x % pieces * PIECE};
}

#if defined(STORAGE_BF16)
// sums += a b for one step, by tensor cores.
template <bool A_ALONG, bool B_ALONG> DEV void multiply_step(Sums& sums, const real* a, const real* b) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, rows = warp / 4 * 64, columns = warp % 4 * 32;
#pragma unroll
  for (int k = 0; k < DEPTH; k += 16) {
    uint32_t fa[4][4], fb[2][4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (A_ALONG) load_matrices(fa[i], a + (rows + 16 * i + lane % 16) * ALONG + k + lane / 16 * 8);
      else load_matrices_transposed(fa[i], a + (k + lane % 8 + lane / 16 * 8) * ACROSS + rows + 16 * i + lane / 8 % 2 * 8);
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
      if (B_ALONG) load_matrices(fb[j], b + (columns + 16 * j + lane / 16 * 8 + lane % 8) * ALONG + k + lane / 8 % 2 * 8);
      else load_matrices_transposed(fb[j], b + (k + lane % 16) * ACROSS + columns + 16 * j + lane / 16 * 8);
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
        multiply_bf16(*(float(*)[4])&sums.at[(i * 4 + j) * 4], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
  }
}
#elif defined(PRODUCT_TF32)
template <bool A_ALONG, bool B_ALONG> DEV void multiply_step(Sums& sums, const real* a, const real* b) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, rows = warp / 4 * 64, columns = warp % 4 * 32;
#pragma unroll
  for (int k = 0; k < DEPTH; k += 8) {
    uint32_t fa[4][4], fb[2][4];
    // A matrix of 8x8 16-bit values is one of 8x4 of these.
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (A_ALONG) load_matrices(fa[i], a + (rows + 16 * i + lane % 16) * ALONG + k + lane / 16 * 4);
      else
        for (int r = 0; r < 4; r++)
          fa[i][r] = float_as_bits(a[(k + lane % 4 + r / 2 * 4) * ACROSS + rows + 16 * i + lane / 4 + r % 2 * 8]);
      for (int r = 0; r < 4; r++) fa[i][r] = rounded_tf32(bits_as_float(fa[i][r]));
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
      if (B_ALONG) load_matrices(fb[j], b + (columns + 16 * j + lane / 16 * 8 + lane % 8) * ALONG + k + lane / 8 % 2 * 4);
      else
        for (int r = 0; r < 4; r++)
          fb[j][r] = float_as_bits(b[(k + lane % 4 + r % 2 * 4) * ACROSS + columns + 16 * j + r / 2 * 8 + lane / 4]);
      for (int r = 0; r < 4; r++) fb[j][r] = rounded_tf32(bits_as_float(fb[j][r]));
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
        multiply_tf32(*(float(*)[4])&sums.at[(i * 4 + j) * 4], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
  }
}
#else
template <bool A_ALONG, bool B_ALONG> DEV void multiply_step(Sums& sums, const real* a, const real* b) {
  int x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
  for (int k = 0; k < DEPTH; k += 4) {
    Four fa[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
      if (A_ALONG) fa[i] = load4(a + (y + 16 * i) * ALONG + k);
      else
        for (int q = 0; q < 4; q++) fa[i].at[q] = a[(k + q) * ACROSS + y + 16 * i];
    }
    if (B_ALONG) {
#pragma unroll
      for (int j = 0; j < 8; j++) {
        Four fb = load4(b + (x + 16 * j) * ALONG + k);
#pragma unroll
        for (int q = 0; q < 4; q++)
#pragma unroll
          for (int i = 0; i < 8; i++) sums.at[i * 8 + j] = fused(fa[i].at[q], fb.at[q], sums.at[i * 8 + j]);
      }
    } else {
#pragma unroll
      for (int q = 0; q < 4; q++)
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
          Four fb = load4(b + (k + q) * ACROSS + x * 4 + j / 4 * 64);
#pragma unroll
          for (int i = 0; i < 8; i++)
#pragma unroll
            for (int n = 0; n < 4; n++) sums.at[i * 8 + j + n] = fused(fa[i].at[q], fb.at[n], sums.at[i * 8 + j + n]);
        }
    }
  }
}
#endif

// The sums over `steps` tiles, which `bring_a(tile, step)` and `bring_b` fetch.
template <bool A_ALONG, bool B_ALONG, class A, class B>
DEV void multiply_tiles(Sums& sums, unsigned char* shared, int steps, A bring_a, B bring_b) {
  real *tiles_a = (real*)shared, *tiles_b = tiles_a + STAGES * STAGE_OF(A_ALONG);
#pragma unroll
  for (int i = 0; i < 64; i++) sums.at[i] = 0.0f;
  auto bring = [&](int step) {
    if (step < steps) {
      bring_a(tiles_a + step % STAGES * STAGE_OF(A_ALONG), step);
      bring_b(tiles_b + step % STAGES * STAGE_OF(B_ALONG), step);
    }
    copy_async_commit();
  };
  for (int step = 0; step < STAGES - 1; step++) bring(step);
  for (int step = 0; step < steps; step++) {
    copy_async_wait<STAGES - 2>();
    block_barrier();
    bring(step + STAGES - 1);
    multiply_step<A_ALONG, B_ALONG>(sums, tiles_a + step % STAGES * STAGE_OF(A_ALONG),
                                    tiles_b + step % STAGES * STAGE_OF(B_ALONG));
  }
}

// A pixel by its number.
struct Pixel {
  int image, y, x;
};
DEV Pixel pixel_of(int number, int height, int width) {
  return {number / width / height, number / width % height, number % width};
}

// out = scale (conv(x, weight) + bias + image_bias + residual), then a ReLU if asked for; what is absent is 0.
KERNEL(256, conv_forward)(const real* __restrict__ x, const real* __restrict__ weight, const float* __restrict__ bias,
                          const real* __restrict__ image_bias, const real* __restrict__ residual, real* __restrict__ out,
                          int pixels, int height, int width, int out_height, int out_width, int inputs, int outputs,
                          int kernel_rows, int kernel_columns, int stride, int pad_rows, int pad_columns, float scale,
                          int relu) {
  DYNAMIC_SHARED(shared);
  int row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE, chunks = (inputs + DEPTH - 1) / DEPTH;
  bool whole_a = inputs % PIECE == 0, whole_b = outputs % PIECE == 0;
  Pixel at[2];
  for (int i = 0; i < 2; i++) at[i] = pixel_of(row0 + piece_along(i).row, out_height, out_width);
  Sums sums;
  multiply_tiles<true, false>(
      sums, shared, kernel_rows * kernel_columns * chunks,
      [&](real* tile, int step) {
        int tap = step / chunks, channel = step % chunks * DEPTH;
        for (int i = 0; i < 2; i++) {
          Place p = piece_along(i);
          int y = at[i].y * stride + tap / kernel_columns - pad_rows;
          int q = at[i].x * stride + tap % kernel_columns - pad_columns;
          bool inside = row0 + p.row < pixels && (unsigned)y < (unsigned)height && (unsigned)q < (unsigned)width;
          const real* from = x + (((int64_t)at[i].image * height + y) * width + q) * inputs + channel + p.column;
          copy_piece(tile + p.row * ALONG + p.column, from, inside ? inputs - channel - p.column : 0, whole_a, x);
        }
      },
      [&](real* tile, int step) {
        int tap = step / chunks, channel = step % chunks * DEPTH;
        for (int i = 0; i < 2; i++) {
          Place p = piece_across(i);
          const real* from = weight + ((int64_t)tap * inputs + channel + p.row) * outputs + column0 + p.column;
          int count = channel + p.row < inputs ? outputs - column0 - p.column : 0;
          copy_piece(tile + p.row * ACROSS + p.column, from, count, whole_b, weight);
        }
      });
#pragma unroll
  for (int i = 0; i < 64; i++) {
    Place p = place<false>(i);
    int row = row0 + p.row, c = column0 + p.column;
    if (row < pixels && c < outputs) {
      int64_t to = (int64_t)row * outputs + c;
      float v = sums.at[i];
      if (bias) v += bias[c];
      if (image_bias) v += load(image_bias + (int64_t)(row / (out_height * out_width)) * outputs + c);
      if (residual) v += load(residual + to);
      v *= scale;
      store(out + to, relu && v < 0.0f ? 0.0f : v);
    }
  }
}

// grad_x = scale times the gradient of the convolution by x. `pixels`: those of x.
KERNEL(256, conv_backward_data)(const real* __restrict__ grad_out, const real* __restrict__ weight, real* __restrict__ grad_x,
                                int pixels, int height, int width, int out_height, int out_width, int inputs, int outputs,
                                int kernel_rows, int kernel_columns, int stride, int pad_rows, int pad_columns, float scale) {
  DYNAMIC_SHARED(shared);
  int row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE, chunks = (outputs + DEPTH - 1) / DEPTH;
  bool whole = outputs % PIECE == 0;
  Pixel at[2];
  for (int i = 0; i < 2; i++) at[i] = pixel_of(row0 + piece_along(i).row, height, width);
  Sums sums;
  multiply_tiles<true, true>(
      sums, shared, kernel_rows * kernel_columns * chunks,
      [&](real* tile, int step) {
        int tap = step / chunks, channel = step % chunks * DEPTH;
        for (int i = 0; i < 2; i++) {
          Place p = piece_along(i);
          int y = at[i].y + pad_rows - tap / kernel_columns, q = at[i].x + pad_columns - tap % kernel_columns;
          bool inside = row0 + p.row < pixels && y >= 0 && q >= 0 && y % stride == 0 && q % stride == 0 &&
                        y / stride < out_height && q / stride < out_width;
          const real* from =
              grad_out + (((int64_t)at[i].image * out_height + y / stride) * out_width + q / stride) * outputs + channel + p.column;
          copy_piece(tile + p.row * ALONG + p.column, from, inside ? outputs - channel - p.column : 0, whole, grad_out);
        }
      },
      [&](real* tile, int step) {
        int tap = step / chunks, channel = step % chunks * DEPTH;
        for (int i = 0; i < 2; i++) {
          Place p = piece_along(i);
          const real* from = weight + ((int64_t)tap * inputs + column0 + p.row) * outputs + channel + p.column;
          int count = column0 + p.row < inputs ? outputs - channel - p.column : 0;
          copy_piece(tile + p.row * ALONG + p.column, from, count, whole, weight);
        }
      });
#pragma unroll
  for (int i = 0; i < 64; i++) {
    Place p = place<true>(i);
    int row = row0 + p.row, c = column0 + p.column;
    if (row < pixels && c < inputs) store(grad_x + (int64_t)row * inputs + c, scale * sums.at[i]);
  }
}

// Parts of scale times the gradient by the weight: part z sums over `per_part` output pixels, [parts][rows][columns][in][out].
// blockIdx.x counts blocks of input channels within taps.
KERNEL(256, conv_backward_weight)(const real* __restrict__ x, const real* __restrict__ grad_out, float* __restrict__ parts,
                                  int pixels, int per_part, int height, int width, int out_height, int out_width, int inputs,
                                  int outputs, int kernel_rows, int kernel_columns, int stride, int pad_rows, int pad_columns,
                                  float scale) {
  DYNAMIC_SHARED(shared);
  int tiles = (inputs + TILE - 1) / TILE, tap = blockIdx.x / tiles;
  int row0 = blockIdx.x % tiles * TILE, column0 = blockIdx.y * TILE, first = blockIdx.z * per_part;
  int end = first + per_part < pixels ? first + per_part : pixels;
  bool whole_a = inputs % PIECE == 0, whole_b = outputs % PIECE == 0;
  Sums sums;
  multiply_tiles<false, false>(
      sums, shared, (end - first + DEPTH - 1) / DEPTH,
      [&](real* tile, int step) {
        for (int i = 0; i < 2; i++) {
          Place p = piece_across(i);
          int number = first + step * DEPTH + p.row;
          Pixel at = pixel_of(number, out_height, out_width);
          int y = at.y * stride + tap / kernel_columns - pad_rows, q = at.x * stride + tap % kernel_columns - pad_columns;
          bool inside = number < end && (unsigned)y < (unsigned)height && (unsigned)q < (unsigned)width;
          const real* from = x + (((int64_t)at.image * height + y) * width + q) * inputs + row0 + p.column;
          copy_piece(tile + p.row * ACROSS + p.column, from, inside ? inputs - row0 - p.column : 0, whole_a, x);
        }
      },
      [&](real* tile, int step) {
        for (int i = 0; i < 2; i++) {
          Place p = piece_across(i);
          int number = first + step * DEPTH + p.row;
          const real* from = grad_out + (int64_t)number * outputs + column0 + p.column;
          copy_piece(tile + p.row * ACROSS + p.column, from, number < end ? outputs - column0 - p.column : 0, whole_b, grad_out);
        }
      });
  float* part = parts + (int64_t)blockIdx.z * kernel_rows * kernel_columns * inputs * outputs;
#pragma unroll
  for (int i = 0; i < 64; i++) {
    Place p = place<false>(i);
    int row = row0 + p.row, c = column0 + p.column;
    if (row < inputs && c < outputs) part[((int64_t)tap * inputs + row) * outputs + c] = scale * sums.at[i];
  }
}

// The sum of `count` parts of n values, in their order.
KERNEL(256, sum_parts)(const float* __restrict__ parts, float* __restrict__ out, int64_t n, int count) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float sum = 0.0f;
  for (int part = 0; part < count; part++) sum += parts[part * n + i];
  out[i] = sum;
}

// For each of a number of runs of pixels, scale times the sum over them, channel by channel: by images, the gradient by
// an image bias. A block has 32 channels of one run; its 8 warps share the pixels.
KERNEL(256, pixel_sums)(const real* __restrict__ grad_out, float* __restrict__ out, int64_t pixels, int run, int channels,
                        float scale) {
  SHARED(float, part, [8][32]);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.x * 32 + lane;
  int64_t first = (int64_t)blockIdx.y * run, end = first + run < pixels ? first + run : pixels;
  float sum = 0.0f;
  if (c < channels)
    for (int64_t p = first + warp; p < end; p += 8) sum += load(grad_out + p * channels + c);
  part[warp][lane] = sum;
  block_barrier();
  if (warp == 0 && c < channels) {
    sum = 0.0f;
    for (int w = 0; w < 8; w++) sum += part[w][lane];
    out[(int64_t)blockIdx.y * channels + c] = scale * sum;
  }
}

// What follows a convolution that was computed elsewhere, in place: sums becomes scale (sums + bias + image_bias +
// residual), and with relu what is below 0 becomes 0. `image` is the number of values of an image.
KERNEL(256, conv_finish)(real* sums, const float* __restrict__ bias, const real* __restrict__ image_bias,
                         const real* __restrict__ residual, int64_t n, int64_t image, int channels, float scale, int relu) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int64_t c = i % channels;
  float v = load(sums + i);
  if (bias) v += bias[c];
  if (image_bias) v += load(image_bias + i / image * channels + c);
  if (residual) v += load(residual + i);
  v *= scale;
  store(sums + i, relu && v < 0.0f ? 0.0f : v);
}

// scale times the transpose of a matrix: [rows, columns] to [columns, rows]. A block has a tile of 32 x 32.
KERNEL(256, transposed)(const real* __restrict__ x, real* __restrict__ out, int rows, int columns, float scale) {
  SHARED(real, tile, [32][33]);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row0 = blockIdx.x * 32, column0 = blockIdx.y * 32;
  for (int r = warp; r < 32; r += 8)
    if (row0 + r < rows && column0 + lane < columns) tile[r][lane] = x[(int64_t)(row0 + r) * columns + column0 + lane];
  block_barrier();
  for (int c = warp; c < 32; c += 8)
    if (column0 + c < columns && row0 + lane < rows)
      store(out + (int64_t)(column0 + c) * rows + row0 + lane, scale * load(&tile[lane][c]));
}
