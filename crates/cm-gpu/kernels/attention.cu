// Self-attention, softmax(Q K^T / sqrt(dim)) V, and its gradient, without the matrix of scores: of it there are never
// more than 32 rows and a few columns in a block. Heads of up to 256 channels.
//
// qkv: [batch, tokens, 3, heads, dim]; out: [batch, tokens, heads, dim]. Sums are in single precision.
#include "device.h"

// Rows that a block has of its own, eight threads each: queries, or keys and values.
#define MINE 32
// Neighbouring values of a row that its eight threads take at once, and how often they do.
#define SPAN 32
#define SPANS 8

struct Shape {
  int batch, tokens, heads, dim;
  // Values of a row in shared memory: whole spans, and four more against bank conflicts.
  DEV_METHOD int width() const { return (dim + SPAN - 1) / SPAN * SPAN; }
  DEV_METHOD int row() const { return width() + 4; }
  // Where the values of a token begin: part 0 to 2 of qkv, or the output.
  DEV_METHOD int64_t in_qkv(int image, int token, int head, int part) const {
    return ((((int64_t)image * tokens + token) * 3 + part) * heads + head) * dim;
  }
  DEV_METHOD int64_t in_out(int image, int token, int head) const {
    return (((int64_t)image * tokens + token) * heads + head) * dim;
  }
};

// Which head of which image a block has, and its first row.
struct Block {
  int image, head, first;
};
DEV Block block_of(const Shape& s) {
  int tiles = (s.tokens + MINE - 1) / MINE, head = blockIdx.x / tiles;
  return {head / s.heads, head % s.heads, (int)blockIdx.x % tiles * MINE};
}

// Brings `count` rows from token `first` on, zeros beyond the last token and the last channel.
template <class At> DEV void bring_rows(const Shape& s, float* to, const real* from, int first, int count, At at) {
  int width = s.width();
  for (int i = threadIdx.x; i < count * width; i += blockDim.x) {
    int r = i / width, d = i % width;
    to[r * s.row() + d] = first + r < s.tokens && d < s.dim ? load(from + at(first + r) + d) : 0.0f;
  }
}

DEV float dot(const float* a, const float* b, int width) {
  float sum = 0.0f;
  for (int d = 0; d < width; d += 4) {
    Four x = load4(a + d), y = load4(b + d);
    for (int i = 0; i < 4; i++) sum = fused(x.at[i], y.at[i], sum);
  }
  return sum;
}

// A row's values that one of its eight threads has.
struct Part {
  Four at[SPANS];
};

DEV void add_scaled(Part& to, float factor, const float* row, int width) {
#pragma unroll
  for (int j = 0; j < SPANS; j++) {
    if (j * SPAN < width) {
      Four v = load4(row + j * SPAN + threadIdx.x % 8 * 4);
      for (int i = 0; i < 4; i++) to.at[j].at[i] = fused(factor, v.at[i], to.at[j].at[i]);
    }
  }
}

DEV void scale_part(Part& part, float factor) {
#pragma unroll
  for (int j = 0; j < SPANS; j++)
    for (int i = 0; i < 4; i++) part.at[j].at[i] *= factor;
}

DEV void store_part(real* to, const Part& part, int dim) {
#pragma unroll
  for (int j = 0; j < SPANS; j++)
    for (int i = 0; i < 4; i++) {
      int d = j * SPAN + threadIdx.x % 8 * 4 + i;
      if (d < dim) store(to + d, part.at[j].at[i]);
    }
}

// The largest and the sum over the eight threads of a row.
DEV float row_most(float v) {
  for (int mask = 4; mask; mask /= 2) {
    float other = lane_xor(v, mask);
    v = other > v || other != other ? other : v;
  }
  return v;
}
DEV float row_sum(float v) {
  for (int mask = 4; mask; mask /= 2) v += lane_xor(v, mask);
  return v;
}

// Keys of a tile of the forward pass: two for each of a row's eight threads.
#define KEYS 16

// lse: the logarithm of each row's sum of exponentials of scaled scores, [batch, heads, tokens].
KERNEL(256, attention)(const real* __restrict__ qkv, real* __restrict__ out, float* __restrict__ lse, int batch, int tokens,
                       int heads, int dim, float scale) {
  DYNAMIC_SHARED(shared);
  Shape s = {batch, tokens, heads, dim};
  Block b = block_of(s);
  int row = threadIdx.x / 8, lane = threadIdx.x % 8, width = s.width();
  float *queries = (float*)shared, *keys = queries + MINE * s.row(), *values = keys + KEYS * s.row();
  float* weights = values + KEYS * s.row() + row * (KEYS + 1);
  bring_rows(s, queries, qkv, b.first, MINE, [&](int t) { return s.in_qkv(b.image, t, b.head, 0); });
  Part sum = {};
  float most = bits_as_float(0xff800000u), total = 0.0f;
  for (int first = 0; first < tokens; first += KEYS) {
    block_barrier();
    bring_rows(s, keys, qkv, first, KEYS, [&](int t) { return s.in_qkv(b.image, t, b.head, 1); });
    bring_rows(s, values, qkv, first, KEYS, [&](int t) { return s.in_qkv(b.image, t, b.head, 2); });
    block_barrier();
    float score[KEYS / 8], tile_most = most;
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++) {
      bool there = first + lane + 8 * j < tokens;
      score[j] = there ? scale * dot(queries + row * s.row(), keys + (lane + 8 * j) * s.row(), width) : bits_as_float(0xff800000u);
      tile_most = score[j] > tile_most || score[j] != score[j] ? score[j] : tile_most;
    }
    tile_most = row_most(tile_most);
    float shrunk = expf(most - tile_most), tile_total = 0.0f;
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++) {
      float weight = expf(score[j] - tile_most);
      weights[lane + 8 * j] = weight;
      tile_total += weight;
    }
    most = tile_most;
    total = total * shrunk + row_sum(tile_total);
    scale_part(sum, shrunk);
    warp_barrier();
    for (int key = 0; key < KEYS; key++) add_scaled(sum, weights[key], values + key * s.row(), width);
  }
  int token = b.first + row;
  if (token < tokens) {
    scale_part(sum, 1.0f / total);
    store_part(out + s.in_out(b.image, token, b.head), sum, dim);
    if (lane == 0) lse[((int64_t)b.image * heads + b.head) * tokens + token] = most + logf(total);
  }
}

