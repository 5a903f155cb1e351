// Self-attention, softmax(Q K^T / sqrt(dim)) V, and its gradient, without the matrix of scores: of it there are never
// more than 16 rows and a few columns in a warp's registers. Heads of up to 256 channels.
//
// A warp has 16 rows of its own (queries, keys or values) and walks along the others in tiles of THEIRS rows: scores are
// one product, what follows from them times rows of theirs another; while one factor of a tile is multiplied with, the
// other is on its way to shared memory. Files compiled for tf32 and bf16 multiply by tensor cores, in f32 by fused
// multiplication and addition. The order of every sum depends on sizes alone.
//
// qkv: [batch, tokens, 3, heads, dim]; out: [batch, tokens, heads, dim].
#if defined(STORAGE_BF16) || defined(PRODUCT_TF32)
#define BLOCKS 2
#endif
#include "device.h"

#ifdef STORAGE_BF16
#define THEIRS 32
#define INNER 16
#else
#define THEIRS 16
#define INNER 8
#endif
// Values of a row in shared memory beyond its width, against bank conflicts.
#define APART (16 / (int)sizeof(real))
// Rows that a block has of its own: as many as there is room for on every card. Warps beyond them help to copy.
#define ROWS(width) ((width) * (int)sizeof(real) > 512 ? 32 : 64)

struct Shape {
  int batch, tokens, heads, dim;
  DEV_METHOD int width() const { return (dim + 15) / 16 * 16; }  // values of a row that are multiplied
  // Where the values of a token begin: part 0 to 2 of qkv, or the output; and of what is there once for each row of scores.
  DEV_METHOD int64_t in_qkv(int image, int token, int head, int part) const {
    return ((((int64_t)image * tokens + token) * 3 + part) * heads + head) * dim;
  }
  DEV_METHOD int64_t in_out(int image, int token, int head) const {
    return (((int64_t)image * tokens + token) * heads + head) * dim;
  }
  DEV_METHOD int64_t in_rows(int image, int head) const { return ((int64_t)image * heads + head) * tokens; }
};

// Which head of which image a block has, and its first row.
struct Block {
  int image, head, first;
};
template <int WIDTH> DEV Block block_of(const Shape& s) {
  int tiles = (s.tokens + ROWS(WIDTH) - 1) / ROWS(WIDTH), head = blockIdx.x / tiles;
  return {head / s.heads, head % s.heads, (int)blockIdx.x % tiles * ROWS(WIDTH)};
}

// Has `count` rows from token `first` on brought, zeros beyond the last token and the last channel.
template <int WIDTH, class At> DEV void bring_rows(const Shape& s, real* to, const real* from, int first, int count, At at) {
  const int pieces = WIDTH / APART;
  bool whole = s.dim % APART == 0;
  int d = threadIdx.x % pieces * APART;
  for (int r = threadIdx.x / pieces; r < count && d < s.width(); r += 128 / pieces)
    copy_piece(to + r * (WIDTH + APART) + d, from + at(first + r) + d, first + r < s.tokens ? s.dim - d : 0, whole, from);
}

// A warp's 16 rows against a tile's: the lane has rows lane / 4 and that + 8, and of each eight columns two, from
// lane % 4 * 2 on, [row][column] one behind the other.
struct Scores {
  float at[THEIRS / 8][4];
};
template <int WIDTH> struct Outputs {
  float at[WIDTH / 8][4];
};

#ifdef STORAGE_BF16
DEV void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { multiply_bf16(d, a, b0, b1); }
DEV void round_factors(uint32_t (&)[4]) {}
#elif defined(PRODUCT_TF32)
DEV void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { multiply_tf32(d, a, b0, b1); }
DEV void round_factors(uint32_t (&r)[4]) {
  for (int i = 0; i < 4; i++) r[i] = rounded_tf32(bits_as_float(r[i]));
}
#endif

