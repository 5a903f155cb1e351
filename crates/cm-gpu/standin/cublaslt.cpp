// A stand-in for libcublasLt.so: the calls that the engine makes, computed by a loop nest. It knows two algorithms, of which
// the first writes to its workspace.
#include "products.h"

typedef int Status;
enum { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16BF = 14 };

namespace {
const uint64_t MAGIC = 0x616c676f72697468;
const size_t WORKSPACE = 1000;

struct Operation {
  int compute, scale;
  bool transposed[2];
};
struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t leading;
};
struct Preference {
  uint64_t workspace;
  uint32_t schemes;
};
struct Algorithm {
  uint64_t data[8];
};
struct Result {
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};
uint64_t rows_of(const Layout* m, bool transposed) { return transposed ? m->columns : m->rows; }
uint64_t columns_of(const Layout* m, bool transposed) { return transposed ? m->rows : m->columns; }
bool fits(const Operation* o, const Layout* a, const Layout* b, const Layout* d) {
  bool types = a->type == b->type && (d->type == a->type || d->type == R_32F);
  bool computes = o->scale == R_32F && (o->compute == 68 || (o->compute == 77 && a->type == R_32F));
  return types && computes && columns_of(a, o->transposed[0]) == rows_of(b, o->transposed[1]) &&
         rows_of(a, o->transposed[0]) == d->rows && columns_of(b, o->transposed[1]) == d->columns &&
         a->leading == (int64_t)a->rows && b->leading == (int64_t)b->rows && d->leading == (int64_t)d->rows;
}
Result result_of(uint64_t index) { return {{{MAGIC, index, 0, 0, 0, 0, 0, index + 5}}, index == 0 ? WORKSPACE : 0, SUCCESS, 1.0f, {}}; }
}  // namespace

API size_t cublasLtGetVersion() { return 130100; }
API Status cublasLtCreate(void** handle) {
  if (wrong & NO_START) return NOT_INITIALIZED;
  *handle = new int(7);
  return SUCCESS;
}
API Status cublasLtDestroy(void* handle) {
  delete (int*)handle;
  return SUCCESS;
}
API Status cublasLtMatmulDescCreate(void** out, int compute, int scale) {
  *out = new Operation{compute, scale, {false, false}};
  return SUCCESS;
}
API Status cublasLtMatmulDescDestroy(void* o) {
  delete (Operation*)o;
  return SUCCESS;
}
API Status cublasLtMatmulDescSetAttribute(void* o, int attribute, const void* value, size_t bytes) {
  if ((attribute != 3 && attribute != 4) || bytes != 4) return INVALID_VALUE;
  ((Operation*)o)->transposed[attribute - 3] = *(const int*)value == 1;
  return SUCCESS;
}
API Status cublasLtMatrixLayoutCreate(void** out, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  *out = new Layout{type, rows, columns, leading};
  return SUCCESS;
}
API Status cublasLtMatrixLayoutDestroy(void* m) {
  delete (Layout*)m;
  return SUCCESS;
}
API Status cublasLtMatmulPreferenceCreate(void** out) {
  *out = new Preference{0, ~0u};
  return SUCCESS;
}
API Status cublasLtMatmulPreferenceDestroy(void* p) {
  delete (Preference*)p;
  return SUCCESS;
}
API Status cublasLtMatmulPreferenceSetAttribute(void* p, int attribute, const void* value, size_t bytes) {
  auto* preference = (Preference*)p;
  if (attribute == 1 && bytes == 8) preference->workspace = *(const uint64_t*)value;
  else if (attribute == 3 && bytes == 4) preference->schemes = *(const uint32_t*)value;
  else return INVALID_VALUE;
  return SUCCESS;
}
API Status cublasLtMatmulAlgoGetHeuristic(void*, void* o, void* a, void* b, void* c, void* d, void* p, int most, Result* out, int* count) {
  auto* preference = (Preference*)p;
  bool known = !(wrong & NO_PLANS) && c == d && fits((Operation*)o, (Layout*)a, (Layout*)b, (Layout*)d);
  if (!known) {
    *count = 0;
    return NOT_SUPPORTED;
  }
  // Only sums in single precision, added in their order, were asked for.
  if (preference->schemes != 2) return INVALID_VALUE;
  *count = 0;
  for (uint64_t index = preference->workspace >= WORKSPACE ? 0 : 1; index < 2 && *count < most; index++)
    out[(*count)++] = result_of(index);
  return SUCCESS;
}
API Status cublasLtMatmulAlgoCheck(void*, void* o, void* a, void* b, void*, void* d, const Algorithm* algorithm, Result* out) {
  uint64_t index = algorithm->data[1];
  if (!fits((Operation*)o, (Layout*)a, (Layout*)b, (Layout*)d)) return INVALID_VALUE;
  if (algorithm->data[0] != MAGIC || index > 1) return INVALID_VALUE;
  *out = result_of(index);
  if (memcmp(algorithm, &out->algorithm, sizeof *algorithm)) return INVALID_VALUE;
  return SUCCESS;
}
API Status cublasLtMatmul(void* handle, void* operation, const float* alpha, const void* a, void* a_layout, const void* b, void* b_layout,
                          const float* beta, const void* c, void*, void* d, void* d_layout, const Algorithm* algorithm, void* workspace,
                          size_t workspace_bytes, void* stream) {
  auto* o = (Operation*)operation;
  auto *al = (Layout*)a_layout, *bl = (Layout*)b_layout, *dl = (Layout*)d_layout;
  if (!handle || *(int*)handle != 7 || !stream || !fits(o, al, bl, dl) || c != d || *beta != 0.0f) return INVALID_VALUE;
  products_computed++;
  land(stream);
  if (wrong & FAILS) return EXECUTION_FAILED;
  if (algorithm->data[1] == 0) {
    if (workspace_bytes < WORKSPACE || !workspace) return INVALID_VALUE;
    if (!dry) memset(workspace, 0x55, WORKSPACE);
  }
  take_time();
  if (dry || wrong & WRITES_NOTHING) return SUCCESS;
  uint64_t inner = columns_of(al, o->transposed[0]);
  for (uint64_t column = 0; column < dl->columns; column++)
    for (uint64_t row = 0; row < dl->rows; row++) {
      float sum = 0.0f;
      for (uint64_t i = 0; i < inner; i++) {
        uint64_t at_a = o->transposed[0] ? i + row * al->rows : row + i * al->rows;
        uint64_t at_b = o->transposed[1] ? column + i * bl->rows : i + column * bl->rows;
        sum += get(a, al->type == R_16BF, at_a) * get(b, bl->type == R_16BF, at_b);
      }
      if (wrong & WRONG && row == 1) sum += 1.0f;
      put(d, dl->type == R_16BF, row + column * dl->rows, *alpha * sum);
    }
  return SUCCESS;
}

TESTS_ASK(cublaslt)
