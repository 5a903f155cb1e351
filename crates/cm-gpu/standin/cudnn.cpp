// A stand-in for libcudnn.so: the backend interface as far as the engine uses it, computed by a loop nest. It proposes six
// configurations: one whose results differ from call to call, one that would be compiled first, one of which no plan can be
// made, one that rounds factors, and two that can be used, of which the first writes to its workspace.
#include "products.h"
#include <string>

typedef int Status;
enum { SUCCESS = 0, NOT_INITIALIZED = 1001, BAD_PARAM = 2000, NOT_FINALIZED = 2004, NOT_SUPPORTED = 3000, EXECUTION_FAILED = 5000 };
enum { CONVOLUTION = 1, ENGINE, ENGINECFG, ENGINEHEUR, PLAN, KNOB_CHOICE = 7, FORWARD = 10, BACKWARD_FILTER, BACKWARD_DATA, GRAPH = 15, VARIANT_PACK, TENSOR, DEVICEPROP = 38 };
enum { HANDLE = 0, INT64 = 3, FLOAT = 4, VOID_PTR = 6, DESCRIPTOR = 15, CHAR = 24 };

namespace {
const size_t WORKSPACE = 3000;
struct Descriptor {
  int kind;
  bool finished = false;
  std::map<int, std::vector<unsigned char>> attributes;
  template <class T> const T* find(int name, size_t count = 1) const {
    auto found = attributes.find(name);
    return found == attributes.end() || found->second.size() < count * sizeof(T) ? nullptr : (const T*)found->second.data();
  }
  int64_t integer(int name) const {
    auto* value = find<int64_t>(name);
    return value ? *value : -1;
  }
  Descriptor* part(int name) const {
    auto* value = find<Descriptor*>(name);
    return value ? *value : nullptr;
  }
  template <class T> void set(int name, std::vector<T> values) {
    attributes[name].assign((unsigned char*)values.data(), (unsigned char*)(values.data() + values.size()));
  }
};
struct Handle {
  void* stream = nullptr;
};
thread_local std::string words;

size_t size_of(int type) { return type == CHAR || type == 2 ? 1 : type == HANDLE || type == INT64 || type == VOID_PTR || type == DESCRIPTOR ? 8 : 4; }

// Engines by their number: notes on their numbers (4: differs from call to call, 0: matrix instructions, 1: rounds factors),
// on their behaviour (0: compiled first).
std::vector<int> numerical(int64_t engine) { return engine == 9 ? std::vector<int>{4} : engine == 11 ? std::vector<int>{0, 1} : std::vector<int>{}; }
std::vector<int> behaviour(int64_t engine) { return engine == 10 ? std::vector<int>{0} : std::vector<int>{}; }
const int64_t PROPOSED[6] = {9, 10, 11, 12, 13, 14};

Descriptor* operation_of(const Descriptor* graph) { return graph && graph->kind == GRAPH ? graph->part(801) : nullptr; }
bool narrow(const Descriptor* tensor) { return *tensor->find<int>(901) == 9; }

struct Convolution {
  const Descriptor *x, *w, *y;
  int way;
};
// The operation's tensors, whose attributes stand in another order for each.
bool convolution_of(const Descriptor* operation, Convolution* out) {
  if (!operation) return false;
  int k = operation->kind;
  *out = k == FORWARD           ? Convolution{operation->part(704), operation->part(703), operation->part(705), k}
         : k == BACKWARD_DATA   ? Convolution{operation->part(710), operation->part(709), operation->part(711), k}
         : k == BACKWARD_FILTER ? Convolution{operation->part(716), operation->part(715), operation->part(717), k}
                                : Convolution{nullptr, nullptr, nullptr, k};
  return out->x && out->w && out->y;
}
const Descriptor* convolution_descriptor(const Descriptor* operation) {
  return operation->part(operation->kind == FORWARD ? 702 : operation->kind == BACKWARD_DATA ? 708 : 714);
}
int64_t size(const Descriptor* tensor, int axis) { return tensor->find<int64_t>(902, 4)[axis]; }
int64_t place(const Descriptor* tensor, int64_t n, int64_t c, int64_t y, int64_t x) {
  const int64_t* s = tensor->find<int64_t>(903, 4);
  return n * s[0] + c * s[1] + y * s[2] + x * s[3];
}

void compute(const Descriptor* operation, const Convolution& of, void* x, void* w, void* y) {
  const Descriptor* conv = convolution_descriptor(operation);
  int64_t stride = *conv->find<int64_t>(103, 2);
  const int64_t* padding = conv->find<int64_t>(105, 2);
  const Descriptor* result = of.way == FORWARD ? of.y : of.way == BACKWARD_DATA ? of.x : of.w;
  std::vector<float> sums((size_t)size(result, 0) * size(result, 1) * size(result, 2) * size(result, 3));
  for (int64_t n = 0; n < size(of.y, 0); n++)
    for (int64_t oy = 0; oy < size(of.y, 2); oy++)
      for (int64_t ox = 0; ox < size(of.y, 3); ox++)
        for (int64_t ky = 0; ky < size(of.w, 2); ky++)
          for (int64_t kx = 0; kx < size(of.w, 3); kx++) {
            int64_t iy = oy * stride + ky - padding[0], ix = ox * stride + kx - padding[1];
            if (iy < 0 || ix < 0 || iy >= size(of.x, 2) || ix >= size(of.x, 3)) continue;
            for (int64_t k = 0; k < size(of.w, 0); k++)
              for (int64_t c = 0; c < size(of.w, 1); c++) {
                int64_t at_x = place(of.x, n, c, iy, ix), at_w = place(of.w, k, c, ky, kx), at_y = place(of.y, n, k, oy, ox);
                if (of.way == FORWARD) sums[at_y] += get(x, narrow(of.x), at_x) * get(w, narrow(of.w), at_w);
                else if (of.way == BACKWARD_DATA) sums[at_x] += get(y, narrow(of.y), at_y) * get(w, narrow(of.w), at_w);
                else sums[at_w] += get(x, narrow(of.x), at_x) * get(y, narrow(of.y), at_y);
              }
          }
  void* to = of.way == FORWARD ? y : of.way == BACKWARD_DATA ? x : w;
  for (size_t i = 0; i < sums.size(); i++) put(to, narrow(result), (int64_t)i, sums[i] + (wrong & WRONG && i % 5 == 1 ? 1.0f : 0.0f));
}
}  // namespace