#if defined(STORAGE_BF16) || defined(PRODUCT_TF32)
// The products of the warp's rows with the tile's.
template <int WIDTH> DEV Scores multiply_rows(const real* mine, const real* theirs, int width) {
  const int row = WIDTH + APART;
  int lane = threadIdx.x % 32;
  Scores sums = {};
#pragma unroll 2
  for (int k = 0; k < width; k += INNER) {
    uint32_t a[4], b[4];
    load_matrices(a, mine + lane % 16 * row + k + lane / 16 * (INNER / 2));
    round_factors(a);
#pragma unroll
    for (int j = 0; j < THEIRS; j += 16) {
      load_matrices(b, theirs + (j + lane / 16 * 8 + lane % 8) * row + k + lane / 8 % 2 * (INNER / 2));
      round_factors(b);
      multiply(sums.at[j / 8], a, b[0], b[1]);
      multiply(sums.at[j / 8 + 1], a, b[2], b[3]);
    }
  }
  return sums;
}

// sums += weights times the tile's rows. What a lane has of the weights is what it has to give of them as a factor; in
// tf32 if the columns of each eight are summed over in the order 0 2 4 6 1 3 5 7.
template <int WIDTH> DEV void add_weighted(Outputs<WIDTH>& sums, const Scores& weights, const real* theirs, int width) {
  const int row = WIDTH + APART;
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < THEIRS; k += INNER) {
#ifdef STORAGE_BF16
    uint32_t a[4], b[4];
    for (int i = 0; i < 4; i++) {
      const float* pair = weights.at[k / 8 + i / 2] + i % 2 * 2;
      a[i] = to_bf16(pair[0]) | (uint32_t)to_bf16(pair[1]) << 16;
    }
#pragma unroll
    for (int n = 0; n < WIDTH; n += 16) {
      if (n < width) {
        load_matrices_transposed(b, theirs + (k + lane % 16) * row + n + lane / 16 * 8);
        multiply(sums.at[n / 8], a, b[0], b[1]);
        multiply(sums.at[n / 8 + 1], a, b[2], b[3]);
      }
    }
#else
    const float* w = weights.at[k / 8];
    uint32_t a[4] = {float_as_bits(w[0]), float_as_bits(w[2]), float_as_bits(w[1]), float_as_bits(w[3])};
    round_factors(a);
#pragma unroll
    for (int n = 0; n < WIDTH; n += 8) {
      if (n < width) {
        const float* b = theirs + (k + lane % 4 * 2) * row + n + lane / 4;
        multiply(sums.at[n / 8], a, rounded_tf32(b[0]), rounded_tf32(b[row]));
      }
    }
#endif
  }
}
#else
template <int WIDTH> DEV Scores multiply_rows(const real* mine, const real* theirs, int width) {
  const int row = WIDTH + APART;
  const float *a = mine + threadIdx.x % 32 / 4 * row, *b = theirs + threadIdx.x % 4 * 2 * row;
  Scores sums = {};
#pragma unroll 2
  for (int k = 0; k < width; k += 4) {
    Four x[2] = {load4(a + k), load4(a + 8 * row + k)};
#pragma unroll
    for (int j = 0; j < THEIRS / 8; j++)
#pragma unroll
      for (int c = 0; c < 2; c++) {
        Four y = load4(b + (8 * j + c) * row + k);
        for (int r = 0; r < 2; r++)
          for (int i = 0; i < 4; i++) sums.at[j][2 * r + c] = fused(x[r].at[i], y.at[i], sums.at[j][2 * r + c]);
      }
  }
  return sums;
}

// The four lanes of a row give each other their weights.
template <int WIDTH> DEV void add_weighted(Outputs<WIDTH>& sums, const Scores& weights, const real* theirs, int width) {
  const int row = WIDTH + APART;
  int lane = threadIdx.x % 4;
#pragma unroll
  for (int j = 0; j < THEIRS / 8; j++)
#pragma unroll 1
    for (int mask = 0; mask < 4; mask++) {
      float w[4];
#pragma unroll
      for (int i = 0; i < 4; i++) w[i] = lane_xor(weights.at[j][i], mask);
      const float* from = theirs + (8 * j + (lane ^ mask) * 2) * row + lane * 2;
#pragma unroll
      for (int n = 0; n < WIDTH; n += 8) {
        if (n < width)
          for (int c = 0; c < 2; c++)
            for (int i = 0; i < 4; i++) {
              float& sum = sums.at[n / 8][i];
              sum = fused(w[i / 2 * 2 + c], from[c * row + n + i % 2], sum);
            }
      }
    }
}
#endif