// delta: for each row the product of the output with its gradient, [batch, heads, tokens]. A warp has a row.
KERNEL(256, attention_delta)(const real* __restrict__ out, const real* __restrict__ grad_out, float* __restrict__ delta,
                             int batch, int tokens, int heads, int dim) {
  Shape s = {batch, tokens, heads, dim};
  int64_t row = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
  if (row >= (int64_t)batch * heads * tokens) return;
  int token = (int)(row % tokens), head = (int)(row / tokens % heads), image = (int)(row / tokens / heads);
  int64_t at = s.in_out(image, token, head);
  float sum = 0.0f;
  for (int d = threadIdx.x % 32; d < dim; d += 32) sum += load(out + at + d) * load(grad_out + at + d);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) delta[row] = sum;
}

// Rows of others in a tile of the backward pass: one for each of a row's eight threads.
#define THEIRS 8

// With rows of queries of its own, a block makes the gradient by them; with keys and values, the gradients by both.
// score = mine[0] theirs[0], the gradient of its weight = mine[1] theirs[1], where the pairs are (query, gradient of the
// output) and (key, value), in one order or the other.
template <bool BY_KEYS>
DEV void backward(const real* qkv, const real* grad_out, const float* lse, const float* delta, real* grad_qkv, const Shape& s,
                  float scale, unsigned char* shared) {
  Block b = block_of(s);
  int row = threadIdx.x / 8, lane = threadIdx.x % 8, width = s.width();
  float *mine[2] = {(float*)shared, (float*)shared + MINE * s.row()};
  float* theirs[2] = {mine[1] + MINE * s.row(), mine[1] + MINE * s.row() + THEIRS * s.row()};
  float* weights = theirs[1] + THEIRS * s.row() + row * 2 * (THEIRS + 1);
  auto bring = [&](float** to, bool keys, int first, int count) {
    auto in_qkv = [&](int part) { return [&s, &b, part](int t) { return s.in_qkv(b.image, t, b.head, part); }; };
    bring_rows(s, to[0], qkv, first, count, in_qkv(keys ? 1 : 0));
    if (keys) bring_rows(s, to[1], qkv, first, count, in_qkv(2));
    else bring_rows(s, to[1], grad_out, first, count, [&](int t) { return s.in_out(b.image, t, b.head); });
  };
  bring(mine, BY_KEYS, b.first, MINE);
  const float* lse_of = lse + ((int64_t)b.image * s.heads + b.head) * s.tokens;
  const float* delta_of = delta + ((int64_t)b.image * s.heads + b.head) * s.tokens;
  Part by_first = {}, by_second = {};
  for (int first = 0; first < s.tokens; first += THEIRS) {
    block_barrier();
    bring(theirs, !BY_KEYS, first, THEIRS);
    block_barrier();
    int own = b.first + row, other = first + lane, query = BY_KEYS ? other : own;
    float weight = 0.0f, by_score = 0.0f;
    if (own < s.tokens && other < s.tokens) {
      float score = scale * dot(mine[0] + row * s.row(), theirs[0] + lane * s.row(), width);
      weight = expf(score - lse_of[query]);
      by_score = weight * (dot(mine[1] + row * s.row(), theirs[1] + lane * s.row(), width) - delta_of[query]) * scale;
    }
    weights[lane] = by_score;
    weights[THEIRS + 1 + lane] = weight;
    warp_barrier();
    for (int i = 0; i < THEIRS; i++) {
      add_scaled(by_first, weights[i], theirs[0] + i * s.row(), width);
      if (BY_KEYS) add_scaled(by_second, weights[THEIRS + 1 + i], theirs[1] + i * s.row(), width);
    }
  }
  int token = b.first + row;
  if (token < s.tokens) {
    store_part(grad_qkv + s.in_qkv(b.image, token, b.head, BY_KEYS ? 1 : 0), by_first, s.dim);
    if (BY_KEYS) store_part(grad_qkv + s.in_qkv(b.image, token, b.head, 2), by_second, s.dim);
  }
}

KERNEL(256, attention_backward_queries)(const real* __restrict__ qkv, const real* __restrict__ grad_out,
                                        const float* __restrict__ lse, const float* __restrict__ delta,
                                        real* __restrict__ grad_qkv, int batch, int tokens, int heads, int dim, float scale) {
  DYNAMIC_SHARED(shared);
  backward<false>(qkv, grad_out, lse, delta, grad_qkv, {batch, tokens, heads, dim}, scale, shared);
}

KERNEL(256, attention_backward_keys)(const real* __restrict__ qkv, const real* __restrict__ grad_out,
                                     const float* __restrict__ lse, const float* __restrict__ delta,
                                     real* __restrict__ grad_qkv, int batch, int tokens, int heads, int dim, float scale) {
  DYNAMIC_SHARED(shared);
  backward<true>(qkv, grad_out, lse, delta, grad_qkv, {batch, tokens, heads, dim}, scale, shared);
}