API size_t cudnnGetVersion() { return 91000; }
API void cudnnGetLastErrorString(char* out, size_t size) { snprintf(out, size, "%s", words.c_str()); }
API Status cudnnCreate(void** handle) {
  if (wrong & NO_START) return NOT_INITIALIZED;
  *handle = new Handle;
  return SUCCESS;
}
API Status cudnnDestroy(void* handle) {
  delete (Handle*)handle;
  return SUCCESS;
}
API Status cudnnSetStream(void* handle, void* stream) {
  ((Handle*)handle)->stream = stream;
  return SUCCESS;
}
API Status cudnnBackendCreateDescriptor(int kind, void** out) {
  auto* made = new Descriptor;
  made->kind = kind;
  *out = made;
  return SUCCESS;
}
API Status cudnnBackendDestroyDescriptor(void* descriptor) {
  delete (Descriptor*)descriptor;
  return SUCCESS;
}
API Status cudnnBackendSetAttribute(void* descriptor, int name, int type, int64_t count, const void* values) {
  auto* d = (Descriptor*)descriptor;
  words = "an attribute of a finished descriptor";
  if (d->finished) return BAD_PARAM;
  words = "a part that is not finished";
  if (type == DESCRIPTOR)
    for (int64_t i = 0; i < count; i++)
      if (!((Descriptor* const*)values)[i]->finished) return NOT_FINALIZED;
  words = "";
  d->attributes[name].assign((const unsigned char*)values, (const unsigned char*)values + count * size_of(type));
  return SUCCESS;
}
API Status cudnnBackendFinalize(void* descriptor) {
  auto* d = (Descriptor*)descriptor;
  Convolution of;
  words = "something is missing, or does not fit";
  bool whole = true;
  switch (d->kind) {
    case CONVOLUTION: whole = d->find<int>(100) && *d->find<int>(101) == 1 && d->integer(106) == 2 && d->find<int64_t>(102, 2) && d->find<int64_t>(103, 2) && d->find<int64_t>(105, 2) && d->find<int64_t>(104, 2); break;
    case TENSOR: whole = d->find<int>(901) && d->find<int64_t>(902, 4) && d->find<int64_t>(903, 4) && d->integer(906) > 0 && d->integer(900) == 16; break;
    case FORWARD: case BACKWARD_DATA: case BACKWARD_FILTER:
      whole = convolution_of(d, &of) && convolution_descriptor(d) && size(of.x, 1) == size(of.w, 1) && size(of.y, 1) == size(of.w, 0) && size(of.x, 0) == size(of.y, 0);
      break;
    case GRAPH: whole = d->part(801) != nullptr; break;
    case ENGINEHEUR: whole = operation_of(d->part(201)) && *d->find<int>(200) == 3; break;
    case ENGINE: whole = operation_of(d->part(1300)) && d->integer(1301) >= 9 && d->integer(1301) <= 14; break;
    case KNOB_CHOICE: whole = d->find<int>(600) && d->find<int64_t>(601); break;
    case ENGINECFG: whole = d->part(300) && d->part(300)->kind == ENGINE; break;
    case PLAN:
      whole = d->part(401) && (d->find<Handle*>(400) || d->part(407));
      words = "this engine has no kernel for it";
      if (whole && d->part(401)->integer(1301) == 12) return NOT_SUPPORTED;
      break;
    case VARIANT_PACK: whole = d->find<int64_t>(1000, 3) && d->find<void*>(1001, 3) && d->find<void*>(1003); break;
    case DEVICEPROP: whole = d->find<char>(2702) != nullptr; break;
    default: whole = false;
  }
  if (!whole) return BAD_PARAM;
  words = "";
  // What a configuration and a plan say of their engine outlives it.
  if (d->kind == ENGINECFG) {
    d->set<int64_t>(1301, {d->part(300)->integer(1301)});
    d->set<Descriptor*>(1300, {d->part(300)->part(1300)});
  }
  if (d->kind == PLAN) {
    int64_t engine = d->part(401)->integer(1301);
    d->set<int64_t>(1301, {engine});
    d->set<int64_t>(402, {engine == 13 ? (int64_t)(wrong & NO_WORKSPACE ? (size_t)1 << 40 : WORKSPACE) : 0});
    d->set<Descriptor*>(1300, {d->part(401)->part(1300)});
  }
  d->finished = true;
  return SUCCESS;
}
API Status cudnnBackendGetAttribute(void* descriptor, int name, int type, int64_t most, int64_t* count, void* out) {
  auto* d = (Descriptor*)descriptor;
  words = "asked of a descriptor that is not finished";
  if (!d->finished) return NOT_FINALIZED;
  words = "";
  auto fill = [&](Descriptor* part, std::map<int, std::vector<unsigned char>> attributes) {
    part->attributes = attributes;
    part->finished = true;
  };
  if (d->kind == ENGINEHEUR && name == 202) {
    *count = wrong & NO_PLANS ? 0 : most < 6 ? most : 6;
    for (int64_t i = 0; i < *count; i++) {
      Descriptor made;
      made.set<int64_t>(1301, {PROPOSED[i]});
      made.set<Descriptor*>(1300, {d->part(201)});
      fill(((Descriptor**)out)[i], made.attributes);
    }
    return SUCCESS;
  }
  if (d->kind == ENGINECFG && name == 300) {
    Descriptor made;
    made.set<int64_t>(1301, {d->integer(1301)});
    fill(*(Descriptor**)out, made.attributes);
    *count = 1;
    return SUCCESS;
  }
  if (d->kind == ENGINECFG && name == 302) {
    // Engine 13 has two knobs.
    *count = d->integer(1301) == 13 ? 2 : 0;
    for (int i = 0; i < *count; i++) {
      Descriptor made;
      made.set<int>(600, {i + 4});
      made.set<int64_t>(601, {10 * i + 1});
      fill(((Descriptor**)out)[i], made.attributes);
    }
    return SUCCESS;
  }
  if (d->kind == ENGINE && (name == 1303 || name == 1305)) {
    auto notes = name == 1303 ? numerical(d->integer(1301)) : behaviour(d->integer(1301));
    *count = (int64_t)notes.size();
    memcpy(out, notes.data(), notes.size() * sizeof(int));
    return SUCCESS;
  }
  auto found = d->attributes.find(name);
  words = "1 != requestedElemCount";
  if (d->kind == KNOB_CHOICE && most != 1) return BAD_PARAM;
  words = "no such attribute";
  if (found == d->attributes.end() || found->second.size() > most * size_of(type)) return BAD_PARAM;
  words = "";
  *count = (int64_t)(found->second.size() / size_of(type));
  memcpy(out, found->second.data(), found->second.size());
  return SUCCESS;
}
API Status cudnnBackendExecute(void* handle, void* plan, void* pack) {
  auto *p = (Descriptor*)plan, *v = (Descriptor*)pack;
  words = "no stream, plan or variant pack";
  if (!((Handle*)handle)->stream || p->kind != PLAN || !p->finished || v->kind != VARIANT_PACK || !v->finished) return BAD_PARAM;
  products_computed++;
  land(((Handle*)handle)->stream);
  words = "it was made to fail";
  if (wrong & FAILS) return EXECUTION_FAILED;
  Convolution of;
  const Descriptor* operation = operation_of(p->part(1300));
  if (!convolution_of(operation, &of)) return BAD_PARAM;
  std::map<int64_t, void*> tensors;
  for (int i = 0; i < 3; i++) tensors[v->find<int64_t>(1000, 3)[i]] = v->find<void*>(1001, 3)[i];
  void* workspace = *v->find<void*>(1003);
  if (p->integer(402) > 0 && !dry) memset(workspace, 0x55, (size_t)p->integer(402));
  take_time();
  words = "";
  if (!dry && !(wrong & WRITES_NOTHING)) compute(operation, of, tensors[of.x->integer(906)], tensors[of.w->integer(906)], tensors[of.y->integer(906)]);
  return SUCCESS;
}

TESTS_ASK(cudnn)