// The rows of a lane: r = 0 or 1.
DEV int row_of(int r) { return threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * r; }
// The column of the i-th of a lane's values in the j-th group of eight.
DEV int column_of(int j, int i) { return 8 * j + threadIdx.x % 4 * 2 + i % 2; }

// The largest and the sum over the four lanes of a row.
DEV float row_most(float v) {
  for (int mask = 2; mask; mask /= 2) {
    float other = lane_xor(v, mask);
    v = other > v ? other : v;
  }
  return v;
}
DEV float row_sum(float v) {
  for (int mask = 2; mask; mask /= 2) v += lane_xor(v, mask);
  return v;
}

template <int WIDTH, class At>
DEV void store_rows(const Shape& s, real* to, const Outputs<WIDTH>& sums, int first, const float (&factor)[2], At at) {
#pragma unroll
  for (int n = 0; n < WIDTH / 8; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int token = first + row_of(i / 2), d = column_of(n, i);
      if (token < s.tokens && d < s.dim) store(to + at(token) + d, factor[i / 2] * sums.at[n][i]);
    }
}

// lse: the logarithm of each row's sum of exponentials of scaled scores, [batch, heads, tokens].
template <int WIDTH>
DEV void forward(const real* qkv, real* out, float* lse, const Shape& s, float scale, unsigned char* shared) {
  const int rows = ROWS(WIDTH), row = WIDTH + APART;
  const float least = bits_as_float(0xff800000u);
  Block b = block_of<WIDTH>(s);
  int warp = threadIdx.x / 32, width = s.width();
  real *queries = (real*)shared, *keys = queries + rows * row, *values = keys + THEIRS * row;
  auto bring = [&](real* to, int part, int first, int count) {
    bring_rows<WIDTH>(s, to, qkv, first, count, [&](int t) { return s.in_qkv(b.image, t, b.head, part); });
    copy_async_commit();
  };
  bring(queries, 0, b.first, rows);
  bring(keys, 1, 0, THEIRS);
  Outputs<WIDTH> sums = {};
  float most[2] = {least, least}, total[2] = {0.0f, 0.0f};
  for (int first = 0; first < s.tokens; first += THEIRS) {
    copy_async_wait<0>();
    block_barrier();
    bring(values, 2, first, THEIRS);
    Scores weights;
    if (warp * 16 < rows) {
      weights = multiply_rows<WIDTH>(queries + warp * 16 * row, keys, width);
#pragma unroll
      for (int r = 0; r < 2; r++) {
        float before = most[r];
#pragma unroll
        for (int j = 0; j < THEIRS / 8; j++)
          for (int i = 2 * r; i < 2 * r + 2; i++) {
            float score = first + column_of(j, i) < s.tokens ? scale * weights.at[j][i] : least;
            weights.at[j][i] = score;
            most[r] = score > most[r] ? score : most[r];
          }
        most[r] = row_most(most[r]);
        float shrunk = expf(before - most[r]);
        total[r] *= shrunk;
#pragma unroll
        for (int j = 0; j < THEIRS / 8; j++)
          for (int i = 2 * r; i < 2 * r + 2; i++) total[r] += weights.at[j][i] = expf(weights.at[j][i] - most[r]);
#pragma unroll
        for (int n = 0; n < WIDTH / 8; n++)
          for (int i = 2 * r; i < 2 * r + 2; i++) sums.at[n][i] *= shrunk;
      }
    }
    copy_async_wait<0>();
    block_barrier();
    if (first + THEIRS < s.tokens) bring(keys, 1, first + THEIRS, THEIRS);
    if (warp * 16 < rows) add_weighted<WIDTH>(sums, weights, values, width);
  }
  if (warp * 16 >= rows) return;
  float factor[2];
  for (int r = 0; r < 2; r++) {
    total[r] = row_sum(total[r]);
    factor[r] = 1.0f / total[r];
    int token = b.first + row_of(r);
    if (threadIdx.x % 4 == 0 && token < s.tokens) lse[s.in_rows(b.image, b.head) + token] = most[r] + logf(total[r]);
  }
  store_rows<WIDTH>(s, out, sums, b.first, factor, [&](int t) { return s.in_out(b.image, t, b.head); });
}

KERNEL(128, attention_64)(const real* __restrict__ qkv, real* __restrict__ out, float* __restrict__ lse, int batch,
                          int tokens, int heads, int dim, float scale) {
  DYNAMIC_SHARED(shared);
  forward<64>(qkv, out, lse, {batch, tokens, heads, dim}, scale, shared);
}

KERNEL(128, attention_256)(const real* __restrict__ qkv, real* __restrict__ out, float* __restrict__ lse, int batch,
                           int tokens, int heads, int dim, float scale) {
  DYNAMIC_SHARED(shared);
  forward<256>(qkv, out, lse, {batch, tokens, heads, dim}, scale, shared);
}

// By what a gradient is, and so which rows are the block's own.
#define QUERIES 0
#define KEYS 1
#define VALUES 2

// With w = exp(score - lse), g the gradient of the output and delta = out g, row by row:
//   by the values: sum over queries of w g
//   by the keys: sum over queries of w (g value - delta) scale query; by the queries: the same over keys.
// `delta` is written by the blocks of queries, which are launched first, [batch, heads, tokens].
template <int WIDTH, int BY>
DEV void backward(const real* qkv, const real* out, const real* grad_out, const float* lse, float* delta, real* grad_qkv,
                  const Shape& s, float scale, unsigned char* shared) {
  // What is multiplied first, and what second and then summed over, of mine and of theirs: parts of qkv, 3 is g.
  const int gradient = 3;
  const int my_first = BY == QUERIES ? gradient : BY == KEYS ? 2 : 1, my_second = BY == QUERIES ? 0 : 1;
  const int their_first = BY == QUERIES ? 2 : BY == KEYS ? gradient : 0;
  const int their_second = BY == QUERIES ? 1 : BY == KEYS ? 0 : gradient;
  const int rows = ROWS(WIDTH), row = WIDTH + APART;
  Block b = block_of<WIDTH>(s);
  int warp = threadIdx.x / 32, width = s.width();
  bool multiplies = warp * 16 < rows;
  real *mine[2] = {(real*)shared, (real*)shared + rows * row}, *theirs[2];
  theirs[0] = mine[1] + (BY == VALUES ? 0 : rows * row), theirs[1] = theirs[0] + THEIRS * row;
  auto bring = [&](real* to, int part, int first, int count) {
    auto in_qkv = [&](int t) { return s.in_qkv(b.image, t, b.head, part); };
    auto in_out = [&](int t) { return s.in_out(b.image, t, b.head); };
    if (part == gradient) bring_rows<WIDTH>(s, to, grad_out, first, count, in_out);
    else bring_rows<WIDTH>(s, to, qkv, first, count, in_qkv);
    copy_async_commit();
  };
  bring(mine[0], my_first, b.first, rows);
  if (BY != VALUES) bring(mine[1], my_second, b.first, rows);
  bring(theirs[0], their_first, 0, THEIRS);
  const float* lse_of = lse + s.in_rows(b.image, b.head);
  float* delta_of = delta + s.in_rows(b.image, b.head);
  float own_delta[2] = {0.0f, 0.0f};
  if (BY == QUERIES && multiplies) {
    for (int r = 0; r < 2; r++) {
      int token = b.first + row_of(r);
      if (token < s.tokens) {
        int64_t at = s.in_out(b.image, token, b.head);
        for (int d = threadIdx.x % 4; d < s.dim; d += 4)
          own_delta[r] = fused(load(out + at + d), load(grad_out + at + d), own_delta[r]);
      }
      own_delta[r] = row_sum(own_delta[r]);
      if (threadIdx.x % 4 == 0 && token < s.tokens) delta_of[token] = own_delta[r];
    }
  }
  Outputs<WIDTH> sums = {};
  for (int first = 0; first < s.tokens; first += THEIRS) {
    copy_async_wait<0>();
    block_barrier();
    bring(theirs[1], their_second, first, THEIRS);
    Scores products, weights;
    if (multiplies) products = multiply_rows<WIDTH>(mine[0] + warp * 16 * row, theirs[0], width);
    copy_async_wait<0>();
    block_barrier();
    if (first + THEIRS < s.tokens) bring(theirs[0], their_first, first + THEIRS, THEIRS);
    if (multiplies) {
      weights = BY == VALUES ? products : multiply_rows<WIDTH>(mine[1] + warp * 16 * row, theirs[1], width);
#pragma unroll
      for (int j = 0; j < THEIRS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          int own = b.first + row_of(i / 2), other = first + column_of(j, i), query = BY == QUERIES ? own : other;
          float weight = 0.0f;
          if (own < s.tokens && other < s.tokens) {
            weight = expf(scale * weights.at[j][i] - lse_of[query]);
            if (BY != VALUES) weight *= (products.at[j][i] - (BY == QUERIES ? own_delta[i / 2] : delta_of[query])) * scale;
          }
          weights.at[j][i] = weight;
        }
      add_weighted<WIDTH>(sums, weights, theirs[1], width);
    }
  }
  const float factor[2] = {1.0f, 1.0f};
  if (multiplies) store_rows<WIDTH>(s, grad_qkv, sums, b.first, factor, [&](int t) { return s.in_qkv(b.image, t, b.head, BY); });
}

KERNEL(128, attention_by_queries_64)(const real* __restrict__ qkv, const real* __restrict__ out, const real* __restrict__ grad_out,
    const float* __restrict__ lse, float* __restrict__ delta, real* __restrict__ grad_qkv, int batch, int tokens, int heads,
    int dim, float scale) {
  DYNAMIC_SHARED(shared);
  backward<64, QUERIES>(qkv, out, grad_out, lse, delta, grad_qkv, {batch, tokens, heads, dim}, scale, shared);
}

KERNEL(128, attention_by_queries_256)(const real* __restrict__ qkv, const real* __restrict__ out, const real* __restrict__ grad_out,
    const float* __restrict__ lse, float* __restrict__ delta, real* __restrict__ grad_qkv, int batch, int tokens, int heads,
    int dim, float scale) {
  DYNAMIC_SHARED(shared);
  backward<256, QUERIES>(qkv, out, grad_out, lse, delta, grad_qkv, {batch, tokens, heads, dim}, scale, shared);
}

KERNEL(128, attention_by_keys_64)(const real* __restrict__ qkv, const real* __restrict__ out, const real* __restrict__ grad_out,
    const float* __restrict__ lse, float* __restrict__ delta, real* __restrict__ grad_qkv, int batch, int tokens, int heads,
    int dim, float scale) {
  DYNAMIC_SHARED(shared);
  backward<64, KEYS>(qkv, out, grad_out, lse, delta, grad_qkv, {batch, tokens, heads, dim}, scale, shared);
}

KERNEL(128, attention_by_keys_256)(const real* __restrict__ qkv, const real* __restrict__ out, const real* __restrict__ grad_out,
    const float* __restrict__ lse, float* __restrict__ delta, real* __restrict__ grad_qkv, int batch, int tokens, int heads,
    int dim, float scale) {
  DYNAMIC_SHARED(shared);
  backward<256, KEYS>(qkv, out, grad_out, lse, delta, grad_qkv, {batch, tokens, heads, dim}, scale, shared);
}

KERNEL(128, attention_by_values_64)(const real* __restrict__ qkv, const real* __restrict__ out, const real* __restrict__ grad_out,
    const float* __restrict__ lse, float* __restrict__ delta, real* __restrict__ grad_qkv, int batch, int tokens, int heads,
    int dim, float scale) {
  DYNAMIC_SHARED(shared);
  backward<64, VALUES>(qkv, out, grad_out, lse, delta, grad_qkv, {batch, tokens, heads, dim}, scale, shared);
}

KERNEL(128, attention_by_values_256)(const real* __restrict__ qkv, const real* __restrict__ out, const real* __restrict__ grad_out,
    const float* __restrict__ lse, float* __restrict__ delta, real* __restrict__ grad_qkv, int batch, int tokens, int heads,
    int dim, float scale) {
  DYNAMIC_SHARED(shared);
  backward<256, VALUES>(qkv, out, grad_out, lse, delta, grad_qkv, {batch, tokens, heads, dim}, scale, shared);
}
